"""Batch files from the command line: a whole run, and the messages of each step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Say
from engines.openai_server import reply, write_recipe


def answer(path: Path, out: Path, fail: int = 0) -> Path:
    rows = []
    for number, text in enumerate(path.read_text("utf-8").split("\n")[:-1]):
        line = json.loads(text)
        response = {"status_code": 200, "body": reply(line["url"], line["body"])}
        if number < fail:
            response = {"status_code": 400, "body": {"error": {"message": "bad \x1b[31mword"}}}
        rows.append(json.dumps({"id": str(number), "custom_id": line["custom_id"], "response": response}))
    out.write_text("\n".join(rows), "utf-8")
    return out


def test_a_run_by_batch_files_from_start_to_end(say: Say, tmp_path: Path) -> None:
    recipe, root = write_recipe(tmp_path / "recipe.toml"), tmp_path / "run"
    run = ("run", recipe, "--out", root, "--workers", 1, "--until", "refine")
    code, _, errors = say(*run)
    assert code == 1
    assert f"error: generate: 48 requests wait for answers: `x-instruction batch write {root}`" in errors
    code, shown, _ = say("batch", "write", root)
    assert code == 0
    first = root / "batch" / "requests-00001.jsonl"
    assert shown.startswith(f"{first}: 48 requests, ")
    assert f"vllm run-batch -i {first} -o {root}/batch/results-00001.jsonl --model test/model" in shown
    assert f"x-instruction batch read {root} {root}/batch/results-00001.jsonl" in shown
    assert "already written" in say("batch", "write", root)[1]

    code, shown, _ = say("batch", "read", root, answer(first, tmp_path / "results.jsonl", fail=2))
    assert code == 0
    assert "46 answered" in shown
    assert "2 failed, asked again by the next file" in shown
    assert "2 engine_refused: 400 bad" in shown
    assert "\x1b" not in shown
    assert f"2 requests still wait: x-instruction batch write {root}" in shown
    code, shown, _ = say("batch", "read", root, tmp_path / "results.jsonl", "--give-up")
    assert "46 known before" in shown
    assert "given up" in shown
    assert "every request has its answer" in shown

    assert say(*run)[0] == 1
    say("batch", "write", root, "--out", tmp_path / "rate.jsonl")
    say("batch", "read", root, answer(tmp_path / "rate.jsonl", tmp_path / "rated.jsonl"))
    code, shown, _ = say(*run, "--drops")
    assert code == 0
    assert "engine_refused 2" in shown
    assert "no request waits" in say("batch", "write", root)[1]
    code, _, errors = say(*run, "--retry-failed")
    assert "generate: 2 requests wait" in errors


@pytest.mark.parametrize("size", ["200MB", "1.5 GB", "900", "64k"])
def test_max_bytes_accepts_units(say: Say, tmp_path: Path, size: str) -> None:
    assert "recipe.json" in say("batch", "write", tmp_path, "--max-bytes", size)[2]


@pytest.mark.parametrize("size", ["", "0", "-1", "much", "1TB", "0.1"])
def test_invalid_sizes_are_refused(say: Say, tmp_path: Path, size: str) -> None:
    code, _, errors = say("batch", "write", tmp_path, f"--max-bytes={size}")
    assert code == 2
    assert "200MB" in errors


def test_a_missing_run_and_missing_results_are_reported(say: Say, tmp_path: Path) -> None:
    code, _, errors = say("batch", "read", tmp_path, tmp_path / "results.jsonl")
    assert code == 1
    assert "is not a run: it has no recipe.json" in errors
    assert say("batch", "read", tmp_path)[0] == 2


def test_preview_refuses_the_batch_engine(say: Say, tmp_path: Path) -> None:
    code, _, errors = say("preview", write_recipe(tmp_path / "recipe.toml"))
    assert code == 1
    assert "batch write" in errors


def test_a_budget_needs_prices(say: Say, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.toml", "http://127.0.0.1:9/v1")
    code, _, errors = say("run", recipe, "--out", tmp_path / "run", "--budget", 5)
    assert code == 1
    assert "prompt_price" in errors
