"""The request cache: what was asked and answered for one shard, kept through kills.

An answer is found again by a digest of the whole request, the model and its revision, so a changed prompt, parameter or
model asks anew. Where answers depend on the batch, a batch is answered from the cache only when all of it is there:
batches depend on the requests alone, and running part of one would round differently. A failure is no answer: it is
told, and asked again when the shard is made again, unless somebody gave it up (``import_results`` with ``give_up``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from x_instruction.engines import Batch, Chosen, Completed, Engine, Failed, Request, Result, Scored
from x_instruction.engines.budget import Budget
from x_instruction.errors import EngineError, ShardError
from x_instruction.hashing import digest

_KINDS: dict[str, type[Any]] = {"Completed": Completed, "Chosen": Chosen, "Scored": Scored, "Failed": Failed}
_COMMIT_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class ImportedResult:
    """A result that did not come from the engine, but was brought in a file.

    Args:
        key: of the request.
        line: digest of what brought it, so that reading a file twice counts its tokens once.
    """

    key: str
    line: str
    result: Result


class RequestCache:
    """Asks an engine, and remembers.

    Args:
        path: SQLite file of one shard; made if absent.
        engine: who answers what is not remembered.
        settings: what else decides an answer (data type, threads, batch sizes).
        seen: called with the requests answered so far and those known so far, for progress.
        budget: what may be spent.
    """

    def __init__(
        self,
        path: Path,
        engine: Engine,
        settings: dict[str, Any],
        seen: Callable[[int, int], None] = lambda done, total: None,
        budget: Budget | None = None,
    ) -> None:
        self.engine = engine
        self.seen = seen
        self.budget = budget or Budget()
        self.answered = 0
        self.known = 0
        self._identity = [engine.model, engine.revision, settings]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, isolation_level=None)
            # Write-ahead: a killed process loses no committed batch, and a commit costs no sync of the disk.
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._file.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, kind TEXT, answer TEXT)")
            self._file.execute(
                "CREATE TABLE IF NOT EXISTS work (batch INTEGER PRIMARY KEY, requests INTEGER, "
                "seconds REAL DEFAULT 0, prompt_tokens INTEGER DEFAULT 0, output_tokens INTEGER DEFAULT 0)"
            )
            self._file.execute("CREATE TABLE IF NOT EXISTS brought (line TEXT PRIMARY KEY)")
        except (sqlite3.Error, OSError) as error:
            raise ShardError(f"cannot use the request cache {path}: {error}; remove it and run again") from error
        self._path = path

    def __enter__(self) -> RequestCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):  # type: ignore[no-untyped-def]
        self._file.close()

    def ask(self, requests: Sequence[Request]) -> list[Result]:
        """Answers in the order of the requests; all requests of one kind.

        Raises:
            EngineError: the engine cannot answer.
            BudgetReached: the money is spent; what was answered is kept.
            ShardError: the answers cannot be kept.
        """
        keys = [self.key(request) for request in requests]
        self.known += len(requests)
        answers: dict[int, Result] = {}
        try:
            for batch in self.engine.plan(requests) if requests else []:
                known = {row: answer for row in batch.rows if (answer := self.lookup(keys[row]))}
                if batch.atomic and len(known) < len(batch.rows):
                    known = {}
                answers |= known
                if known:
                    self._done(len(known))
                left = tuple(row for row in batch.rows if row not in known)
                if left:
                    answers |= self._run([requests[row] for row in left], Batch(left, batch.shared), keys)
        except sqlite3.Error as error:
            raise ShardError(
                f"cannot write the request cache {self._path}: {error}; make room and run the same command again"
            ) from error
        return [answers[row] for row in range(len(requests))]

    def key(self, request: Request) -> str:
        """Digest of a request together with the model that answers it."""
        return digest([type(request).__name__, dataclasses.asdict(request), self._identity])

    def import_results(self, results: Sequence[ImportedResult], give_up: bool = False) -> list[str]:
        """Keep answers that came another way, and count their tokens once.

        Args:
            give_up: keep failures too, so that their records are dropped instead of asked for again.

        Returns:
            For each result ``answered``, ``known`` when its request had an answer before, or ``failed``.
        """
        outcomes: list[str] = []
        work = [0, 0, 0]
        try:
            self._file.execute("BEGIN")
            for brought in results:
                failed = isinstance(brought.result, Failed)
                before = self.lookup(brought.key)
                known = before is not None and (failed or not isinstance(before, Failed))
                outcomes.append("known" if known else "failed" if failed else "answered")
                if not known:
                    self._keep(brought.key, brought.result, give_up)
                if self._file.execute("INSERT OR IGNORE INTO brought VALUES (?)", (brought.line,)).rowcount:
                    work = [work[0] + 1, work[1] + brought.result.prompt_tokens, work[2] + brought.result.output_tokens]
            if work[0]:
                self._file.execute("INSERT INTO work (requests, prompt_tokens, output_tokens) VALUES (?, ?, ?)", work)
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            raise ShardError(
                f"cannot write the request cache {self._path}: {error}; make room and try again"
            ) from error
        return outcomes

    def totals(self) -> dict[str, Any]:
        """Requests sent, seconds and tokens over every attempt at this shard."""
        row = self._file.execute(
            "SELECT COALESCE(SUM(requests), 0), COALESCE(SUM(seconds), 0.0), COALESCE(SUM(prompt_tokens), 0), "
            "COALESCE(SUM(output_tokens), 0) FROM work"
        ).fetchone()
        return dict(zip(("requests_sent", "seconds", "prompt_tokens", "output_tokens"), row, strict=True))

    def _run(self, requests: Sequence[Request], batch: Batch, keys: Sequence[str]) -> dict[int, Result]:
        self.budget.check()
        # Counted before it is sent: a killed batch was paid for too.
        entry = self._file.execute("INSERT INTO work (requests) VALUES (?)", (len(requests),)).lastrowid
        start = committed = time.monotonic()
        found: dict[int, Result] = {}
        tokens = [0, 0]
        self._file.execute("BEGIN")
        try:
            for position, answer in self.engine.answer(requests, batch.shared, self.budget.left):
                row = batch.rows[position]
                found[row] = answer
                self._keep(keys[row], answer)
                tokens = [tokens[0] + answer.prompt_tokens, tokens[1] + answer.output_tokens]
                self.budget.add(answer.prompt_tokens, answer.output_tokens)
                self._done(1)
                if time.monotonic() - committed > _COMMIT_SECONDS:
                    self._worked(entry, start, tokens)
                    self._file.execute("COMMIT")
                    self._file.execute("BEGIN")
                    committed = time.monotonic()
        finally:
            if len(found) < len(requests) and not batch.atomic:
                self._file.execute("UPDATE work SET requests = ? WHERE batch = ?", (len(found), entry))
            self._worked(entry, start, tokens)
            self._file.execute("COMMIT")
        if len(found) < len(requests):
            self.budget.check()
            raise EngineError(
                f"{self.engine.model} gave {len(found)} answers to {len(requests)} requests; "
                "what was answered is kept, run the same command again"
            )
        return found

    def _worked(self, entry: int | None, start: float, tokens: Sequence[int]) -> None:
        self._file.execute(
            "UPDATE work SET seconds = ?, prompt_tokens = ?, output_tokens = ? WHERE batch = ?",
            (time.monotonic() - start, *tokens, entry),
        )

    def lookup(self, key: str) -> Result | None:
        """The answer that is remembered under a key."""
        row = self._file.execute("SELECT kind, answer FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        values = json.loads(row[1])
        if row[0] == "Chosen":
            values["probabilities"] = tuple(values["probabilities"])
        answer: Result = _KINDS[row[0]](**values)
        return answer

    def _keep(self, key: str, answer: Result, give_up: bool = False) -> None:
        if isinstance(answer, Failed) and not give_up:
            return
        self._file.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
            (key, type(answer).__name__, json.dumps(dataclasses.asdict(answer))),
        )

    def _done(self, requests: int) -> None:
        self.answered += requests
        self.seen(self.answered, self.known)


def tokens_used(path: Path) -> tuple[int, int]:
    """Tokens read and written by every request of a ledger so far.

    Raises:
        ShardError: it cannot be read.
    """
    try:
        with contextlib.closing(sqlite3.connect(path)) as file:
            found = file.execute("SELECT TOTAL(prompt_tokens), TOTAL(output_tokens) FROM work").fetchone()
    except sqlite3.Error as error:
        raise ShardError(f"cannot read the request cache {path}: {error}; remove it and run again") from error
    return int(found[0]), int(found[1])


def forget_failures(path: Path) -> None:
    """Let failures that were given up be asked for again."""
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(path)) as file, file:
            file.execute("DELETE FROM answers WHERE kind = 'Failed'")
    except sqlite3.Error as error:
        raise ShardError(f"cannot write the request cache {path}: {error}; remove it and run again") from error
