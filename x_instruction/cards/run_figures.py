"""Figures of one language that a card shows, from a run's shards and reports: counts, lengths, scores, variety."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from x_instruction.cards.facts import Made
from x_instruction.cards.recipe_toml import toml
from x_instruction.cards.templates import SAMPLE_CHARS
from x_instruction.config.recipe import Recipe
from x_instruction.diversify import instruction_key
from x_instruction.diversify.report import describe
from x_instruction.engines.budget import cost
from x_instruction.errors import ShardError
from x_instruction.hashing import derive_seed
from x_instruction.pipeline.rounds import last_round, model_of, stages, title
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, ShardKey, StageKey

# Rows of a language that the card shows.
SAMPLES = 2
_SUMS = ("rows_in", "kept", "seconds", "requests", "prompt_tokens", "output_tokens")


def made(run: RunFolder, recipe: Recipe, tag: str) -> Made:
    """How the rows of a language came to be.

    Raises:
        ShardError: a shard or report of it is gone; the message says which command makes it again.
    """
    last = last_round(run, recipe)
    return Made(
        recipe=recipe.name,
        seed=recipe.seed,
        settings=toml(recipe),
        funnel=[_line(run, recipe, stage, tag) for stage in stages(recipe) if stage.round <= last],
        spreads=_spreads(run, tag),
        variety=_variety(run, StageKey("rated", last), tag, recipe.seed),
        samples=_samples(run, tag),
    )


def _line(run: RunFolder, recipe: Recipe, stage: StageKey, tag: str) -> dict[str, Any]:
    """Sums over the reports of the shards of one stage."""
    line: dict[str, Any] = {"stage": title(stage), **dict.fromkeys(_SUMS, 0), "dropped": {}}
    for key in _shards(run, stage, tag):
        report = run.report(key)
        for name in _SUMS:
            line[name] += getattr(report, name)
        for reason, number in report.dropped.items():
            line["dropped"][reason] = line["dropped"].get(reason, 0) + number
    model = model_of(recipe, stage)
    return line | {"cost": cost(model, line["prompt_tokens"], line["output_tokens"]) if model is not None else 0.0}


def _shards(run: RunFolder, stage: StageKey, tag: str) -> list[ShardKey]:
    shards = run.shards(stage, tag)
    if not shards or not all(map(run.complete, shards)):
        raise ShardError(
            f"{run.root} lacks {stage} shards of {tag}, whose figures the card shows: "
            f"`x-instruction run RECIPE --out {run.root}` makes what is missing"
        )
    return shards


def _spreads(run: RunFolder, tag: str) -> dict[str, dict[str, float]]:
    """Lengths in characters and scores; the texts of one shard are in memory at a time."""
    parts: dict[str, list[Any]] = {"instruction": [], "response": [], "score": []}
    for table in _tables(run, CURATED, tag, "instruction", "text", "score"):
        parts["instruction"].append(pc.utf8_length(table["instruction"]).to_numpy())
        parts["response"].append(pc.utf8_length(table["text"]).to_numpy())
        parts["score"].append(table["score"].to_numpy())
    return {name: _spread(np.concatenate(arrays)) for name, arrays in parts.items()}


def _spread(values: Any) -> dict[str, float]:
    if not len(values):
        return {}
    least, median, p95, most = np.quantile(values, [0, 0.5, 0.95, 1])
    named = {"mean": values.mean(), "sd": values.std(), "least": least, "median": median, "p95": p95, "most": most}
    return {name: float(value) for name, value in named.items()}


def _variety(run: RunFolder, last: StageKey, tag: str, seed: int) -> dict[str, dict[str, Any]]:
    """How varied the instructions are before the draw, in a draw by chance, and after it.

    The draw by chance is as large as the real one: shares of different words fall with size alone, so it is what the
    real one has to beat.
    """
    rated = [text for table in _tables(run, last, tag, "instruction") for text in table["instruction"].to_pylist()]
    curated = pa.concat_tables(_tables(run, CURATED, tag, "instruction", "cluster"))
    distinct = sorted({instruction_key(text): text for text in rated}.values())
    random = np.random.default_rng(derive_seed(seed, "diversify", tag, bits=32))
    drawn = random.choice(len(distinct), size=min(len(curated), len(distinct)), replace=False)
    reports = {
        "before": describe(rated),
        "chance": describe([distinct[number] for number in sorted(drawn)]),
        "after": describe(curated["instruction"].to_pylist(), clusters=curated["cluster"].to_pylist()),
    }
    return {when: report.as_dict() for when, report in reports.items()}


def _samples(run: RunFolder, tag: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for table in _tables(run, CURATED, tag, "instruction", "text", "score"):
        for row in table.slice(0, SAMPLES - len(found)).to_pylist():
            found.append({name: _cut(row[name]) for name in ("instruction", "text")} | {"score": row["score"]})
        if len(found) >= SAMPLES:
            break
    return found


def _cut(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARS else f"{text[: SAMPLE_CHARS - 1]}…"


def _tables(run: RunFolder, stage: StageKey, tag: str, *columns: str) -> Iterator[Any]:
    for key in _shards(run, stage, tag):
        path = run.path(key)
        try:
            yield pq.read_table(path, columns=list(columns))
        except (OSError, pa.ArrowInvalid) as error:
            raise ShardError(f"cannot read shard {path}: {error}; remove it and run again") from error
