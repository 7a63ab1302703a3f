"""A preview: a few passages through all stages, and from them an estimate of the whole run.

It is a small run in the folder ``preview`` of the run. The request cache of a shard takes over its answers
(``engines.request_cache``), so the run does not ask for them again.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from x_instruction.config.recipe import Recipe, dumps
from x_instruction.corpus import ensemble
from x_instruction.errors import RecipeError, ShardsSetAside
from x_instruction.languages import language
from x_instruction.pipeline.batch import by_files
from x_instruction.pipeline.estimate import Estimate, Startup, estimate, measure_corpus
from x_instruction.pipeline.plan import Plan
from x_instruction.pipeline.pool import WorkerPool, asks_servers
from x_instruction.pipeline.progress import Progress
from x_instruction.pipeline.rounds import stages, title
from x_instruction.pipeline.samples import Sample, samples
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.location import open_run
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import StageKey

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, ConsoleOptions, RenderResult

# Passages of each language, and languages at most.
PASSAGES = 3
LANGUAGES = 3
# Seconds that a preview should take. It shows fewer languages where models on this machine are slow.
SECONDS = 20.0
# Rows of the corpus that are read for the passages.
_DOCUMENTS = 1_000


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run makes of a few passages, and what it is expected to take. Notebooks and rich show it in colour.

    Args:
        samples: passages with all of their candidates.
        left_out: languages that were not sampled because of the time that it would take.
        estimate: of the whole run.
        seconds: that the preview took.
    """

    samples: tuple[Sample, ...]
    left_out: tuple[str, ...]
    estimate: Estimate
    seconds: float

    def frame(self) -> pd.DataFrame:
        """The estimate as a table with a row per language."""
        import pandas as pd

        return pd.DataFrame(self.estimate.rows())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The preview for a terminal."""
        from x_instruction.pipeline.preview_text import parts

        left_out = f"left out, to stay near {SECONDS:.0f} s: {', '.join(self.left_out)} (name them with --languages)"
        yield from parts(self.samples, left_out if self.left_out else "", self.estimate, self.seconds)

    def __str__(self) -> str:
        return self._rendered(False)

    def __repr__(self) -> str:
        return f"<Preview of {len(self.samples)} passages: {self.estimate.summary()}>"

    def _repr_html_(self) -> str:
        return self._rendered(True)

    def _rendered(self, html: bool) -> str:
        import io

        from rich.console import Console

        console = Console(file=io.StringIO(), width=100, record=True, force_jupyter=False, highlight=False)
        console.print(self)
        if not html:
            return console.export_text()
        frame = '<pre style="white-space:pre-wrap;line-height:1.3" dir="auto">{code}</pre>'
        return console.export_html(code_format=frame, inline_styles=True)


def preview(settings: Recipe, location: str | Path, workers: int, progress: Progress) -> Preview:
    """Three passages of each of up to three languages through all stages, and an estimate of the whole run.

    Training is left out: base models take the place of those that the run trains.

    Args:
        settings: the recipe.
        location: folder of the run, or its URL in an object store.
        workers: processes that the run would have.
        progress: receives what happens.

    Raises:
        RecipeError: an engine of the recipe answers through batch files, or no identifier knows a language.
        XInstructionError: a stage or its engine failed. Answers are kept.
    """
    started = time.monotonic()
    if any(by_files(settings, stage) for stage in stages(settings)):
        raise RecipeError(
            'a preview asks the model a few requests, which engine = "batch" cannot answer: `x-instruction run`, then '
            "`x-instruction batch write` count them instead"
        )
    ensemble.check([language(tag) for tag in settings.languages], settings.corpus.filters)
    probe = _probe(settings)
    run = open_run(location).preview()
    run.check_place()
    with run.lock(), ThreadPoolExecutor(1) as background:
        run.mark_layout(preview=True)
        run.write_file("recipe.json", dumps(probe).encode())
        # The corpus is read while the workers start.
        corpus = background.submit(measure_corpus, settings)
        maker = _Maker(run, probe, progress, started)
        maker.make()
        measured = corpus.result()
    tags = maker.languages
    return Preview(
        tuple(sample for tag in tags for sample in samples(run, tag)),
        tuple(tag for tag in probe.languages if tag not in tags),
        estimate(settings, run, tags, workers, measured, maker.startup),
        time.monotonic() - started,
    )


def _probe(settings: Recipe) -> Recipe:
    """The recipe of the preview."""
    corpus = settings.corpus
    return settings.replace(
        languages=settings.languages[:LANGUAGES],
        corpus=corpus.replace(
            passages=min(corpus.passages or PASSAGES, PASSAGES),
            documents=min(corpus.documents or _DOCUMENTS, _DOCUMENTS),
        ),
        diversify=settings.diversify.replace(target=None),
        generate=settings.generate.replace(train=None),
        refine=settings.refine.replace(
            train=None,
            init_from="base",
            rounds=0,
            precision=settings.refine.precision if not settings.refine.train else None,
        ),
    )


class _Maker:
    """Makes the stages of a preview, for as many languages as there is time for.

    Args:
        run: the folder of the preview.
        settings: its recipe.
        progress: receives what happens.
        started: when the preview began.
    """

    def __init__(self, run: RunFolder, settings: Recipe, progress: Progress, started: float) -> None:
        self.run = run
        self.recipe = settings
        self.progress = progress
        self.started = started
        self.languages = list(settings.languages)
        self.startup = Startup()
        # A server answers many requests at once; a model on this machine keeps a core busy.
        self.workers = min(os.cpu_count() or 1, len(self.languages)) if not asks_servers(settings) else 1

    def make(self) -> None:
        """Make all stages."""
        plan = Plan(self.run, self.recipe, overwrite=True)
        plan.check()
        with WorkerPool(self.run, self.recipe, self.workers) as pool:
            for stage in stages(self.recipe):
                waves = self._waves(plan.tasks(stage), stage)
                began = time.monotonic()
                for number, tasks in enumerate(waves):
                    if number and stage.stage == "candidate" and not self._time_for_more(began):
                        self.languages = [tag for tag in self.languages if tag not in {t.key.language for t in tasks}]
                        break
                    self._run(pool, tasks, stage)
                plan.finish(stage)
        self._measure_startup()

    def _measure_startup(self) -> None:
        """The largest memory and the time to start, of this preview and earlier ones with the same models.

        A preview whose answers are all kept loads no model, so it measures less than the run takes.
        """
        models = [model.model_dump(mode="json") for model in self.recipe.models]
        earlier = self.run.read_json("startup.json", dict, "remove it") or {}
        if earlier.get("models") != models:
            earlier = {"seconds": 0.0, "memory": 0}
        self.startup.memory = max(_peak_memory(), earlier["memory"])
        self.startup.seconds = max(self.startup.seconds, earlier["seconds"])
        found = {"models": models, "seconds": self.startup.seconds, "memory": self.startup.memory}
        self.run.write_file("startup.json", json.dumps(found, indent=2).encode())

    def _waves(self, tasks: list[ShardTask], stage: StageKey) -> list[list[ShardTask]]:
        """The tasks of the languages of the preview: as many as there are workers first, then the others."""
        own = [task for task in tasks if task.key.language in self.languages and task.key.index == 0]
        first = self.workers if stage.stage == "candidate" and not asks_servers(self.recipe) else len(own)
        return [wave for wave in (own[:first], own[first:]) if wave]

    def _time_for_more(self, began: float) -> bool:
        """Whether another wave of candidates and all ratings fit into the time."""
        now = time.monotonic()
        # Rating takes about as long as writing, and happens in as many waves.
        return now - self.started + 3 * (now - began - self.startup.seconds) < SECONDS

    def _run(self, pool: WorkerPool, tasks: list[ShardTask], stage: StageKey) -> None:
        began = time.monotonic()
        self.progress.stage(f"preview: {title(stage)}", len(tasks))
        pool.run(tasks, self.progress.update, self._done, self._set_aside)
        self.progress.end()
        if stage.stage in ("candidate", "rated"):
            # What the requests do not account for is the loading of the model.
            asked = max((self.run.report(task.key).seconds for task in tasks), default=0.0)
            self.startup.seconds += max(0.0, time.monotonic() - began - asked)

    def _done(self, task: ShardTask, reports: list[ShardReport]) -> None:
        from x_instruction.pipeline.execute import outcome

        self.progress.done(task, outcome(task, reports))

    def _set_aside(self, task: ShardTask, reason: str, attempts: int) -> None:
        """A preview without a shard would show and estimate too little."""
        raise ShardsSetAside({str(task.key): reason})


def _peak_memory() -> int:
    """Bytes of the largest process that worked."""
    import resource
    import sys

    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # Kilobytes, but on macOS bytes.
    return largest * (1 if sys.platform == "darwin" else 1024)
