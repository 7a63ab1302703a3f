"""Files of batch results: what they answer, into the ledgers of the shards that asked."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from x_instruction.config.recipe import Recipe
from x_instruction.engines import Failed
from x_instruction.engines.remote import batch
from x_instruction.engines.request_cache import ImportedResult
from x_instruction.errors import RecipeError
from x_instruction.hashing import digest
from x_instruction.pipeline.batch import Shard, listen, reachable, shard_of
from x_instruction.pipeline.worker import Worker
from x_instruction.storage.lock import run_lock
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import ShardKey

# No result is longer.
_MOST = 64 << 20

_Where = tuple[Path, int, int]


@dataclass(slots=True)
class Read:
    """What files of results brought.

    Args:
        answered: requests that have an answer now and had none before.
        known: results for requests that had one.
        failed: reason to number.
        examples: reason to what was said once.
        older: results for requests that the run does not ask any more, or not yet.
        foreign: results of other shards, other runs or other tools.
        unreadable: lines that are no result: cut off, too long, not JSON.
        waiting: requests that still have no answer.
    """

    answered: int = 0
    known: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    older: int = 0
    foreign: int = 0
    unreadable: int = 0
    waiting: int = 0

    @property
    def ours(self) -> int:
        """Results that belong to this run."""
        return self.answered + self.known + self.failed.total() + self.older


def read(run: RunFolder, settings: Recipe, paths: Sequence[Path], give_up: bool = False) -> Read:
    """Put the answers of files into the ledgers, in whatever order they come.

    Args:
        give_up: let the records of failed requests be dropped with their reason, instead of asking again.

    Raises:
        RecipeError: a file cannot be read, or holds nothing of this run.
        XInstructionError: the run asks nothing by files.
    """
    with run_lock(run.root):
        jobs = reachable(run, settings)
        found = Read()
        lines: dict[ShardKey, list[_Where]] = defaultdict(list)
        for path in paths:
            _sort(path, lines, found)
        worker = Worker(run, settings)
        for job in jobs:
            there = lines.pop(job.key, [])
            open_ = not run.complete(job.key)
            if not there and not open_:
                continue
            shard = listen(worker, job)
            _remember(worker, shard, there, give_up, found)
            found.waiting += len(shard.waiting) if open_ else 0
        found.foreign += sum(map(len, lines.values()))
    if not found.ours:
        raise RecipeError(
            f"none of {found.foreign:,} results in {', '.join(map(str, paths))} belongs to {run.root}: are they of "
            "another run?"
        )
    return found


def _remember(worker: Worker, shard: Shard, there: Sequence[_Where], give_up: bool, found: Read) -> None:
    brought: list[tuple[str, ImportedResult]] = []
    for row in _rows(there, found):
        name = row["custom_id"]
        if name not in shard.requests:
            found.older += 1
            continue
        key, request = shard.requests[name]
        try:
            brought.append((name, ImportedResult(key, digest(row), batch.parse_result(request, row))))
        except RecursionError:
            # JSON that the parser just takes can be nested too deeply to be written again.
            found.unreadable += 1
    # A request may have failed once and been answered later: what answers comes first.
    brought.sort(key=lambda named: isinstance(named[1].result, Failed))
    asking = worker.asking(shard.job)
    with worker.ledger(shard.job, asking.model) as ledger:
        outcomes = ledger.import_results([one for _, one in brought], give_up)
    for (name, one), outcome in zip(brought, outcomes, strict=True):
        found.answered += outcome == "answered"
        found.known += outcome == "known"
        if outcome == "failed" and isinstance(one.result, Failed):
            found.failed[one.result.reason] += 1
            found.examples.setdefault(one.result.reason, one.result.message)
        if outcome == "answered" or give_up:
            shard.known.add(name)


def _sort(path: Path, lines: dict[ShardKey, list[_Where]], found: Read) -> None:
    """Where the lines of each shard are; the file may be larger than memory."""
    before = found.unreadable
    readable = requests = 0
    first = b""
    try:
        with open(path, "rb") as stream:
            for offset, raw in _lines(stream):
                first = first or raw[:200]
                row = _row(raw)
                if row is None:
                    found.unreadable += 1
                    continue
                readable += 1
                requests += "response" not in row and "error" not in row
                where = shard_of(row["custom_id"])
                if where is None:
                    found.foreign += 1
                else:
                    lines[where].append((path, offset, len(raw)))
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror or error}") from None
    if requests == readable and readable:
        raise RecipeError(f"{path} holds requests, not results: name the file that the answers were written to")
    if not readable:
        raise RecipeError(f"{path} holds no batch result: {_looks(first, found.unreadable - before)}")


def _lines(stream: Any) -> Iterator[tuple[int, bytes]]:
    """Lines with where they start; of one that is too long only the start comes."""
    while True:
        offset = stream.tell()
        raw = stream.readline(_MOST)
        if not raw:
            return
        if raw.strip():
            yield offset, raw
        while len(raw) == _MOST and not raw.endswith(b"\n"):
            raw = stream.readline(_MOST)


def _row(raw: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("custom_id"), str) else None


def _rows(there: Sequence[_Where], found: Read) -> Iterator[dict[str, Any]]:
    for path, group in itertools.groupby(there, key=lambda where: where[0]):
        with open(path, "rb") as stream:
            for _, offset, length in group:
                stream.seek(offset)
                row = _row(stream.read(length))
                if row is None:
                    found.unreadable += 1
                else:
                    yield row


def _looks(first: bytes, lines: int) -> str:
    text = first.decode("utf-8", "replace").lstrip().lower()
    if not text:
        return "it is empty"
    if text.startswith("<"):
        return "it is a web page (HTML); was an error page saved instead of the file?"
    if text.startswith("["):
        return "it is one JSON list; wanted one JSON object on each line"
    return f'none of its {lines:,} lines is a JSON object with a "custom_id"'
