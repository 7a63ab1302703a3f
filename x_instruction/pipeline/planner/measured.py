"""What a small run measured: time, rows and bytes for a passage."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.config.recipe import Recipe
from x_instruction.config.section import flatten
from x_instruction.errors import RecipeError, differences
from x_instruction.pipeline.estimate import CorpusSample
from x_instruction.pipeline.models import made
from x_instruction.pipeline.rates import ASKED, Rates
from x_instruction.storage.location import open_run
from x_instruction.storage.run_folder import RunFolder, table_of
from x_instruction.storage.shard_key import CURATED, PASSAGE, StageKey
from x_instruction.training.job import RESULT

# Passages of a run from which its own reports tell how fast the corpus is read: below, loading the language identifier
# takes most of the time, and the beginning of the corpus is read instead.
LEAST_READ = 1_000
# Shards of a stage whose files are measured.
_SHARDS = 4
# Bytes of a row where the sample has none, compressed: guesses, which `benchmarks/planning.py sizes RUN` checks.
_ROW_BYTES = {"passage": 900, "candidate": 450, "rated": 700, "curated": 1_000}
# Bytes of an answer in a request cache, where the sample has none: a guess, too.
_ANSWER_BYTES = 420
# Instructions that the embedded encoder embeds in a second, and seconds of k-means on n of them for each n to the power
# of 1.5, on one core of the machine of docs/benchmarks.md. A sample with this many rated rows says it itself.
EMBEDDED, CLUSTERING = 254.0, 2e-7
_EMBEDDED_ROWS = 5_000
# Answers of a request cache from which its size is measured.
_FULL = 100


@dataclass(frozen=True, slots=True)
class Measured:
    """What a small run measured.

    Args:
        name: the folder of the run.
        rates: what a passage takes at the stages that ask a model.
        passages: that were rated.
        reading: seconds of one process for a passage that the corpus stage keeps, by language.
        row_bytes: of a row of each stage, compressed, with the dropped rows.
        answer_bytes: of an answer in a request cache.
        training: seconds that each role took to train, for a row of an epoch.
        embedding: seconds of one process to embed an instruction and to rank it.
        startup: seconds until models and the sentence encoder were loaded, once for the whole run.
        unlike: settings of models and prompts that differ from those of the recipe.
    """

    name: str
    rates: Rates
    passages: int
    reading: Mapping[str, float]
    row_bytes: Mapping[str, float]
    answer_bytes: float
    training: Mapping[str, float]
    embedding: float
    startup: float
    unlike: tuple[str, ...]

    def seconds_to_read(self, tag: str) -> float:
        """For a language that was not read, the mean of the others."""
        return self.reading.get(tag) or statistics.fmean(self.reading.values() or [0.0])


def find(settings: Recipe, location: str | Path) -> RunFolder:
    """The run to measure: the run of the recipe if it has rated shards, else its preview.

    Raises:
        RecipeError: neither has rated any passage.
    """
    whole = open_run(location)
    for run in (whole, whole.preview()):
        if rated(run, settings):
            return run
    raise RecipeError(
        f"{whole.location} has no rated passages to measure: run `x-instruction preview` of the recipe first, or name "
        "the folder of another run with --from"
    )


def rated(run: RunFolder, settings: Recipe) -> list[str]:
    """Languages of a recipe with a complete rated shard."""
    return [
        tag for tag in settings.languages if any(run.complete(key.at(ASKED[-1])) for key in run.shards(PASSAGE, tag))
    ]


def measure(settings: Recipe, run: RunFolder, made_by: Recipe, corpus: Mapping[str, CorpusSample]) -> Measured:
    """Measure a run.

    Args:
        settings: the recipe to plan.
        run: a preview, or a run with complete shards.
        made_by: the recipe of that run.
        corpus: the beginning of the corpus, by language; used where the run read too little.

    Raises:
        RecipeError: the run has rated none of the recipe's languages.
    """
    languages = rated(run, settings)
    if not languages:
        raise RecipeError(
            f"{run.location} has no complete rated shard of {', '.join(settings.languages)}: preview or run one of "
            "these languages first"
        )
    rates = Rates(settings, run, languages)
    if not sum(rates.passages.values()):
        raise RecipeError(
            f"{run.location} kept no passage of {', '.join(languages)}: see `x-instruction status --drops`"
        )
    embedding, startup = _embedding(run, languages)
    changed = differences(_asking(made_by), _asking(settings))
    return Measured(
        name=run.location,
        rates=rates,
        passages=sum(rates.passages.values()),
        reading={tag: seconds for tag in settings.languages if (seconds := _reading(run, tag, corpus.get(tag)))},
        row_bytes={stage: _row_bytes(run, stage, languages) for stage in _ROW_BYTES},
        answer_bytes=_answer_bytes(run, languages),
        training={role: seconds for role in ("generator", "rater") if (seconds := _training(run, role))},
        embedding=embedding,
        startup=startup + _loading(run),
        unlike=tuple(difference.key for difference in changed),
    )


def _asking(settings: Recipe) -> dict[str, Any]:
    """What decides how many requests there are, and how long. A preview trains no model."""
    flat = flatten({"generate": settings.generate, "refine": settings.refine})
    kept = ("model.name", "model.engine", "model.adapter")
    trained = (".train", "refine.rounds", "refine.init_from", "refine.precision")
    return {
        key: value
        for key, value in flat.items()
        if (".model." not in key or key.endswith(kept)) and not any(part in key for part in trained)
    }


def _reading(run: RunFolder, tag: str, sample: CorpusSample | None) -> float | None:
    """Seconds of one process for a passage that the corpus stage keeps."""
    reports = [run.report(key) for key in run.shards(PASSAGE, tag) if run.complete(key)]
    kept = sum(report.kept for report in reports)
    if kept >= LEAST_READ or (sample is None and kept):
        return sum(report.seconds for report in reports) / kept
    return sample.per_passage if sample is not None and any(sample.kept) else None


def _row_bytes(run: RunFolder, stage: str, languages: Iterable[str]) -> float:
    """Compressed bytes of a row and of what is dropped for it, without what a file has besides rows."""
    import pyarrow.parquet as pq

    key = CURATED if stage == "curated" else StageKey(stage)
    size = rows = 0
    for tag in languages:
        shards = [found for found in run.shards(key, tag)[:_SHARDS] if run.complete(found)]
        for shard in shards:
            rows += run.report(shard).kept
            for suffix, records in ((".parquet", run.read(shard)), (".dropped.parquet", run.dropped(shard))):
                # Brings the file of a store to this machine.
                next(iter(records), None)
                groups = pq.read_metadata(run.path(shard, suffix))
                size += sum(
                    groups.row_group(number).column(column).total_compressed_size
                    for number in range(groups.num_row_groups)
                    for column in range(groups.num_columns)
                )
    return size / rows if rows else _ROW_BYTES[stage]


def _answer_bytes(run: RunFolder, languages: Iterable[str]) -> float:
    size = requests = 0
    for tag in languages:
        for key in (shard.at(stage) for shard in run.shards(PASSAGE, tag)[:_SHARDS] for stage in ASKED):
            answers = run.report(key).requests if run.complete(key) and run.cache(key).exists() else 0
            # Pages of a file that holds little are mostly empty.
            if answers >= _FULL:
                size, requests = size + run.cache(key).stat().st_size, requests + answers
    return size / requests if requests else _ANSWER_BYTES


def _embedding(run: RunFolder, languages: Iterable[str]) -> tuple[float, float]:
    """Seconds to embed an instruction, and to load the encoder."""
    found = [run.report(CURATED.shard(tag)) for tag in languages if run.complete(CURATED.shard(tag))]
    rows = sum(report.rows_in for report in found)
    seconds = sum(report.seconds - clustering(report.rows_in) for report in found)
    if rows >= _EMBEDDED_ROWS:
        return seconds / rows, 0.0
    return 1 / EMBEDDED, max(0.0, seconds - rows / EMBEDDED)


def clustering(rows: float) -> float:
    """Seconds of one process to cluster so many instructions."""
    return CLUSTERING * float(rows**1.5)


def _loading(run: RunFolder) -> float:
    """Seconds that a preview took to load the models."""
    return run.read_json("startup.json", lambda table: float(table["seconds"]), "remove it") or 0.0


def _training(run: RunFolder, role: str) -> float | None:
    """Seconds for a row of an epoch, of the first model of a role."""
    for file in sorted((run.root / "models").glob(f"{role}-0*/{RESULT}")):
        result = table_of(file, f"remove {file.parent} and run again")
        rows = float(result["steps"] * made(file.parent)["train.batch_size"])
        return float(result["seconds"]) / max(1.0, rows)
    return None
