"""The request cache: an SQLite file with the answers for one shard, which survives interruptions.

The key of an answer is a digest of the whole request, the model and its revision, so a changed prompt, parameter or
model is a new request. An atomic batch is answered from the cache only if all its answers are there: batches depend on
the requests alone, and running a part of one would round differently. Failures are reported but not cached, so they are
retried when the shard is made again, except those imported with ``give_up``. An answer is stored with a digest of its
row, and one that was changed since is asked for again.

A preview asks for a few passages of a shard first. Its answers are taken over when the cache of the shard is created,
and used whatever their batch was. The other requests are batched without them, in every attempt at the shard alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

from x_instruction.engines import (
    AnswersStreams,
    Batch,
    Chosen,
    Completed,
    Engine,
    Failed,
    Request,
    Result,
    Scored,
    in_parts,
)
from x_instruction.engines.budget import Budget
from x_instruction.errors import EngineError, ShardError
from x_instruction.hashing import canonical, digest_of_json

_RESULT_TYPES: dict[str, type[Any]] = {"Completed": Completed, "Chosen": Chosen, "Scored": Scored, "Failed": Failed}
# A kill loses at most this many seconds of answers; committing each answer would sync too often.
_COMMIT_SECONDS = 1.0
_COLUMNS = "(key TEXT PRIMARY KEY, kind TEXT, answer TEXT, digest TEXT)"


@dataclasses.dataclass(frozen=True, slots=True)
class ImportedResult:
    """A result that was read from a file instead of received from the engine.

    Args:
        key: cache key of the request.
        line: digest of the line in the file, so that reading a file twice counts its tokens once.
        result: the result.
    """

    key: str
    line: str
    result: Result


@dataclasses.dataclass(slots=True)
class _Work:
    """What the engine was given, as a row of the table of work records it.

    Args:
        entry: the row, once it is written.
        sent: requests that were sent, or will be as soon as the engine has room for them.
        answered: those with a result.
        prompt_tokens, output_tokens: of the results.
        started: when the first request was counted (``time.monotonic``).
        committed: when results were last committed.
    """

    entry: int | None = None
    sent: int = 0
    answered: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    started: float = 0.0
    committed: float = 0.0


@dataclasses.dataclass(slots=True)
class _Part:
    """A part of a stream of requests.

    Args:
        keys: cache keys of its requests.
        results: their results so far, by position.
    """

    keys: list[str]
    results: dict[int, Result]

    @property
    def is_answered(self) -> bool:
        """Whether every request has a result."""
        return len(self.results) == len(self.keys)

    def in_order(self) -> list[Result]:
        """The results in the order of the requests."""
        return [self.results[row] for row in range(len(self.keys))]


class RequestCache:
    """Answers requests from the cache, and sends the others to an engine.

    Args:
        path: SQLite file of one shard; created if absent.
        engine: answers the requests that are not in the cache.
        settings: everything else that affects an answer (data type, threads, batch sizes).
        on_progress: called with the number of requests answered and the number asked so far.
        budget: limits the spend; unlimited by default.
        preview: cache file of a preview of this shard, if there was one.
    """

    def __init__(
        self,
        path: Path,
        engine: Engine,
        settings: dict[str, Any],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        budget: Budget | None = None,
        preview: Path | None = None,
    ) -> None:
        self.engine = engine
        self.on_progress = on_progress
        self.budget = budget or Budget()
        self.answered = 0
        self.asked = 0
        self.tokens = 0
        self._identity = canonical([engine.model, engine.revision, settings])
        self._stream: Generator[Sequence[Result], None, None] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, isolation_level=None, uri=True)
            # The digest of its row shows a text that is no longer UTF-8.
            self._file.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            # A new file has nothing to lose, and to sync each step of its making takes longer than a small shard.
            self._file.execute("PRAGMA synchronous=OFF")
            # In WAL mode a killed process loses no committed answer, and a commit does not wait for the disk.
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.executescript(
                f"BEGIN; CREATE TABLE IF NOT EXISTS answers {_COLUMNS};"
                "CREATE TABLE IF NOT EXISTS work (batch INTEGER PRIMARY KEY, requests INTEGER, "
                "seconds REAL DEFAULT 0, prompt_tokens INTEGER DEFAULT 0, output_tokens INTEGER DEFAULT 0);"
                "CREATE TABLE IF NOT EXISTS brought (line TEXT PRIMARY KEY); COMMIT"
            )
            # Files of earlier versions have no digests.
            _add_digests(self._file, "answers")
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._previewed = self._take_over(preview)
        except (sqlite3.Error, OSError) as error:
            raise _unusable("use", path, error) from error
        self._path = path

    def __enter__(self) -> RequestCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):  # type: ignore[no-untyped-def]
        try:
            if self._stream is not None:
                # If a stage failed in the middle of it, answers are still to be committed.
                self._stream.close()
        except sqlite3.Error as failure:
            raise _unusable("write", self._path, failure) from failure
        finally:
            self._file.close()

    def ask(self, requests: Sequence[Request]) -> list[Result]:
        """Results in the order of the requests, which are all of one type.

        Raises:
            EngineError: the engine cannot answer.
            BudgetReached: the budget is spent. Answers received so far are kept.
            ShardError: the cache file cannot be written.
        """
        keys = [self.key(request) for request in requests]
        self.asked += len(requests)
        answers: dict[int, Result] = {}
        try:
            answers |= self._use_preview(keys)
            left = [row for row in range(len(requests)) if row not in answers]
            for planned in self.engine.plan([requests[row] for row in left]) if left else []:
                batch = dataclasses.replace(planned, rows=tuple(left[row] for row in planned.rows))
                cached = {row: answer for row in batch.rows if (answer := self.lookup(keys[row]))}
                if batch.atomic and len(cached) < len(batch.rows):
                    cached = {}
                answers |= cached
                if cached:
                    self._progress(len(cached))
                missing = tuple(row for row in batch.rows if row not in cached)
                if missing:
                    answers |= self._run([requests[row] for row in missing], Batch(missing, batch.shared), keys)
        except sqlite3.Error as error:
            raise _unusable("write", self._path, error) from error
        return [answers[row] for row in range(len(requests))]

    def ask_parts(self, parts: Iterable[Sequence[Request]], total: int) -> Iterator[Sequence[Result]]:
        """The results of each part, in order. An engine that takes streams works while later parts are prepared.

        Args:
            parts: requests, which are all of one type and differ from each other.
            total: their number.

        Raises:
            EngineError, BudgetReached, ShardError: as ``ask``.
        """
        if not isinstance(self.engine, AnswersStreams):
            yield from in_parts(self.ask)(parts, total)
            return
        self.asked += total
        try:
            with contextlib.closing(self._answer_parts(self.engine, parts)) as self._stream:
                yield from self._stream
        except sqlite3.Error as error:
            raise _unusable("write", self._path, error) from error

    def key(self, request: Request) -> str:
        """Cache key: digest of a request, the model that answers it and the settings."""
        # The digest of these three, of which the last one is the same for all requests.
        return digest_of_json(f'["{type(request).__name__}",{canonical(_values(request))},{self._identity}]')

    def import_results(self, results: Sequence[ImportedResult], give_up: bool = False) -> list[str]:
        """Store results from a file, and count their tokens once.

        Args:
            results: the results to store.
            give_up: store failures too, so that their records are dropped instead of retried.

        Returns:
            For each result ``answered``, ``known`` if its request already had an answer, or ``failed``.
        """
        outcomes: list[str] = []
        # Requests, prompt tokens and output tokens.
        work = [0, 0, 0]
        try:
            self._file.execute("BEGIN")
            for imported in results:
                failed = isinstance(imported.result, Failed)
                before = self.lookup(imported.key)
                known = before is not None and (failed or not isinstance(before, Failed))
                outcomes.append("known" if known else "failed" if failed else "answered")
                if not known:
                    self._store(imported.key, imported.result, give_up)
                if self._file.execute("INSERT OR IGNORE INTO brought VALUES (?)", (imported.line,)).rowcount:
                    result = imported.result
                    work = [work[0] + 1, work[1] + result.prompt_tokens, work[2] + result.output_tokens]
            if work[0]:
                self._file.execute("INSERT INTO work (requests, prompt_tokens, output_tokens) VALUES (?, ?, ?)", work)
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unusable("write", self._path, error) from error
        return outcomes

    def totals(self) -> dict[str, Any]:
        """Requests sent, seconds and tokens, summed over all attempts at this shard."""
        row = self._file.execute(
            "SELECT COALESCE(SUM(requests), 0), COALESCE(SUM(seconds), 0.0), COALESCE(SUM(prompt_tokens), 0), "
            "COALESCE(SUM(output_tokens), 0) FROM work"
        ).fetchone()
        return dict(zip(("requests_sent", "seconds", "prompt_tokens", "output_tokens"), row, strict=True))

    def _take_over(self, preview: Path | None) -> set[str]:
        """Copy the answers of a preview into a new cache, and return the keys of those that were copied at any time.

        A preview that was made after work on the shard began is left alone: batches would change with it.
        """
        new = self._file.execute("SELECT 1 FROM sqlite_master WHERE name = 'preview'").fetchone() is None
        self._file.execute(f"CREATE TABLE IF NOT EXISTS preview {_COLUMNS}")
        _add_digests(self._file, "preview")
        begun = self._file.execute("SELECT 1 FROM work LIMIT 1").fetchone() is not None
        if new and not begun and preview is not None and preview.exists():
            self._file.execute("ATTACH ? AS earlier", (_to_read(preview),))
            columns = {name for _, name, *_ in self._file.execute("PRAGMA earlier.table_info(answers)")}
            digest = "digest" if "digest" in columns else "NULL"
            self._file.execute(
                f"INSERT INTO preview SELECT key, kind, answer, {digest} FROM earlier.answers WHERE kind != 'Failed'"
            )
            self._file.execute("DETACH earlier")
        return {key for (key,) in self._file.execute("SELECT key FROM preview")}

    def _use_preview(self, keys: Sequence[str]) -> dict[int, Result]:
        """The answers that a preview has, by position. Their tokens are counted once."""
        found: dict[int, Result] = {}
        work = [0, 0, 0]
        if not self._previewed.isdisjoint(keys):
            self._file.execute("BEGIN")
            for row, key in enumerate(keys):
                answer = self.lookup(key, "preview") if key in self._previewed else None
                if answer is None:
                    continue
                found[row] = answer
                if self.lookup(key) is None:
                    self._store(key, answer)
                    work = [work[0] + 1, work[1] + answer.prompt_tokens, work[2] + answer.output_tokens]
            if work[0]:
                self._file.execute("INSERT INTO work (requests, prompt_tokens, output_tokens) VALUES (?, ?, ?)", work)
            self._file.execute("COMMIT")
            self._progress(len(found))
        return found

    def _run(self, requests: Sequence[Request], batch: Batch, keys: Sequence[str]) -> dict[int, Result]:
        self.budget.check()
        work = _Work()
        self._count(work, len(requests))
        results: dict[int, Result] = {}
        self._file.execute("BEGIN")
        try:
            for position, answer in self.engine.answer(requests, batch.shared, self.budget.left):
                row = batch.rows[position]
                results[row] = answer
                self._take(work, keys[row], answer)
        finally:
            self._end(work, batch.atomic)
        if work.answered < len(requests):
            raise self._incomplete(work)
        return results

    def _answer_parts(
        self, engine: AnswersStreams, parts: Iterable[Sequence[Request]]
    ) -> Generator[Sequence[Result], None, None]:
        work, under_way = _Work(), deque[_Part]()
        # Part and position of each request that the engine may take.
        given: list[tuple[_Part, int]] = []
        requests = self._unanswered(parts, work, under_way, given)
        first = next(requests, None)
        try:
            with contextlib.closing(
                engine.answer_stream(chain([first], requests), self.budget.left) if first else _nothing()
            ) as answers:
                for position, answer in answers:
                    part, row = given[position]
                    part.results[row] = answer
                    self._take(work, part.keys[row], answer)
                    while under_way and under_way[0].is_answered:
                        yield under_way.popleft().in_order()
            is_complete = next(requests, None) is None and all(part.is_answered for part in under_way)
        finally:
            self._end(work, False)
        if not is_complete:
            raise self._incomplete(work)
        for part in under_way:
            yield part.in_order()

    def _unanswered(
        self,
        parts: Iterable[Sequence[Request]],
        work: _Work,
        under_way: deque[_Part],
        given: list[tuple[_Part, int]],
    ) -> Iterator[Request]:
        """The requests for the engine, as long as the budget lasts. Each part is noted when it is reached."""
        for requests in parts:
            if work.entry is not None:
                # Answers are committed with their tokens, or a kill would leave them without.
                self._record(work)
            self._commit()
            keys = [self.key(request) for request in requests]
            found = self._use_preview(keys)
            cached = {row: answer for row, key in enumerate(keys) if row not in found and (answer := self.lookup(key))}
            if cached:
                self._progress(len(cached))
            under_way.append(part := _Part(keys, found | cached))
            missing = [row for row in range(len(keys)) if row not in part.results]
            if missing and not self.budget.left():
                return
            given += [(part, row) for row in missing]
            if missing:
                self._count(work, len(missing))
            if work.entry is not None:
                self._file.execute("BEGIN")
            yield from (requests[row] for row in missing)

    def _count(self, work: _Work, requests: int) -> None:
        """Count requests before they are sent: those of a killed batch were paid for, too."""
        work.sent += requests
        if work.entry is None:
            work.started = work.committed = time.monotonic()
            work.entry = self._file.execute("INSERT INTO work (requests) VALUES (?)", (work.sent,)).lastrowid
        else:
            self._file.execute("UPDATE work SET requests = ? WHERE batch = ?", (work.sent, work.entry))

    def _take(self, work: _Work, key: str, answer: Result) -> None:
        """Store an answer, and commit now and then."""
        self._store(key, answer)
        work.answered += 1
        work.prompt_tokens += answer.prompt_tokens
        work.output_tokens += answer.output_tokens
        self.tokens += answer.prompt_tokens + answer.output_tokens
        self.budget.add(answer.prompt_tokens, answer.output_tokens)
        self._progress(1)
        if time.monotonic() - work.committed > _COMMIT_SECONDS:
            self._record(work)
            self._file.execute("COMMIT")
            self._file.execute("BEGIN")
            work.committed = time.monotonic()

    def _end(self, work: _Work, atomic: bool) -> None:
        """Record what was sent. If it is not an atomic batch, requests without a result were not."""
        if work.answered < work.sent and not atomic:
            self._file.execute("UPDATE work SET requests = ? WHERE batch = ?", (work.answered, work.entry))
        self._record(work)
        self._commit()

    def _record(self, work: _Work) -> None:
        self._file.execute(
            "UPDATE work SET seconds = ?, prompt_tokens = ?, output_tokens = ? WHERE batch = ?",
            (time.monotonic() - work.started, work.prompt_tokens, work.output_tokens, work.entry),
        )

    def _commit(self) -> None:
        if self._file.in_transaction:
            self._file.execute("COMMIT")

    def _incomplete(self, work: _Work) -> EngineError:
        """The error of an engine that ended early.

        Raises:
            BudgetReached: the budget is why it did.
        """
        self.budget.check()
        return EngineError(
            f"{self.engine.model} answered {work.answered} of {work.sent} requests; "
            "these answers are kept, run the same command again"
        )

    def lookup(self, key: str, table: str = "answers") -> Result | None:
        """The cached result of a key; None if there is none, or if its row was changed since it was written.

        Args:
            key: of the request.
            table: ``answers`` or ``preview``.
        """
        row = self._file.execute(f"SELECT kind, answer, digest FROM {table} WHERE key = ?", (key,)).fetchone()
        if row is None or (row[2] is not None and row[2] != _digest(key, row[0], row[1])):
            return None
        try:
            values = json.loads(row[1])
            if row[0] == "Chosen":
                values["probabilities"] = tuple(values["probabilities"])
            answer: Result = _RESULT_TYPES[row[0]](**values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        return answer

    def _store(self, key: str, answer: Result, give_up: bool = False) -> None:
        if isinstance(answer, Failed) and not give_up:
            return
        row = key, type(answer).__name__, json.dumps(_values(answer))
        self._file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (*row, _digest(*row)))

    def _progress(self, requests: int) -> None:
        self.answered += requests
        self.on_progress(self.answered, self.asked)


def _digest(key: str, kind: object, answer: object) -> str:
    return hashlib.sha256(f"{key} {kind} {answer}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _add_digests(file: sqlite3.Connection, table: str) -> None:
    """Give a table of an earlier version the column of digests, with none for the rows that it has."""
    if "digest" not in {name for _, name, *_ in file.execute(f"PRAGMA table_info({table})")}:
        file.execute(f"ALTER TABLE {table} ADD COLUMN digest TEXT")


def _values(record: Request | Result) -> dict[str, Any]:
    """The fields of a request or result. Their values are plain data, which ``dataclasses.asdict`` would copy."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _nothing() -> Generator[tuple[int, Result], None, None]:
    yield from ()


def _unusable(verb: str, path: Path, error: Exception) -> ShardError:
    """The error of a cache file. It holds answers that were paid for, so no advice is to remove it."""
    if not isinstance(error, sqlite3.OperationalError | OSError):
        remedy = (
            "the file is damaged: move it elsewhere and run the same command again, which asks for its answers anew"
        )
    else:
        remedy = "free disk space or change the permissions, and run the same command again; its answers are kept"
    return ShardError(f"cannot {verb} the request cache {path}: {error}; {remedy}")


def tokens_used(path: Path) -> tuple[int, int]:
    """Prompt tokens and output tokens of all requests recorded in a cache file.

    Raises:
        ShardError: the file cannot be read.
    """
    try:
        with contextlib.closing(sqlite3.connect(_to_read(path), uri=True)) as file:
            prompt, output = file.execute("SELECT TOTAL(prompt_tokens), TOTAL(output_tokens) FROM work").fetchone()
    except (sqlite3.Error, OSError) as error:
        raise _unusable("read", path, error) from error
    return int(prompt), int(output)


def answer_tokens(path: Path) -> list[tuple[int, int]]:
    """Prompt tokens and output tokens of each answer in a cache file; none if there is no file.

    Raises:
        ShardError: the file cannot be read.
    """
    if not path.exists():
        return []
    try:
        with contextlib.closing(sqlite3.connect(_to_read(path), uri=True)) as file:
            answers = [json.loads(answer) for (answer,) in file.execute("SELECT answer FROM answers")]
        return [(answer["prompt_tokens"], answer["output_tokens"]) for answer in answers]
    except (sqlite3.Error, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _unusable("read", path, error) from error


def _to_read(path: Path) -> str:
    """The URI under which a cache file can be read.

    A copy that ``storage.scratch`` made is replaced and never changed, so it is read without a lock, which its network
    file system may not have.
    """
    with open(path, "rb") as file:
        in_use = file.read(20)[18:19] == b"\x02"
    return path.resolve().as_uri() + ("" if in_use else "?immutable=1")


def forget_failures(path: Path) -> None:
    """Delete the failures that were imported with ``give_up``, so that their requests are sent again."""
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(path)) as file, file:
            file.execute("DELETE FROM answers WHERE kind = 'Failed'")
    except sqlite3.Error as error:
        raise _unusable("write", path, error) from error
