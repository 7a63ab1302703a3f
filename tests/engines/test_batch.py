"""Batch files: requests, results, and a whole run by files compared with a run by a live server."""

from __future__ import annotations

import hashlib
import json
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from engines.openai_server import MODEL, OpenAIServer, reply, write_recipe

from x_instruction.config.model import Model, Server
from x_instruction.config.recipe import Recipe, load
from x_instruction.engines import Choice, Chosen, Completed, Completion, Failed, Scoring
from x_instruction.engines.remote import batch
from x_instruction.engines.remote.batch import BatchEngine
from x_instruction.errors import EngineError, NotCapable, RecipeError, XInstructionError
from x_instruction.pipeline.batch import RequestFile, custom_id, shard_of, write
from x_instruction.pipeline.batch_results import ImportSummary, read
from x_instruction.pipeline.costs import spent
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.progress import NullProgress
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import ShardKey, StageKey

Write = Callable[..., Recipe]
PRICES = {"generate.model.server.prompt_price": 10.0, "refine.model.server.output_price": 1000.0}


@pytest.fixture
def served_recipe(tmp_path: Path) -> Write:
    """A recipe that asks a server, or without an address by files."""

    def make(url: str = "", overrides: dict[str, Any] | None = None) -> Recipe:
        return load(write_recipe(tmp_path / "recipe.toml", url), overrides)

    return make


def go(recipe: Recipe, root: Path, until: str = "rated", **more: Any) -> RunFolder:
    return execute(recipe, root, 1, False, until, NullProgress(), **more)


def wait(recipe: Recipe, root: Path) -> str:
    """Run until requests wait. Returns the message."""
    with pytest.raises(EngineError, match="wait for answers") as caught:
        go(recipe, root)
    return str(caught.value)


def asked(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


def answer(line: dict[str, Any]) -> dict[str, Any]:
    response = {"status_code": 200, "request_id": "r", "body": reply(line["url"], line["body"])}
    return {"id": "b-" + line["custom_id"], "custom_id": line["custom_id"], "response": response, "error": None}


def fail(line: dict[str, Any], status: int = 400, message: str = "no") -> dict[str, Any]:
    body = {"error": {"message": message, "code": "bad"}}
    return answer(line) | {"response": {"status_code": status, "request_id": "r", "body": body}}


def save(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def waiting(root: Path, recipe: Recipe, **more: Any) -> list[RequestFile]:
    return write(RunFolder(root), recipe, None, more.get("requests", 50_000), more.get("size", 200_000_000))


def take(root: Path, recipe: Recipe, path: Path, **more: Any) -> ImportSummary:
    return read(RunFolder(root), recipe, [path], **more)


def shards(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for stage in ("passage", "candidate", "rated")
        for path in sorted((root / stage).rglob("*.parquet"))
    }


def by_files(recipe: Recipe, root: Path) -> None:
    """Both stages by files, every line answered."""
    for _ in range(2):
        wait(recipe, root)
        path = waiting(root, recipe)[0].path
        assert take(root, recipe, save(root / "answers.jsonl", map(answer, asked(path)))).waiting == 0
    go(recipe, root)


# Requests and results


@pytest.mark.parametrize("tag", ["sw", "zh-Hant", "sl-rozaj-biske-1994", "de-Latn-CH-1996-x-a-b-c-d"])
def test_request_names_are_valid_for_services_and_name_their_shard(tag: str) -> None:
    name = custom_id(ShardKey("candidate", 3, tag, 12345), "0123456789abcdef" * 2)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
    assert shard_of(name) == ShardKey("candidate", 3, tag, 12345)


@pytest.mark.parametrize("name", ["", "request-1", "candidate-0-sw-1-ff", "candidate-0-sw-00001-", "a" * 500])
def test_foreign_request_names_are_ignored(name: str) -> None:
    assert shard_of(name) is None


def test_a_line_equals_the_body_of_a_live_request() -> None:
    requests = [
        Completion("plain", 4, 0.7, 0.9, 5, ("\n",), 1 << 40),
        Completion((("user", "chat"),), 4),
        Choice((("user", "rate"),), ("1", "2")),
    ]
    server = Server(extra_body='{"user": "me", "seed": null}')
    # A batch service cannot be probed for the switch, so the recipe sets it.
    own = BatchEngine(Model(name=MODEL, engine="batch", enable_thinking=False, server=server))
    lines = [batch.request_line(str(number), request, own.quirks) for number, request in enumerate(requests)]
    with OpenAIServer() as live:
        from x_instruction.engines.remote.openai import OpenAIEngine

        there = Server(url=live.url, extra_body=server.extra_body)
        engine = OpenAIEngine(Model(name=MODEL, engine="openai", server=there))
        live.asked.clear()
        answers = [next(engine.answer([request]))[1] for request in requests]
        assert [line["url"] for line in lines] == [path for path, _ in live.asked]
        assert [line["body"] for line in lines[:2]] == [body for _, body in live.asked[:2]]
        assert lines[2]["body"] == live.asked[2][1] | {"top_logprobs": 20}
    assert [batch.parse_result(r, answer(line)) for r, line in zip(requests, lines, strict=True)] == answers
    assert isinstance(answers[0], Completed)
    assert isinstance(answers[2], Chosen)


ROW = answer({"custom_id": "x", "url": "/v1/chat/completions", "body": {"messages": [], "logprobs": True}})


def used(**usage: Any) -> dict[str, Any]:
    body = {"choices": [{"message": {"content": "a"}}], "usage": usage}
    return {"response": {"status_code": 200, "body": body}}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"response": None, "error": {"code": "batch_expired", "message": "not in time"}}, "engine_unavailable"),
        ({"response": {"status_code": 429, "body": {}}, "error": None}, "engine_unavailable"),
        ({"response": {"status_code": 504, "body": None}}, "engine_timeout"),
        ({"response": {"status_code": 400, "body": {"error": {"message": "context is 4096"}}}}, "engine_too_long"),
        ({"response": {"status_code": 400, "body": {"message": "bad seed"}}}, "engine_refused"),
        ({"response": {"status_code": 400, "body": None}, "error": {"error": {"message": "x"}}}, "engine_refused"),
        ({"response": {"status_code": 200, "body": None}}, "engine_bad_answer"),
        ({"response": {"status_code": 200, "body": {"choices": []}}}, "engine_bad_answer"),
        ({"response": {"status_code": 200, "body": {"choices": [{"text": 7}]}}}, "engine_bad_answer"),
        (used(prompt_tokens=-1), "engine_bad_answer"),
        (used(completion_tokens=10**30), "engine_bad_answer"),
        (used(prompt_tokens=float("inf")), "engine_bad_answer"),
        ({"response": {"status_code": 200, "body": "<html>"}}, "engine_bad_answer"),
        ({"response": 7}, "engine_unavailable"),
        ({}, "engine_unavailable"),
    ],
)
def test_failed_results_have_a_reason(row: dict[str, Any], reason: str) -> None:
    found = batch.parse_result(Completion((("user", "x"),), 4), {"custom_id": "x", **row})
    assert isinstance(found, Failed)
    assert found.reason == reason


def test_tokens_of_a_filtered_answer_are_counted() -> None:
    choice = {"finish_reason": "content_filter", "message": {"content": None}}
    body = {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    found = batch.parse_result(Completion((("user", "x"),), 4), {"response": {"status_code": 200, "body": body}})
    assert found == Failed("engine_filtered", "the server's content filter withheld the answer", 7, 2)


def test_answers_that_start_with_the_same_token_fail() -> None:
    found = batch.parse_result(Choice((("user", "x"),), ("30", "31")), ROW)
    assert isinstance(found, Failed)
    assert "start with the same token" in found.message


def test_the_engine_sends_no_requests() -> None:
    engine = BatchEngine(Model(name=MODEL, engine="batch"))
    with pytest.raises(EngineError, match=r"2 requests .* batch write"):
        engine.answer([Completion("a", 1), Completion("b", 1)])
    with pytest.raises(NotCapable, match="prompted"):
        engine.plan([Scoring("a", "b")])


# Whole runs


def test_files_make_the_same_shards_as_a_live_server(served_recipe: Write, tmp_path: Path) -> None:
    with OpenAIServer() as live:
        go(served_recipe(live.url), tmp_path / "live")
    by_files(served_recipe(), tmp_path / "files")
    there = shards(tmp_path / "files")
    assert len(there) == 3 * 2 * 3 * 2
    assert there == shards(tmp_path / "live")


def test_shuffled_failed_and_truncated_results_can_be_resumed(served_recipe: Write, tmp_path: Path) -> None:
    recipe, root, chance = served_recipe(), tmp_path / "run", random.Random(7)
    by_files(recipe, tmp_path / "whole")
    assert "48 requests wait" in wait(recipe, root)
    lines = asked(waiting(root, recipe)[0].path)
    assert len({line["custom_id"] for line in lines}) == 48
    rows = [fail(line, 500) if number < 6 else answer(line) for number, line in enumerate(lines)]
    chance.shuffle(rows)
    results = save(tmp_path / "results.jsonl", rows)
    cut = results.read_bytes()
    results.write_bytes(cut[: cut.rindex(b"{", 0, -200)])
    found = take(root, recipe, results)
    assert found.unreadable == 1
    assert found.answered + found.failed.total() in (46, 47)
    assert found.waiting == 48 - found.answered

    # The rest in another file, and some of the first once more.
    assert f"{found.waiting} requests wait" in wait(recipe, root)
    rest = asked(waiting(root, recipe)[0].path)
    ahead = [line for line in rest if line["custom_id"].startswith("rated-")]
    names = {line["custom_id"] for line in rest} - {line["custom_id"] for line in ahead}
    assert names == {row["custom_id"] for row in rows} - _answered(results)
    more = take(root, recipe, save(tmp_path / "more.jsonl", [*map(answer, rest), *rows[:5]]))
    assert (more.answered, more.waiting) == (found.waiting + len(ahead), 0)
    wait(recipe, root)
    take(root, recipe, save(tmp_path / "rated.jsonl", map(answer, asked(waiting(root, recipe)[0].path))))
    go(recipe, root)
    assert shards(root) == shards(tmp_path / "whole")


def _answered(path: Path) -> set[str]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.endswith("}")]
    return {row["custom_id"] for row in rows if row["response"]["status_code"] == 200}


def test_answered_shards_continue_without_the_others(served_recipe: Write, tmp_path: Path) -> None:
    recipe, root = served_recipe(), tmp_path / "run"
    wait(recipe, root)
    lines = asked(waiting(root, recipe)[0].path)
    fi = [line for line in lines if line["custom_id"].startswith("candidate-0-fi-")]
    take(root, recipe, save(tmp_path / "fi.jsonl", map(answer, fi)))
    assert "24 requests wait" in wait(recipe, root)
    assert RunFolder(root).complete(StageKey("candidate").shard("fi", 2))
    assert not RunFolder(root).complete(StageKey("candidate").shard("th", 0))
    ahead = [line["custom_id"] for line in asked(waiting(root, recipe)[0].path)]
    assert {tuple(name.split("-")[:3]) for name in ahead} == {("candidate", "0", "th"), ("rated", "0", "fi")}


def test_reading_a_file_again_does_not_count_tokens_again(served_recipe: Write, tmp_path: Path) -> None:
    recipe, root = served_recipe(overrides=PRICES), tmp_path / "run"
    wait(recipe, root)
    lines = asked(waiting(root, recipe)[0].path)
    results = save(tmp_path / "results.jsonl", [*map(answer, lines[:40]), *map(fail, lines[40:])])
    first = take(root, recipe, results)
    tokens = sum(answer(line)["response"]["body"]["usage"]["prompt_tokens"] for line in lines[:40])
    assert spent(RunFolder(root), recipe) == pytest.approx(tokens * 10 / 1e6)
    again = take(root, recipe, results)
    assert (first.answered, first.known, again.answered, again.known) == (40, 0, 0, 40)
    assert again.failed == first.failed
    assert spent(RunFolder(root), recipe) == pytest.approx(tokens * 10 / 1e6)
    # A request answered twice was paid for twice.
    twice = [answer(line) | {"id": "another"} for line in lines[:40]]
    take(root, recipe, save(tmp_path / "twice.jsonl", twice))
    assert spent(RunFolder(root), recipe) == pytest.approx(2 * tokens * 10 / 1e6)


def test_given_up_requests_are_dropped_and_can_be_retried(served_recipe: Write, tmp_path: Path) -> None:
    recipe, root = served_recipe(), tmp_path / "run"
    wait(recipe, root)
    lines = asked(waiting(root, recipe)[0].path)
    results = save(tmp_path / "r.jsonl", [*map(answer, lines[3:]), *(fail(one, 400, "too long") for one in lines[:3])])
    assert take(root, recipe, results).waiting == 3
    assert take(root, recipe, results, give_up=True).waiting == 0
    run = go(recipe, root, "candidate")
    assert sum(report.dropped.get("engine_too_long", 0) for report in run.reports(StageKey("candidate"))) == 3
    with pytest.raises(EngineError, match="3 requests wait"):
        go(recipe, root, "candidate", retry_failed=True)
    take(root, recipe, save(tmp_path / "again.jsonl", map(answer, lines[:3])))
    go(recipe, root, "candidate")
    assert not any(report.dropped for report in run.reports(StageKey("candidate")))


# Files


def test_file_limits_are_respected_without_repeated_requests(served_recipe: Write, tmp_path: Path) -> None:
    recipe, root = served_recipe(), tmp_path / "run"
    wait(recipe, root)
    whole = waiting(root, recipe)
    assert [file.existed for file in waiting(root, recipe)] == [True]
    assert len(list((root / "batch").iterdir())) == 1
    by_number = write(RunFolder(root), recipe, tmp_path / "number.jsonl", 20, 200_000_000)
    assert [(file.path.name, file.requests) for file in by_number] == [
        ("number.jsonl", 20),
        ("number-2.jsonl", 20),
        ("number-3.jsonl", 8),
    ]
    by_size = write(RunFolder(root), recipe, tmp_path / "size.jsonl", 50_000, 10_000)
    assert all(file.path.stat().st_size == file.size <= 10_000 for file in by_size)
    for files in (by_number, by_size):
        assert b"".join(file.path.read_bytes() for file in files) == whole[0].path.read_bytes()
    with pytest.raises(RecipeError, match=r"number\.jsonl exists: .*--overwrite"):
        write(RunFolder(root), recipe, tmp_path / "number.jsonl", 50_000, 200_000_000)
    assert len(asked(tmp_path / "number.jsonl")) == 20
    write(RunFolder(root), recipe, tmp_path / "number.jsonl", 50_000, 200_000_000, overwrite=True)
    assert len(asked(tmp_path / "number.jsonl")) == 48


def test_prompts_and_models_of_each_kind_have_separate_files(served_recipe: Write, tmp_path: Path) -> None:
    recipe = served_recipe(overrides={"refine.model.name": "other/model", "generate.prompt": "base-title"})
    root = tmp_path / "run"
    wait(recipe, root)
    lines = asked(waiting(root, recipe)[0].path)
    assert {line["url"] for line in lines} == {"/v1/completions"}
    fi = [line for line in lines if "-fi-" in line["custom_id"]]
    take(root, recipe, save(tmp_path / "fi.jsonl", map(answer, fi)))
    wait(recipe, root)
    files = waiting(root, recipe)
    assert {(file.model, file.url) for file in files} == {
        (MODEL, "/v1/completions"),
        ("other/model", "/v1/chat/completions"),
    }


def test_line_ends_within_text_are_escaped(tmp_path: Path) -> None:
    from contextlib import ExitStack

    from x_instruction.pipeline.batch import _Files

    text = "a\u2028b\u2029c\x85d\re\nf ไทย"
    with ExitStack() as stack:
        files = _Files(iter([tmp_path / "f.jsonl"]), 10, 1000, stack)
        files.add({"url": "/v1/completions", "body": {"model": "m", "prompt": text}})
    written = (tmp_path / "f.jsonl").read_text("utf-8")
    assert len(written.splitlines()) == 1
    assert "ไทย" in written
    assert json.loads(written)["body"]["prompt"] == text


def test_a_failed_write_leaves_no_files(served_recipe: Write, tmp_path: Path) -> None:
    recipe, root = served_recipe(), tmp_path / "run"
    wait(recipe, root)
    (tmp_path / "out-2.jsonl").write_text("mine")
    with pytest.raises(RecipeError, match=r"out-2\.jsonl"):
        write(RunFolder(root), recipe, tmp_path / "out.jsonl", 20, 200_000_000)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["out-2.jsonl", "recipe.toml"]


# Bad input


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b'[{"custom_id": "x"}]', "one JSON list"),
        (b"hello\nthere\n", "none of its 2 lines"),
        (b'{"custom_id": 7}\n', "none of its 1 lines"),
        (b"[" * 100_000, "one JSON list"),
        (b'{"custom_id": "candidate-0-fi-00000-0000000000000000", "method": "POST"}\n', "requests, not results"),
        (b'{"custom_id": "request-1", "response": {}}\n', r"no result in .* belongs to .* \(1 of other runs\)"),
        (b"\xff\xfe\x00", "none of its 1 lines"),
    ],
)
def test_other_files_are_refused_as_results(served_recipe: Write, tmp_path: Path, content: bytes, message: str) -> None:
    recipe, root = served_recipe(), tmp_path / "run"
    go(recipe, root, "passage")
    (tmp_path / "results.jsonl").write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        take(root, recipe, tmp_path / "results.jsonl")


def test_a_missing_file_is_refused_before_anything_is_kept(served_recipe: Write, tmp_path: Path) -> None:
    recipe, root = served_recipe(), tmp_path / "run"
    wait(recipe, root)
    fine = save(tmp_path / "fine.jsonl", map(answer, asked(waiting(root, recipe)[0].path)))
    with pytest.raises(RecipeError, match=r"cannot read .*nothing\.jsonl"):
        read(RunFolder(root), recipe, [fine, tmp_path / "nothing.jsonl"])
    assert "48 requests wait" in wait(recipe, root)


def test_invalid_results_do_not_affect_others(
    served_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("x_instruction.pipeline.batch_results._MAX_LINE", 20_000)
    recipe, root = served_recipe(), tmp_path / "run"
    wait(recipe, root)
    lines = asked(waiting(root, recipe)[0].path)
    older = answer(lines[0]) | {"custom_id": lines[0]["custom_id"][:-4] + "0000"}
    elsewhere = answer(lines[0]) | {"custom_id": lines[0]["custom_id"].replace("-fi-", "-xx-")}
    rows = [json.dumps(row).encode() for row in (older, elsewhere, *map(answer, lines))]
    gigantic = b'{"custom_id": "' + b"a" * 70_000 + b'"}'
    odd = [b"null", b"7", b"{}", b'{"custom_id": null}', b"\xff", b"", gigantic, b"[" * 15_000]
    (tmp_path / "results.jsonl").write_bytes(b"\r\n".join([*odd, *rows]))
    found = take(root, recipe, tmp_path / "results.jsonl")
    assert (found.answered, found.older, found.foreign, found.unreadable) == (48, 1, 1, 7)


def test_results_of_another_recipe_are_counted_and_ignored(served_recipe: Write, tmp_path: Path) -> None:
    recipe, root = served_recipe(), tmp_path / "run"
    wait(recipe, root)
    results = save(tmp_path / "r.jsonl", map(answer, asked(waiting(root, recipe)[0].path)))
    other = served_recipe(overrides={"generate.temperature": 0.1})
    found = read(RunFolder(root), other, [results])
    assert (found.answered, found.older, found.waiting) == (0, 48, 48)


def broken(body: dict[str, Any]) -> dict[str, Any]:
    """An answer of a model with half a surrogate pair and NUL in it, as in the case 25-surrogate-nul."""
    for choice in body["choices"]:
        if "text" in choice:
            choice["text"] = choice["text"].replace("year", "\ud83d\0 year")
        elif "logprobs" not in choice:
            choice["message"]["content"] = choice["message"]["content"].replace("year", "\ud83d\0 year")
    return body


def generated(run: RunFolder) -> list[str]:
    paths = sorted((run.root / "candidate").rglob("*[0-9].parquet"))
    return [text for path in paths for text in pq.read_table(path)["instruction"].to_pylist()]


def test_text_that_parquet_cannot_store_is_repaired_in_a_run(served_recipe: Write, tmp_path: Path) -> None:
    with OpenAIServer(fault=lambda path, body: (200, broken(reply(path, body))) if body else None) as live:
        run = go(served_recipe(live.url), tmp_path / "live")
    assert generated(run)
    assert all("\ufffd" in text and "\0" not in text for text in generated(run))
    recipe, root = served_recipe(), tmp_path / "files"
    wait(recipe, root)
    lines = asked(waiting(root, recipe)[0].path)
    rows = [
        answer(line) | {"response": {"status_code": 200, "body": broken(reply(line["url"], line["body"]))}}
        for line in lines
    ]
    assert take(root, recipe, save(tmp_path / "answers.jsonl", rows)).waiting == 0
    wait(recipe, root)
    assert generated(RunFolder(root)) == generated(run)


def test_deeply_nested_lines_are_unreadable(served_recipe: Write, tmp_path: Path) -> None:
    recipe, root = served_recipe(), tmp_path / "run"
    wait(recipe, root)
    first, *others = asked(waiting(root, recipe)[0].path)
    path = save(tmp_path / "answers.jsonl", map(answer, others))
    with path.open("a") as stream:
        for depth in (*range(900, 1_000, 2), 100_000):
            nested = "[" * depth + "]" * depth
            stream.write(f'{{"custom_id": "{first["custom_id"]}", "error": {nested}}}\n')
    found = take(root, recipe, path)
    assert (found.answered, found.waiting) == (len(others), 1)
    assert found.unreadable + found.failed.total() == 51


def test_a_run_without_files_or_passages_is_reported(served_recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no model in the recipe of"):
        waiting(tmp_path / "run", served_recipe("http://127.0.0.1:1/v1"))
    with pytest.raises(XInstructionError, match="has no passages yet"):
        waiting(tmp_path / "run", served_recipe())


# Killed processes

CHILD = """
import os, signal, sys
from pathlib import Path
from x_instruction.engines.request_cache import RequestCache
from x_instruction.config.recipe import load
from x_instruction.pipeline.batch_results import read
from x_instruction.storage.run_folder import RunFolder

before, calls = RequestCache.import_results, []

def import_results(self, *given):
    found = before(self, *given)
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

RequestCache.import_results = import_results
read(RunFolder(Path(sys.argv[1])), load(sys.argv[2]), [Path(sys.argv[3])])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL is of POSIX")
def test_a_kill_while_reading_loses_and_repeats_nothing(served_recipe: Write, tmp_path: Path) -> None:
    recipe, root = served_recipe(overrides=PRICES), tmp_path / "run"
    wait(recipe, root)
    lines = asked(waiting(root, recipe)[0].path)
    results = save(tmp_path / "results.jsonl", map(answer, lines))
    child = [sys.executable, "-c", CHILD, str(root), str(tmp_path / "recipe.toml"), str(results)]
    assert subprocess.run(child, timeout=120).returncode == -signal.SIGKILL
    left = [line for line in asked(waiting(root, recipe)[0].path) if line["custom_id"].startswith("candidate-")]
    rest = len(left)
    assert 0 < rest < 48
    found = take(root, recipe, results)
    assert (found.answered, found.known, found.waiting) == (rest, 48 - rest, 0)
    tokens = sum(answer(line)["response"]["body"]["usage"]["prompt_tokens"] for line in lines)
    assert spent(RunFolder(root), recipe) == pytest.approx(tokens * 10 / 1e6)
