"""The plan of a run: its forecast, the limits that it meets, and larger runs beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from x_instruction.config.recipe import Recipe, of_run
from x_instruction.config.site import Site
from x_instruction.errors import RecipeError
from x_instruction.pipeline.batch import by_files
from x_instruction.pipeline.estimate import CorpusSample, measure_corpus
from x_instruction.pipeline.executors.devices import span
from x_instruction.pipeline.planner.forecast import UPLOADED, Forecast, Machines, equal_parts, forecast
from x_instruction.pipeline.planner.limits import Limit, limits
from x_instruction.pipeline.planner.measured import LEAST_READ, Measured, find, measure
from x_instruction.pipeline.pool import asks_servers
from x_instruction.pipeline.rates import ASKED
from x_instruction.pipeline.rounds import stages
from x_instruction.storage.location import open_run
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import PASSAGE

# Documents of a language that are read at most, to measure how fast a corpus is read.
_DOCUMENTS = 2_000
# Passages of a sample below which its figures are rough.
_FEW = 30


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The plan of a run.

    Args:
        name: of the recipe.
        measured: what a small run measured.
        forecast: of the run.
        limits: what breaks as the run grows, the first one first.
        scale: forecasts of other numbers of passages, each with the kinds of limits that it exceeds.
        notes: what the figures do not say by themselves.
    """

    name: str
    measured: Measured
    forecast: Forecast
    limits: tuple[Limit, ...]
    scale: tuple[tuple[Forecast, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def plan_run(
    settings: Recipe,
    location: str | Path,
    machines: Machines,
    sample: str | Path | None = None,
    passages: int | None = None,
    scale: Sequence[int] = (),
    site: Site | None = None,
    memory: float | None = None,
) -> RunPlan:
    """Plan a run from what a small one measured.

    Args:
        settings: the recipe.
        location: the run, whose own shards or preview are the sample unless ``sample`` is set.
        machines: what the run would be made with; 0 workers are one per GPU, or per core.
        sample: the run to measure.
        passages: of all languages, as if the corpus had them; None reads the beginning of the corpus.
        scale: numbers of passages of all languages that are planned besides.
        site: where the run would be made.
        memory: bytes of one machine; None for this one.

    Raises:
        RecipeError: there is nothing to measure, or the corpus has no known size.
        CorpusError: the corpus cannot be read.
    """
    if any(by_files(settings, stage) for stage in stages(settings)):
        raise RecipeError('engine = "batch" has no speed to plan with: `x-instruction batch write` counts its requests')
    run = open_run(sample) if sample is not None else find(settings, location)
    made_by = of_run(run.location, run.read_file("recipe.json"))
    corpus = _corpus(settings, run, passages)
    measured = measure(settings, run, made_by, corpus)
    machines = _whole(settings, machines)
    if passages is None:
        expected, error = _expected(measured, settings, corpus)
    else:
        expected, error = equal_parts(passages, settings.languages), 0.0

    def at(total: int) -> Forecast:
        return forecast(settings, measured, machines, equal_parts(total, settings.languages), error)

    found = forecast(settings, measured, machines, expected, error)
    met = limits(at, found, site or Site(), memory if memory is not None else _memory())
    return RunPlan(
        settings.name,
        measured,
        found,
        tuple(met),
        tuple((at(total), _met(met, total)) for total in scale),
        tuple(_notes(settings, measured, found)),
    )


def _corpus(settings: Recipe, run: RunFolder, passages: int | None) -> dict[str, CorpusSample]:
    """The beginning of the corpus, unless the run has read enough and the size is given."""
    counts = [sum(run.report(key).kept for key in run.shards(PASSAGE, tag)) for tag in settings.languages]
    if passages is not None and not run.is_preview and min(counts) >= LEAST_READ:
        return {}
    # Loading the language identifier must not count for the documents of a small corpus.
    measure_corpus(settings, 1)
    return measure_corpus(settings, _DOCUMENTS)


def _whole(settings: Recipe, machines: Machines) -> Machines:
    """The machines, with the number of workers that a run has by default."""
    size = span(settings)
    if machines.gpus and machines.gpus < size:
        raise RecipeError(f"--gpus is {machines.gpus}, expected at least vllm.tensor_parallel, which is {size}")
    workers = machines.workers or machines.gpus // size or os.cpu_count() or 1
    return replace(machines, workers=workers)


def _expected(measured: Measured, settings: Recipe, corpus: Mapping[str, CorpusSample]) -> tuple[dict[str, int], float]:
    """Passages of each language, and the largest error of them."""
    found = {tag: corpus[tag].passages(measured.rates.limit(tag)) for tag in settings.languages}
    unknown = [tag for tag, (passages, _) in found.items() if passages is None]
    if unknown:
        raise RecipeError(
            f"the corpus of {', '.join(unknown)} has no known size: bound it with --limit, or pass --passages"
        )
    return {tag: passages or 0 for tag, (passages, _) in found.items()}, max(error for _, error in found.values())


def _met(found: Sequence[Limit], passages: int) -> tuple[str, ...]:
    """The limits that a run of so many passages exceeds."""
    return tuple(limit.kind for limit in found if limit.passages is not None and limit.passages <= passages)


def _notes(settings: Recipe, measured: Measured, found: Forecast) -> Iterator[str]:
    number = measured.passages
    if number < _FEW:
        count = f"{number} passage{'s' if number != 1 else ''}"
        yield f"the sample has {count}, so its figures are rough: run a few hundred and name the folder with --from"
    if measured.unlike:
        keys = ", ".join(measured.unlike[:4]) + (", …" if len(measured.unlike) > 4 else "")
        yield f"the sample was made with other settings: {keys}"
    machines = found.machines
    if machines.gpus and (machines.writing is None or machines.rating is None):
        yield "a worker of the sample counts as 1 GPU: pass --tokens-per-second for the speed of another device"
    elif asks_servers(settings) and machines.writing is None:
        yield "the servers of the recipe are expected to be as fast for every worker as they were for the sample"
    if any(stage.title.startswith("train") for stage in found.stages) and not measured.training:
        yield "the sample trained no model: training is taken to cost 3 times as much per row as asking for it"
    quota = settings.diversify.quota
    full = {tag: quota / kept for tag in settings.languages if (kept := measured.rates.of(ASKED[1], tag).kept)}
    chosen = [part for part in found.parts() if part.stage == "diversify" and part.rows >= quota]
    if chosen:
        most = max(full[part.language] for part in chosen)
        yield f"diversify.quota is {quota:,} pairs: a language has them from about {most:,.0f} passages on"
    yield f"the upload is taken to have {UPLOADED / 1e6:,.0f} MB/s"


def _memory() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
