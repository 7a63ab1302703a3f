"""Requests and answers are kept across processes, failures and kills."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from x_instruction.config.model import Model, Server
from x_instruction.engines import Batch, Choice, Chosen, Completed, Completion, Request, Result, Scored, Scoring
from x_instruction.engines.budget import Budget, LocalSpend
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import BudgetReached, EngineError, ShardError
from x_instruction.hashing import digest


class Scripted:
    """Answers with the reversed prompt, in batches of two; may fail or call something at the n-th request."""

    capabilities = frozenset({"complete", "choose", "score"})
    chat = False

    def __init__(
        self, model: str = "m", revision: str = "r", at: int = -1, do: Callable[[], None] = lambda: None
    ) -> None:
        self.model, self.revision = model, revision
        self.at, self.do = at, do
        self.sent: list[Request] = []

    def truncate(self, text: str, tokens: int) -> str:
        return text[:tokens]

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        rows = range(len(requests))
        return [Batch(tuple(rows[n : n + 2]), 0) for n in range(0, len(rows), 2)]

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Any = None
    ) -> Iterator[tuple[int, Result]]:
        for position, request in reversed(list(enumerate(requests))):
            if len(self.sent) == self.at:
                self.do()
            self.sent.append(request)
            if isinstance(request, Completion):
                yield position, Completed(str(request.prompt)[::-1], "stop", 3, 2)
            elif isinstance(request, Choice):
                yield position, Chosen((0.1, 0.9), 5)
            else:
                yield position, Scored(-1.5e-300, 7, 11)


def fail() -> None:
    raise EngineError("out of memory")


REQUESTS: list[Request] = [Completion(f"prompt {n}", 8, seed=n) for n in range(6)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "candidate" / "fi" / "00000.sqlite"


def texts(results: Sequence[Result]) -> list[str]:
    return [result.text for result in results if isinstance(result, Completed)]


# Unusable files


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5_000])
def test_a_damaged_file_is_named(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(
        ShardError,
        match=r"cannot use the request cache .*00000.sqlite: .*; the file is damaged: move it",
    ):
        RequestCache(path, Scripted(), {})


def test_a_file_damaged_in_the_middle_is_named(path: Path) -> None:
    with RequestCache(path, Scripted(), {}) as cache:
        cache.ask([Completion(f"{n} " * 50, 8) for n in range(400)])
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with (
        pytest.raises(
            ShardError, match=r"cannot (use|write) the request cache .*00000.sqlite: .*; the file is damaged: move it"
        ),
        RequestCache(path, Scripted(), {}) as cache,
    ):
        cache.ask([Completion(f"{n} " * 50, 8) for n in range(400)])


def test_a_file_where_a_folder_is_expected(path: Path) -> None:
    path.parent.parent.mkdir(parents=True)
    path.parent.write_text("in the way")
    with pytest.raises(ShardError, match="cannot use the request cache"):
        RequestCache(path, Scripted(), {})


def test_another_database_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE answers (question TEXT)")
    other.close()
    with RequestCache(path, Scripted(), {}) as cache, pytest.raises(ShardError, match=r"request cache .*00000.sqlite"):
        cache.ask(REQUESTS)


# Answers


def test_no_requests_give_no_results(path: Path) -> None:
    with RequestCache(path, Scripted(), {}) as cache:
        assert cache.ask([]) == []
        assert cache.totals() == {"requests_sent": 0, "seconds": 0.0, "prompt_tokens": 0, "output_tokens": 0}


def test_answers_come_in_the_order_of_the_requests(path: Path) -> None:
    with RequestCache(path, Scripted(), {}) as cache:
        assert texts(cache.ask(REQUESTS)) == [f"prompt {n}"[::-1] for n in range(6)]
        assert texts(cache.ask(REQUESTS[::-1])) == [f"prompt {n}"[::-1] for n in range(5, -1, -1)]
        assert texts(cache.ask([REQUESTS[0]] * 3)) == ["0 tpmorp"] * 3


@pytest.mark.parametrize(
    "request_",
    [REQUESTS[0], Choice("a", ("1", "2")), Scoring((("user", "น้ำ\ud800"),), "b")],
    ids=lambda r: type(r).__name__,
)
def test_answers_are_kept_for_the_next_instance(path: Path, request_: Request) -> None:
    with RequestCache(path, Scripted(), {"dtype": "float32"}) as cache:
        first = cache.ask([request_])
    silent = Scripted(at=0, do=fail)
    with RequestCache(path, silent, {"dtype": "float32"}) as cache:
        assert cache.ask([request_]) == first
        assert cache.answered == cache.asked == 1
        assert cache.totals()["requests_sent"] == 1
    assert silent.sent == []


def test_answers_of_older_versions_can_be_stored(path: Path) -> None:
    with RequestCache(path, Scripted(), {}) as cache:
        key = cache.key(REQUESTS[0])
    kept = r'{"text": "half \ud83d\u0000", "finish_reason": "stop", "prompt_tokens": 3, "output_tokens": 2}'
    with sqlite3.connect(path) as file:
        file.execute("ALTER TABLE answers DROP COLUMN digest")
        file.execute("INSERT INTO answers VALUES (?, 'Completed', ?)", (key, kept))
    file.close()
    with RequestCache(path, Scripted(at=0, do=fail), {}) as cache:
        assert cache.ask(REQUESTS[:1]) == [Completed("half \ufffd", "stop", 3, 2)]


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("Completed", "{"),
        ("Completed", "[]"),
        ("Completed", "{}"),
        ("Completed", "[" * 100_000),
        ("Completed", '{"text": 7, "finish_reason": "stop", "prompt_tokens": 3, "output_tokens": 2}'),
        ("Chosen", '{"probabilities": 7, "prompt_tokens": 3}'),
        ("os.system", "{}"),
    ],
)
def test_a_damaged_answer_is_asked_for_again(path: Path, kind: str, kept: str) -> None:
    with RequestCache(path, Scripted(), {}) as cache:
        first = cache.ask(REQUESTS[:3])
        key = cache.key(REQUESTS[1])
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE answers SET kind = ?, answer = ?, digest = NULL WHERE key = ?", (kind, kept, key))
    again = Scripted()
    with RequestCache(path, again, {}) as cache:
        assert cache.ask(REQUESTS[:3]) == first
    # With the other request of its batch.
    assert again.sent == [REQUESTS[1], REQUESTS[0]]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="the file size limit is of POSIX")
def test_a_full_disk_is_reported_in_one_line_and_answers_are_kept(path: Path) -> None:
    """The limit on the size of files is to SQLite what a full disk is: a write that fails in the middle of a file."""
    with RequestCache(path, Scripted(), {}) as cache:
        first = cache.ask(REQUESTS[:2])
    more: list[Request] = [Completion("x" * 10_000 + str(n), 4) for n in range(64)]
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    messages = []
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 8_192, before[1]))
        for ask in (lambda cache: cache.ask(more), lambda cache: list(cache.ask_parts([more], len(more)))):
            with pytest.raises(ShardError) as caught, RequestCache(path, Scripted(), {}) as cache:
                ask(cache)
            messages.append(str(caught.value))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    for message in messages:
        assert re.fullmatch(r"cannot (use|write) the request cache .*sqlite: .*; free disk space or .*", message)
        assert message.endswith("its answers are kept")
        assert not re.search("remove|delete", message)
    again = Scripted()
    with RequestCache(path, again, {}) as cache:
        assert cache.ask(REQUESTS[:2]) == first
    assert again.sent == []


def test_an_answer_that_was_changed_is_asked_for_again(path: Path, tmp_path: Path) -> None:
    with RequestCache(path, Scripted(), {}) as ledger:
        before = ledger.ask(REQUESTS[:1])
    content = path.read_bytes()
    for change in (b"0 tpmorq", b"0 tpmor\xff"):
        path.write_bytes(content.replace(b"0 tpmorp", change))
        again = tmp_path / "again" / "00000.sqlite"
        for file, preview in ((again, path), (path, None)):
            engine = Scripted()
            with RequestCache(file, engine, {}, preview=preview) as ledger:
                assert ledger.ask(REQUESTS[:1]) == before
            assert len(engine.sent) == 1
        again.unlink()


def test_progress_is_reported(path: Path) -> None:
    counts: list[tuple[int, int]] = []
    with RequestCache(path, Scripted(), {}, lambda done, total: counts.append((done, total))) as cache:
        cache.ask(REQUESTS[:3])
        cache.ask(REQUESTS[:5])
    assert counts[:3] == [(1, 3), (2, 3), (3, 3)]
    assert counts[-1] == (8, 8)
    assert counts == sorted(counts)


# Keys


def test_the_key_depends_on_every_field_of_a_request(path: Path) -> None:
    base: list[tuple[Request, dict[str, Any]]] = [
        (
            Completion("p", 8, 0.7, 0.9, 64, ("\n",), 1),
            {
                "prompt": "q",
                "max_tokens": 9,
                "temperature": 0.8,
                "top_p": 0.8,
                "top_k": 63,
                "stop": ("\n", "x"),
                "seed": 2,
            },
        ),
        (Choice("p", ("a", "b")), {"prompt": (("user", "p"),), "answers": ("b", "a")}),
        (Scoring("p", "c", 4), {"prompt": "p ", "continuation": "d", "max_tokens": 5}),
    ]
    with RequestCache(path, Scripted(), {}) as cache:
        for request, other in base:
            assert set(other) == {field.name for field in dataclasses.fields(request)}
            changed = [dataclasses.replace(request, **{name: value}) for name, value in other.items()]
            assert len({cache.key(found) for found in [request, *changed]}) == 1 + len(other)
            assert cache.key(request) == cache.key(dataclasses.replace(request))
            # As in the files of earlier versions.
            identity = [cache.engine.model, cache.engine.revision, {}]
            assert cache.key(request) == digest([type(request).__name__, dataclasses.asdict(request), identity])
        assert len({cache.key(request) for request, _ in base}) == 3


@pytest.mark.parametrize(
    ("engine", "settings"),
    [
        (Scripted(model="other"), {"dtype": "float32"}),
        (Scripted(revision="other"), {"dtype": "float32"}),
        (Scripted(), {"dtype": "bfloat16"}),
        (Scripted(), {}),
    ],
    ids=["model", "revision", "value", "settings"],
)
def test_another_model_or_setting_repeats_requests(path: Path, engine: Scripted, settings: dict[str, Any]) -> None:
    with RequestCache(path, Scripted(), {"dtype": "float32"}) as cache:
        cache.ask(REQUESTS)
    with RequestCache(path, engine, settings) as cache:
        cache.ask(REQUESTS)
    assert len(engine.sent) == len(REQUESTS)


def test_the_order_of_settings_does_not_count(path: Path) -> None:
    with RequestCache(path, Scripted(), {"a": 1, "b": 2}) as cache:
        cache.ask(REQUESTS)
    again = Scripted()
    with RequestCache(path, again, {"b": 2, "a": 1}) as cache:
        cache.ask(REQUESTS)
    assert again.sent == []


# Parts of batches


def test_a_batch_that_failed_is_repeated_as_a_whole(path: Path) -> None:
    with RequestCache(path, Scripted(at=3, do=fail), {}) as cache, pytest.raises(EngineError, match="out of memory"):
        cache.ask(REQUESTS)
    again = Scripted()
    with RequestCache(path, again, {}) as cache:
        assert texts(cache.ask(REQUESTS)) == [f"prompt {n}"[::-1] for n in range(6)]
        assert cache.totals()["requests_sent"] == 4 + 4
    assert again.sent == [REQUESTS[3], REQUESTS[2], REQUESTS[5], REQUESTS[4]]


def test_a_new_request_repeats_its_whole_batch(path: Path) -> None:
    with RequestCache(path, Scripted(), {}) as cache:
        cache.ask(REQUESTS[:4])
    new = Completion("new", 8)
    again = Scripted()
    with RequestCache(path, again, {}) as cache:
        cache.ask([*REQUESTS[:3], new])
    assert again.sent == [new, REQUESTS[2]]


def test_totals_grow_over_attempts(path: Path) -> None:
    for attempt in range(1, 4):
        with RequestCache(path, Scripted(revision=str(attempt)), {}) as cache:
            cache.ask(REQUESTS)
            totals = cache.totals()
        assert totals["requests_sent"] == 6 * attempt
        assert (totals["prompt_tokens"], totals["output_tokens"]) == (18 * attempt, 12 * attempt)
        assert totals["seconds"] > 0


# Streams


class Streamed(Scripted):
    """Answers with the reversed prompt, one of up to ``window`` requests at a time: by default the last one."""

    def __init__(self, window: int = 3, which: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.window, self.which = window, which
        self.closed = 0

    def answer_stream(
        self, requests: Iterable[Request], should_continue: Callable[[], bool] = lambda: True
    ) -> Generator[tuple[int, Result], None, None]:
        queue, in_flight = enumerate(requests), list[tuple[int, Request]]()
        try:
            while True:
                while len(in_flight) < self.window and should_continue() and (item := next(queue, None)):
                    in_flight.append(item)
                if not in_flight:
                    return
                position, request = in_flight.pop(self.which)
                yield position, next(self.answer([request]))[1]
        finally:
            self.closed += 1


def parts(*sizes: int, at: int = -1, do: Callable[[], None] = lambda: None) -> Iterator[list[Request]]:
    """Parts of the requests; does something before one of them."""
    rest = iter(REQUESTS)
    for number, size in enumerate(sizes):
        if number == at:
            do()
        yield list(islice(rest, size))


@pytest.mark.parametrize("engine", [Scripted(), Streamed(1), Streamed(2), Streamed(9)], ids=["batches", "1", "2", "9"])
@pytest.mark.parametrize("sizes", [(6,), (2, 2, 2), (1, 0, 3, 2), (0, 6), ()], ids=str)
def test_results_of_parts_come_in_order(path: Path, engine: Scripted, sizes: tuple[int, ...]) -> None:
    expected = [[f"prompt {request.seed}"[::-1] for request in part] for part in parts(*sizes)]  # type: ignore[union-attr]
    progress: list[tuple[int, int]] = []
    for _ in range(2):
        with RequestCache(path, engine, {}, lambda *counts: progress.append(counts)) as cache:
            assert [texts(part) for part in cache.ask_parts(parts(*sizes), sum(sizes))] == expected
            totals = cache.totals()
        assert (totals["requests_sent"], totals["output_tokens"]) == (sum(sizes), 2 * sum(sizes))
    assert progress[-1:] == ([(6, 6)] if sizes else [])


def test_parts_are_prepared_while_the_engine_works(path: Path) -> None:
    engine, seen = Streamed(2, which=0), list[int]()

    def prepared() -> Iterator[list[Request]]:
        for part in parts(2, 2, 2):
            seen.append(len(engine.sent))
            yield part

    with RequestCache(path, engine, {}) as cache:
        results = cache.ask_parts(prepared(), 6)
        assert texts(next(results)) == ["0 tpmorp", "1 tpmorp"]
        assert (seen, len(engine.sent)) == ([0, 1], 2)
        assert len(list(results)) == 2
        assert seen == [0, 1, 3]


@pytest.mark.parametrize("where", ["engine", "preparation", "reader"])
def test_a_stream_that_fails_keeps_its_answers(path: Path, where: str) -> None:
    engine = Streamed(2, which=0, at=3 if where == "engine" else -1, do=fail)

    def read() -> None:
        with RequestCache(path, engine, {}) as cache:
            for _ in cache.ask_parts(parts(2, 2, 2, at=2 if where == "preparation" else -1, do=fail), 6):
                if where == "reader":
                    fail()

    with pytest.raises(EngineError, match="out of memory"):
        read()
    assert engine.closed == 1
    kept = len(engine.sent)
    again = Streamed()
    with RequestCache(path, again, {}) as cache:
        assert cache.totals()["requests_sent"] == kept > 0
        assert [texts(part) for part in cache.ask_parts(parts(6), 6)] == [[f"prompt {n}"[::-1] for n in range(6)]]
        assert cache.totals()["requests_sent"] == 6
    assert {repr(request) for request in again.sent}.isdisjoint(map(repr, engine.sent))


@pytest.mark.parametrize("sizes", [(6,), (3, 3), (2, 2, 2), (1,) * 6], ids=str)
@pytest.mark.parametrize("answers", [0, 1, 2, 3, 4])
def test_a_spent_budget_ends_a_stream(path: Path, sizes: tuple[int, ...], answers: int) -> None:
    model = Model(name="m", engine="openai", server=Server(url="http://localhost:1", output_price=1e6))
    budget = Budget(2.0 * answers, LocalSpend(), model)
    engine = Streamed(2)
    with RequestCache(path, engine, {}, budget=budget) as cache, pytest.raises(BudgetReached):
        list(cache.ask_parts(parts(*sizes), 6))
    with RequestCache(path, Streamed(), {}) as cache:
        # Those in flight are answered and kept.
        assert cache.totals()["requests_sent"] == len(engine.sent) == (answers + 1 if answers else 0)
        list(cache.ask_parts(parts(*sizes), 6))
        assert cache.totals()["requests_sent"] == 6


def test_a_stream_takes_the_answers_of_a_preview(path: Path, tmp_path: Path) -> None:
    with RequestCache(tmp_path / "preview.sqlite", Streamed(), {}) as cache:
        cache.ask(REQUESTS[2:4])
    engine = Streamed()
    with RequestCache(path, engine, {}, preview=tmp_path / "preview.sqlite") as cache:
        assert [len(part) for part in cache.ask_parts(parts(3, 3), 6)] == [3, 3]
        assert cache.totals()["requests_sent"] == 6
    assert sorted(request.seed for request in engine.sent) == [0, 1, 4, 5]  # type: ignore[union-attr]


def test_an_engine_with_missing_answers_is_reported(path: Path) -> None:
    engine = Streamed()
    engine.window = 0
    with RequestCache(path, engine, {}) as cache, pytest.raises(EngineError, match="m answered 0 of 3 requests"):
        list(cache.ask_parts(parts(3, 3), 6))


# Killed processes

CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_request_cache import REQUESTS, Scripted
from x_instruction.engines.request_cache import RequestCache

engine = Scripted(at=3, do=lambda: os.kill(os.getpid(), signal.SIGKILL))
with RequestCache(Path(sys.argv[1]), engine, {}) as cache:
    cache.ask(REQUESTS)
"""
STREAM = CHILD.replace("Scripted", "Streamed").replace(
    "cache.ask(REQUESTS)", "list(cache.ask_parts([REQUESTS[:2], REQUESTS[2:4], REQUESTS[4:]], 6))"
)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL is of POSIX")
def test_a_kill_keeps_earlier_batches_and_counts_the_lost_one(path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(path), os.path.dirname(__file__)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = Scripted()
    with RequestCache(path, again, {}) as cache:
        assert cache.totals()["requests_sent"] == 4
        cache.ask(REQUESTS)
        assert cache.totals()["requests_sent"] == 8
    assert again.sent == [REQUESTS[3], REQUESTS[2], REQUESTS[5], REQUESTS[4]]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL is of POSIX")
def test_a_kill_in_a_stream_keeps_answers_and_counts_sent_requests(path: Path) -> None:
    command = [sys.executable, "-c", STREAM, str(path), os.path.dirname(__file__)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = Streamed()
    with RequestCache(path, again, {}) as cache:
        # Three parts were prepared, and answers are kept from the preparation of the last one.
        killed = cache.totals()
        assert killed["requests_sent"] == 6
        list(cache.ask_parts(parts(6), 6))
    assert 0 < len(again.sent) < 6
    assert killed["output_tokens"] == 2 * (6 - len(again.sent))


def test_requests_to_a_real_model_are_sent_once(engine: TransformersEngine, path: Path) -> None:
    requests = [Completion(prompt, 6, temperature=1.0, seed=n) for n, prompt in enumerate(("Järvi", "น้ำ", "জোয়ার"))]
    with RequestCache(path, engine, {}) as cache:
        first = cache.ask(requests)
        totals = cache.totals()
    assert totals["requests_sent"] == 3
    assert totals["prompt_tokens"] == sum(len(engine.tokenizer(str(r.prompt))["input_ids"]) for r in requests)
    with RequestCache(path, engine, {}) as cache:
        assert cache.ask(requests) == first
        assert cache.totals() == totals
