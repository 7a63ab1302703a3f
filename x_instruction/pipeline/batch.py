"""Batch files of a run: find the requests that wait for answers, and write them to files.

Batch mode runs the stage with a recording engine, so a file holds exactly the requests that a live engine would get.
There is no list of open requests: a request waits if the request cache of its shard has no answer.
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
from x_instruction.engines import Request, Result, in_parts
from x_instruction.engines.remote import batch
from x_instruction.errors import RecipeError, XInstructionError
from x_instruction.pipeline.plan import Plan
from x_instruction.pipeline.rounds import model_of, stages
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.storage.atomic import atomic, file_digest
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import ROUND_STAGES, ShardKey, StageKey

# Services accept custom_ids of up to 64 letters, digits, hyphens and underscores.
_ID_LENGTH = 64
_ID = re.compile(rf"({'|'.join(ROUND_STAGES)})-(\d+)-([A-Za-z0-9-]+)-(\d{{5,}})-[0-9a-f]{{8,32}}")
# Some readers of text take these as ends of lines, although JSON allows them in a string.
_NO_BREAKS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


@dataclass(frozen=True, slots=True)
class ShardRequests:
    """The requests of one shard.

    Args:
        task: the shard.
        requests: custom_id to cache key and request. Later requests may depend on answers that are still missing.
        known: custom_ids of the requests that the cache answers.
    """

    task: ShardTask
    requests: dict[str, tuple[str, Request]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)

    @property
    def waiting(self) -> list[str]:
        """custom_ids of the requests without an answer."""
        return [name for name in self.requests if name not in self.known]


@dataclass(slots=True)
class RequestFile:
    """A file of requests, all to one model and one endpoint, as batch services require.

    Args:
        path: the file.
        model, url: where all of its requests go.
        requests: number of requests.
        size: in bytes.
        existed: whether the file existed before, with the same content.
    """

    path: Path
    model: str
    url: str
    requests: int = 0
    size: int = 0
    existed: bool = False


class _AnswersMissing(Exception):
    """The recorded stage needs answers to continue."""


def custom_id(key: ShardKey, cache_key: str) -> str:
    """The name of a request in batch files: its shard and its cache key, truncated where the name gets too long."""
    return f"{key.stage}-{key.round}-{key.language}-{key.index:05d}-{cache_key}"[:_ID_LENGTH]


def shard_of(name: str) -> ShardKey | None:
    """The shard in a custom_id, or None if ``custom_id`` did not make it."""
    match = _ID.fullmatch(name)
    return ShardKey(match[1], int(match[2]), match[3], int(match[4])) if match else None


def by_files(settings: Recipe, stage: StageKey) -> bool:
    """Whether a stage asks its model by batch files."""
    model = model_of(settings, stage)
    return model is not None and model.engine == "batch"


def record(worker: Worker, task: ShardTask) -> ShardRequests:
    """Record the requests of a shard, and which of them have an answer."""
    recorded = ShardRequests(task)
    stage = worker.stage_task(task.key)
    assert stage.model is not None
    with worker.request_cache(task.key, stage.model) as cache:

        def ask(requests: Sequence[Request]) -> list[Result]:
            answers: list[Result] = []
            for request in requests:
                cache_key = cache.key(request)
                name = custom_id(task.key, cache_key)
                recorded.requests[name] = (cache_key, request)
                if (answer := cache.lookup(cache_key)) is not None:
                    recorded.known.add(name)
                    answers.append(answer)
            if len(answers) < len(requests):
                raise _AnswersMissing
            return answers

        for block in stage.records(cache.engine, ask, in_parts(ask)):
            with contextlib.suppress(_AnswersMissing):
                for _ in block:
                    pass
    return recorded


def answered(run: RunFolder, settings: Recipe, tasks: Sequence[ShardTask]) -> tuple[list[ShardTask], int]:
    """The tasks of which every request has an answer, and the number of unanswered requests of the others."""
    worker = Worker(run, settings)
    shards = [record(worker, task) for task in tasks]
    return [shard.task for shard in shards if not shard.waiting], sum(len(shard.waiting) for shard in shards)


def reachable(run: RunFolder, settings: Recipe) -> list[ShardTask]:
    """The shards that ask by batch files and have all of their inputs, complete or not.

    Raises:
        RecipeError: no stage of the recipe asks by batch files.
        RunChanged: a shard was made under other settings.
        XInstructionError: no such shard has its inputs yet.
    """
    asking = [stage for stage in stages(settings) if by_files(settings, stage)]
    if not asking:
        raise RecipeError(f'no model in the recipe of {run.location} has engine = "batch"')
    plan = Plan(run, settings)
    plan.check()
    tasks = [task for stage in asking for task in plan.reachable(stage)]
    if not tasks:
        raise XInstructionError(f"{run.location} has no passages yet: `x-instruction run` makes them first")
    return tasks


def write(
    run: RunFolder, settings: Recipe, out: Path | None, max_requests: int, max_bytes: int, overwrite: bool = False
) -> list[RequestFile]:
    """Write every unanswered request to files.

    Args:
        run: the run folder.
        settings: its recipe.
        out: name of the first file; the folder ``batch`` of the run when None.
        max_requests, max_bytes: the most that one file holds.
        overwrite: replace existing files of these names.

    Raises:
        XInstructionError: see ``reachable``; or a file of the name exists.
    """
    with run.lock():
        worker = Worker(run, settings)
        tasks = [task for task in reachable(run, settings) if not run.complete(task.key)]
        names = _numbered(run.root / "batch") if out is None else _after(out, overwrite)
        with contextlib.ExitStack() as stack:
            files = _Files(names, max_requests, max_bytes, stack)
            for task in tasks:
                shard = record(worker, task)
                model = model_of(settings, task.key.stage_key)
                assert model is not None
                engine: Any = worker.engine(model)
                for name in shard.waiting:
                    files.add(batch.request_line(name, shard.requests[name][1], engine.quirks))
        return [_or_equal(file) if out is None else file for file in files.all]


class _Files:
    """Files that appear together, when the stack is closed. One is open per model and endpoint."""

    def __init__(self, names: Iterator[Path], max_requests: int, max_bytes: int, stack: contextlib.ExitStack) -> None:
        self.names = names
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.stack = stack
        self.all: list[RequestFile] = []
        self._open: dict[tuple[str, str], tuple[RequestFile, IO[bytes]]] = {}

    def add(self, line: dict[str, Any]) -> None:
        data = (json.dumps(line, ensure_ascii=False).translate(_NO_BREAKS) + "\n").encode()
        target = (str(line["body"]["model"]), str(line["url"]))
        file, stream = self._open.get(target) or self._next(target)
        if file.requests >= self.max_requests or (file.requests and file.size + len(data) > self.max_bytes):
            file, stream = self._next(target)
        stream.write(data)
        file.requests += 1
        file.size += len(data)

    def _next(self, target: tuple[str, str]) -> tuple[RequestFile, IO[bytes]]:
        file = RequestFile(next(self.names), *target)
        self.all.append(file)
        self._open[target] = (file, self.stack.enter_context(atomic(file.path)))
        return self._open[target]


def _numbered(folder: Path) -> Iterator[Path]:
    """Names with the numbers after those of existing files."""
    numbers = [int(path.stem[9:]) for path in folder.glob("requests-*.jsonl") if path.stem[9:].isdigit()]
    return (folder / f"requests-{number:05d}.jsonl" for number in itertools.count(max(numbers, default=0) + 1))


def _after(out: Path, overwrite: bool) -> Iterator[Path]:
    """The given name, and numbered names after it.

    Raises:
        RecipeError: a file of the name exists.
    """
    for number in itertools.count(1):
        path = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        if path.exists() and not overwrite:
            raise RecipeError(f"{path} exists: name another --out, or add --overwrite")
        yield path


def _or_equal(file: RequestFile) -> RequestFile:
    """The file, or an existing file with the same content; the new one is removed then."""
    digest = file_digest(file.path)
    for path in sorted(file.path.parent.glob("requests-*.jsonl")):
        if path != file.path and path.stat().st_size == file.size and file_digest(path) == digest:
            file.path.unlink()
            file.path, file.existed = path, True
            break
    return file
