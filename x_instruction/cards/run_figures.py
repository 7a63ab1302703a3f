"""What the card of a data set shows of one language, from the shards and reports of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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
from x_instruction.storage.shard_key import EMBEDDED, ShardKey, StageKey

if TYPE_CHECKING:
    import pyarrow as pa

# Rows that a card shows of each language.
SAMPLES = 2
_SUMMED = ("rows_in", "kept", "seconds", "requests", "prompt_tokens", "output_tokens")


class SelectedRows:
    """The curated rows of a language, as far as its card shows figures of them. Their responses are not kept."""

    def __init__(self) -> None:
        self._parts: dict[FigureName, list[Any]] = {"instruction": [], "response": [], "score": []}
        self._clusters: list[Any] = []
        self.instructions: list[str] = []
        self.samples: list[Sample] = []

    def add(self, rows: pa.RecordBatch) -> None:
        """Add rows."""
        import pyarrow.compute as pc

        self._parts["instruction"].append(pc.utf8_length(rows["instruction"]).to_numpy())
        self._parts["response"].append(pc.utf8_length(rows["text"]).to_numpy())
        self._parts["score"].append(rows["score"].to_numpy(zero_copy_only=False))
        self._clusters.append(rows["cluster"].to_numpy(zero_copy_only=False))
        self.instructions += rows["instruction"].to_pylist()
        for row in rows.slice(0, SAMPLES - len(self.samples)).select(["instruction", "text", "score"]).to_pylist():
            self.samples.append(Sample(_shortened(row["instruction"]), _shortened(row["text"]), row["score"]))

    @property
    def spreads(self) -> dict[FigureName, Spread]:
        """The figures that at least one row has."""
        return {
            name: spread(values)
            for name, parts in self._parts.items()
            if parts and len(values := np.concatenate(parts))
        }

    @property
    def clusters(self) -> npt.NDArray[np.integer]:
        """The cluster of each row."""
        return np.concatenate([np.empty(0, np.int32), *self._clusters])


def provenance(run: RunFolder, recipe: Recipe, tag: str, selected: SelectedRows) -> Provenance:
    """How the rows of a language were made.

    Args:
        run: The run.
        recipe: Its recipe.
        tag: The language.
        selected: All of its curated rows.

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
        spreads=selected.spreads,
        variety=_variety(run, StageKey("rated", last), tag, recipe.seed, selected),
        samples=tuple(selected.samples),
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


def spread(values: Any) -> Spread:
    """Mean, standard deviation and quantiles of an array with at least one value."""
    return Spread(float(values.mean()), float(values.std()), *map(float, np.quantile(values, [0, 0.5, 0.95, 1])))


def _variety(
    run: RunFolder, last: StageKey, tag: str, seed: int, selected: SelectedRows
) -> dict[SelectionName, Report]:
    """How varied the instructions are before selection, in a random selection, and after selection.

    The random selection has the size of the real one. Shares of distinct n-grams fall as a set grows, so it is the
    baseline for the real one.
    """
    columns = (run.columns(key, ["instruction"])["instruction"] for key in _shards(run, last, tag))
    rated = [text for column in columns for text in column.to_pylist()]
    distinct = sorted({instruction_key(text): text for text in rated}.values())
    random = np.random.default_rng(derive_seed(seed, "diversify", tag, bits=32))
    drawn = random.choice(len(distinct), size=min(len(selected.instructions), len(distinct)), replace=False)
    # Most instructions are in several of the three.
    known = Texts()
    return {
        "before": describe(rated, known=known),
        "random": describe([distinct[number] for number in sorted(drawn)], known=known),
        "after": describe(selected.instructions, clusters=selected.clusters, known=known),
    }


def _shortened(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARS else f"{text[: SAMPLE_CHARS - 1]}…"
