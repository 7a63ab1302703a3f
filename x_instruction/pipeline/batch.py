"""Batch files of a run: which requests wait for answers, and the files that ask them.

Requests are found by running the stage itself with somebody to ask who only listens, so a file holds exactly what a
live engine would have been asked. Nothing else is written down: what waits is what the ledgers do not know.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from x_instruction.config.recipe import Recipe
from x_instruction.engines import Request, Result
from x_instruction.engines.remote import batch
from x_instruction.errors import RecipeError, XInstructionError
from x_instruction.pipeline.plan import Plan
from x_instruction.pipeline.rounds import model_of, stages
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.storage.atomic import atomic, file_digest
from x_instruction.storage.lock import run_lock
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import ROUND_STAGES, ShardKey, StageKey

# Services take 64 letters, digits, hyphens and underscores as a custom_id.
_ID_LENGTH = 64
_ID = re.compile(rf"({'|'.join(ROUND_STAGES)})-(\d+)-([A-Za-z0-9-]+)-(\d{{5,}})-[0-9a-f]{{8,32}}")
# Ends of line to some readers of text, though not to JSON.
_NO_BREAKS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


@dataclass(frozen=True, slots=True)
class Shard:
    """What one shard asks.

    Args:
        requests: custom_id to the ledger's key and the request; only as far as the answers known so far lead.
        known: those of them that the ledger knows.
    """

    job: ShardTask
    requests: dict[str, tuple[str, Request]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)

    @property
    def waiting(self) -> list[str]:
        """custom_ids of the requests without an answer."""
        return [name for name in self.requests if name not in self.known]


@dataclass(slots=True)
class File:
    """A file of requests, all to one model and one endpoint, as services want it.

    Args:
        there: it was there before, with the same content.
    """

    path: Path
    model: str
    url: str
    requests: int = 0
    size: int = 0
    there: bool = False


class _Waiting(Exception):
    """A stage was listened to, and goes on only with answers."""


def custom_id(job: ShardTask, key: str) -> str:
    """The name of a request in batch files: its shard, and the ledger's key, cut where the name gets too long."""
    shard = job.key
    return f"{shard.stage}-{shard.round}-{shard.language}-{shard.index:05d}-{key}"[:_ID_LENGTH]


def shard_of(name: str) -> ShardKey | None:
    """The shard that a custom_id names, or None when it is not one of ours."""
    match = _ID.fullmatch(name)
    return ShardKey(match[1], int(match[2]), match[3], int(match[4])) if match else None


def by_files(settings: Recipe, stage: StageKey) -> bool:
    """Whether a stage asks by batch files."""
    model = model_of(settings, stage)
    return model is not None and model.engine == "batch"


def listen(worker: Worker, job: ShardTask) -> Shard:
    """What a job asks, and what of it is answered."""
    found = Shard(job)
    asking = worker.asking(job)
    with worker.ledger(job, asking.model) as ledger:

        def ask(requests: Sequence[Request]) -> list[Result]:
            answers: list[Result] = []
            for request in requests:
                key = ledger.key(request)
                name = custom_id(job, key)
                found.requests[name] = (key, request)
                if (answer := ledger.lookup(key)) is not None:
                    found.known.add(name)
                    answers.append(answer)
            if len(answers) < len(requests):
                raise _Waiting
            return answers

        with contextlib.suppress(_Waiting):
            for _ in asking.records(ledger.engine, ask):
                pass
    return found


def answered(run: RunFolder, settings: Recipe, jobs: Sequence[ShardTask]) -> tuple[list[ShardTask], int]:
    """Jobs whose requests all have answers, and how many requests of the others wait."""
    worker = Worker(run, settings)
    shards = [listen(worker, job) for job in jobs]
    return [shard.job for shard in shards if not shard.waiting], sum(len(shard.waiting) for shard in shards)


def reachable(run: RunFolder, settings: Recipe) -> list[ShardTask]:
    """Jobs that ask by batch files and whose inputs are there, done or not.

    Raises:
        RecipeError: the recipe asks nothing by files.
        RunChanged: a shard was made under other settings.
        XInstructionError: no input is there yet.
    """
    asking = [stage for stage in stages(settings) if by_files(settings, stage)]
    if not asking:
        raise RecipeError(f'{run.root} asks nothing by files: its recipe names no engine = "batch"')
    plan = Plan(run, settings)
    plan.check()
    jobs = [job for stage in asking for job in plan.reachable(stage)]
    if not jobs:
        raise XInstructionError(
            f"{run.root} has nothing to ask about yet: `x-instruction run` makes the passages first"
        )
    return jobs


def write(
    run: RunFolder, settings: Recipe, out: Path | None, most_requests: int, most_bytes: int, overwrite: bool = False
) -> list[File]:
    """Write every request that waits into files.

    Args:
        out: name of the first file; the run's folder ``batch`` when None.
        most_requests, most_bytes: in one file.
        overwrite: whether files of these names may be replaced.

    Raises:
        XInstructionError: see ``reachable``; or a file is in the way.
    """
    with run_lock(run.root):
        worker = Worker(run, settings)
        jobs = [job for job in reachable(run, settings) if not run.complete(job.key)]
        names = _numbered(run.root / "batch") if out is None else _after(out, overwrite)
        with contextlib.ExitStack() as stack:
            files = _Files(names, most_requests, most_bytes, stack)
            for job in jobs:
                shard = listen(worker, job)
                model = model_of(settings, job.key.stage_key)
                assert model is not None
                engine: Any = worker.engine(model)
                for name in shard.waiting:
                    files.add(batch.request_line(name, shard.requests[name][1], engine.quirks))
        return [_twin(file) if out is None else file for file in files.all]


class _Files:
    """Files that appear all at once, at the end."""

    def __init__(self, names: Iterator[Path], most_requests: int, most_bytes: int, stack: contextlib.ExitStack) -> None:
        self.names = names
        self.most_requests = most_requests
        self.most_bytes = most_bytes
        self.stack = stack
        self.all: list[File] = []
        self._open: dict[tuple[str, str], tuple[File, IO[bytes]]] = {}

    def add(self, line: dict[str, Any]) -> None:
        data = (json.dumps(line, ensure_ascii=False).translate(_NO_BREAKS) + "\n").encode()
        kind = (str(line["body"]["model"]), str(line["url"]))
        file, stream = self._open.get(kind) or self._next(kind)
        if file.requests >= self.most_requests or (file.requests and file.size + len(data) > self.most_bytes):
            file, stream = self._next(kind)
        stream.write(data)
        file.requests += 1
        file.size += len(data)

    def _next(self, kind: tuple[str, str]) -> tuple[File, IO[bytes]]:
        file = File(next(self.names), *kind)
        self.all.append(file)
        self._open[kind] = (file, self.stack.enter_context(atomic(file.path)))
        return self._open[kind]


def _numbered(folder: Path) -> Iterator[Path]:
    """Names after those that are there."""
    there = [int(path.stem[9:]) for path in folder.glob("requests-*.jsonl") if path.stem[9:].isdigit()]
    return (folder / f"requests-{number:05d}.jsonl" for number in itertools.count(max(there, default=0) + 1))


def _after(out: Path, overwrite: bool) -> Iterator[Path]:
    """The given name, and numbered ones after it; none that is there."""
    for number in itertools.count(1):
        path = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        if path.exists() and not overwrite:
            raise RecipeError(f"{path} is there already: name another --out, or add --overwrite")
        yield path


def _twin(file: File) -> File:
    """The file, or one that was there with the same content, instead of which it was written."""
    digest = file_digest(file.path)
    for path in sorted(file.path.parent.glob("requests-*.jsonl")):
        if path != file.path and path.stat().st_size == file.size and file_digest(path) == digest:
            file.path.unlink()
            file.path, file.there = path, True
            break
    return file
