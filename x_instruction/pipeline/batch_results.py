"""Read files of batch results: put their answers into the request caches of the shards that asked."""

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
from x_instruction.pipeline.batch import ShardRequests, reachable, record, shard_of
from x_instruction.pipeline.worker import Worker
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import ShardKey

# A longer line is no result, and is not read into memory.
_MAX_LINE = 64 << 20

# File, offset and length of a line.
_Location = tuple[Path, int, int]


@dataclass(slots=True)
class ImportSummary:
    """What came of reading files of results.

    Args:
        answered: requests that got their first answer.
        known: results for requests that had an answer before.
        failed: reason to number of failed requests.
        examples: reason to one message of a failed request.
        older: results for requests that the run does not ask any more, or not yet.
        foreign: results of other shards, other runs or other tools.
        unreadable: lines that are no result: truncated, too long, or not JSON.
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


def read(run: RunFolder, settings: Recipe, paths: Sequence[Path], give_up: bool = False) -> ImportSummary:
    """Put the answers of files into the request caches. Their order does not matter.

    Args:
        run: the run folder.
        settings: its recipe.
        paths: files of results.
        give_up: drop the records of failed requests, with their reason, instead of asking again.

    Raises:
        RecipeError: a file cannot be read, or holds no result of this run.
        XInstructionError: the run asks nothing by batch files.
    """
    with run.lock():
        tasks = reachable(run, settings)
        summary = ImportSummary()
        lines: dict[ShardKey, list[_Location]] = defaultdict(list)
        for path in paths:
            _locate(path, lines, summary)
        worker = Worker(run, settings)
        for task in tasks:
            locations = lines.pop(task.key, [])
            open_ = not run.complete(task.key)
            if not locations and not open_:
                continue
            shard = record(worker, task)
            _import(worker, shard, locations, give_up, summary)
            summary.waiting += len(shard.waiting) if open_ else 0
        summary.foreign += sum(map(len, lines.values()))
    if not summary.ours:
        raise RecipeError(
            f"no result in {', '.join(map(str, paths))} belongs to {run.location} ({summary.foreign:,} of other runs): "
            "name the files of this run"
        )
    return summary


def _import(
    worker: Worker, shard: ShardRequests, locations: Sequence[_Location], give_up: bool, summary: ImportSummary
) -> None:
    """Put the results of one shard into its request cache."""
    results: list[tuple[str, ImportedResult]] = []
    for row in _rows(locations, summary):
        name = row["custom_id"]
        if name not in shard.requests:
            summary.older += 1
            continue
        key, request = shard.requests[name]
        try:
            results.append((name, ImportedResult(key, digest(row), batch.parse_result(request, row))))
        except RecursionError:
            # JSON may be nested just deeply enough to be parsed, and too deeply to be written again.
            summary.unreadable += 1
    # A request may have failed first and been answered later: answers come before failures.
    results.sort(key=lambda named: isinstance(named[1].result, Failed))
    stage = worker.stage_task(shard.task.key)
    assert stage.model is not None
    with worker.request_cache(shard.task.key, stage.model) as cache:
        outcomes = cache.import_results([result for _, result in results], give_up)
    for (name, imported), outcome in zip(results, outcomes, strict=True):
        summary.answered += outcome == "answered"
        summary.known += outcome == "known"
        if outcome == "failed" and isinstance(imported.result, Failed):
            summary.failed[imported.result.reason] += 1
            summary.examples.setdefault(imported.result.reason, imported.result.message)
        if outcome == "answered" or give_up:
            shard.known.add(name)


def _locate(path: Path, lines: dict[ShardKey, list[_Location]], summary: ImportSummary) -> None:
    """Note where the results of each shard are, without keeping them: the file may be larger than memory."""
    before = summary.unreadable
    readable = requests = 0
    first = b""
    try:
        with open(path, "rb") as stream:
            for offset, raw in _lines(stream):
                first = first or raw[:200]
                row = _row(raw)
                if row is None:
                    summary.unreadable += 1
                    continue
                readable += 1
                requests += "response" not in row and "error" not in row
                key = shard_of(row["custom_id"])
                if key is None:
                    summary.foreign += 1
                else:
                    lines[key].append((path, offset, len(raw)))
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror or error}") from None
    if requests == readable and readable:
        raise RecipeError(f"{path} holds requests, not results: name the file that the answers were written to")
    if not readable:
        raise RecipeError(f"{path} holds no batch result: {_looks(first, summary.unreadable - before)}")


def _lines(stream: Any) -> Iterator[tuple[int, bytes]]:
    """Lines and their offsets. Of a line that is too long, only the start is read."""
    while True:
        offset = stream.tell()
        raw = stream.readline(_MAX_LINE)
        if not raw:
            return
        if raw.strip():
            yield offset, raw
        while len(raw) == _MAX_LINE and not raw.endswith(b"\n"):
            raw = stream.readline(_MAX_LINE)


def _row(raw: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("custom_id"), str) else None


def _rows(locations: Sequence[_Location], summary: ImportSummary) -> Iterator[dict[str, Any]]:
    for path, group in itertools.groupby(locations, key=lambda location: location[0]):
        with open(path, "rb") as stream:
            for _, offset, length in group:
                stream.seek(offset)
                row = _row(stream.read(length))
                if row is None:
                    summary.unreadable += 1
                else:
                    yield row


def _looks(first: bytes, lines: int) -> str:
    text = first.decode("utf-8", "replace").lstrip().lower()
    if not text:
        return "it is empty"
    if text.startswith("<"):
        return "it is a web page (HTML), perhaps an error page that was saved instead of the file"
    if text.startswith("["):
        return "it is one JSON list, expected one JSON object per line"
    return f'none of its {lines:,} lines is a JSON object with a "custom_id"'
