"""What the card of a data set shows of one language, from the shards and reports of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc

from x_instruction.cards.facts import FigureName, Provenance, Sample, SelectionName, Spread, StageFacts
from x_instruction.cards.recipes import recipe_facts
from x_instruction.cards.templates import SAMPLE_CHARS
from x_instruction.config.recipe import Recipe
from x_instruction.diversify.rated_rows import instruction_key
from x_instruction.diversify.report import Report, Texts, describe
from x_instruction.engines.budget import cost
from x_instruction.errors import ShardError
from x_instruction.hashing import derive_seed
from x_instruction.pipeline.rounds import last_round, model_of, stages, title
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, EMBEDDED, ShardKey, StageKey

# Rows that a card shows of each language.
SAMPLES = 2
_SUMMED = ("rows_in", "kept", "seconds", "requests", "prompt_tokens", "output_tokens")


def provenance(run: RunFolder, recipe: Recipe, tag: str) -> Provenance:
    """How the rows of a language were made.

    Raises:
        ShardError: A shard or report is missing. The message names the command that makes it again.
    """
    last = last_round(run, recipe)
    return Provenance(
        recipe=recipe_facts(recipe),
        stages=tuple(
            _stage(run, recipe, stage, tag)
            for stage in stages(recipe)
            # Only large languages are embedded shard by shard.
            if stage.round <= last and not (stage == EMBEDDED and run.count(stage, tag) is None)
        ),
        **_of_rows(run, StageKey("rated", last), tag, recipe.seed),
    )


def _stage(run: RunFolder, recipe: Recipe, stage: StageKey, tag: str) -> StageFacts:
    """Sums over the reports of a stage's shards."""
    facts = StageFacts(stage=title(stage))
    for key in _shards(run, stage, tag):
        report = run.report(key)
        for name in _SUMMED:
            setattr(facts, name, getattr(facts, name) + getattr(report, name))
        for reason, number in report.dropped.items():
            facts.dropped[reason] = facts.dropped.get(reason, 0) + number
    model = model_of(recipe, stage)
    if model is not None:
        facts.cost = cost(model, facts.prompt_tokens, facts.output_tokens)
    return facts


def _shards(run: RunFolder, stage: StageKey, tag: str) -> list[ShardKey]:
    shards = run.shards(stage, tag)
    if not shards or not all(map(run.complete, shards)):
        raise ShardError(
            f"{run.location} lacks {stage} shards of {tag}, whose figures the card shows: "
            f"`x-instruction run RECIPE --out {run.location}` makes what is missing"
        )
    return shards


def _of_rows(run: RunFolder, last: StageKey, tag: str, seed: int) -> dict[str, Any]:
    """``spreads``, ``variety`` and ``samples``. The responses of one shard are in memory at a time."""
    parts: dict[FigureName, list[Any]] = {"instruction": [], "response": [], "score": []}
    selected, clusters = [], []
    samples: list[Sample] = []
    for table in _tables(run, CURATED, tag, "instruction", "text", "score", "cluster"):
        parts["instruction"].append(pc.utf8_length(table["instruction"]).to_numpy())
        parts["response"].append(pc.utf8_length(table["text"]).to_numpy())
        parts["score"].append(table["score"].to_numpy())
        selected += table["instruction"].to_pylist()
        clusters.append(table["cluster"].to_numpy())
        for row in table.slice(0, SAMPLES - len(samples)).to_pylist():
            samples.append(Sample(_shortened(row["instruction"]), _shortened(row["text"]), row["score"]))
    return {
        "spreads": {name: spread(values) for name, arrays in parts.items() if len(values := np.concatenate(arrays))},
        "variety": _variety(run, last, tag, seed, selected, np.concatenate(clusters)),
        "samples": tuple(samples),
    }


def spread(values: Any) -> Spread:
    """Mean, standard deviation and quantiles of an array with at least one value."""
    return Spread(float(values.mean()), float(values.std()), *map(float, np.quantile(values, [0, 0.5, 0.95, 1])))


def _variety(
    run: RunFolder, last: StageKey, tag: str, seed: int, selected: list[str], clusters: Any
) -> dict[SelectionName, Report]:
    """How varied the instructions are before selection, in a random selection, and after selection.

    The random selection has the size of the real one. Shares of distinct n-grams fall as a set grows, so it is the
    baseline for the real one.
    """
    rated = [text for table in _tables(run, last, tag, "instruction") for text in table["instruction"].to_pylist()]
    distinct = sorted({instruction_key(text): text for text in rated}.values())
    random = np.random.default_rng(derive_seed(seed, "diversify", tag, bits=32))
    drawn = random.choice(len(distinct), size=min(len(selected), len(distinct)), replace=False)
    # Most instructions are in several of the three.
    known = Texts()
    return {
        "before": describe(rated, known=known),
        "random": describe([distinct[number] for number in sorted(drawn)], known=known),
        "after": describe(selected, clusters=clusters, known=known),
    }


def _shortened(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARS else f"{text[: SAMPLE_CHARS - 1]}…"


def _tables(run: RunFolder, stage: StageKey, tag: str, *columns: str) -> Iterator[Any]:
    for key in _shards(run, stage, tag):
        yield run.columns(key, columns)
