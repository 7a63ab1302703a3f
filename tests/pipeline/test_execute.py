"""Runs as a whole: resume, refusal, equal bytes. A tiny real model writes and rates."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import child

from x_instruction.config.recipe import Recipe, load
from x_instruction.errors import RecipeError, RunChanged, ShardError
from x_instruction.hashing import sealed, unsealed
from x_instruction.pipeline import worker
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.progress import NullProgress
from x_instruction.pipeline.status import totals
from x_instruction.storage.finished import MOST_INPUTS
from x_instruction.storage.lock import run_lock
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

Write = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def go(recipe: Recipe, root: Path, *, workers: int = 1, redo: bool = False, until: str = "rated") -> RunFolder:
    return execute(recipe, root, workers, redo, until, NullProgress())


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for stage in ("passage", "candidate", "rated", "curated")
        for path in sorted((root / stage).rglob("*"))
        if path.is_file() and not path.name.endswith(".report.json")
    }


def test_every_row_is_accounted_for(recipe_file: Write, tmp_path: Path) -> None:
    run = go(load(recipe_file()), tmp_path / "run")
    found = {(t.stage, t.language): t for t in totals(run)}
    for tag in ("fi", "th", "bn"):
        passage, candidate, rated = (found[stage, tag] for stage in ("passage", "candidate", "rated"))
        assert passage.kept == 12
        assert candidate.rows_in == passage.kept
        assert candidate.kept + sum(candidate.dropped.values()) == candidate.requests == 24
        assert candidate.kept > 3
        assert rated.rows_in == candidate.kept == rated.kept + sum(rated.dropped.values())


@pytest.mark.parametrize("named", [True, False])
def test_no_model_is_loaded_for_the_rater_none(
    recipe_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    # The rater's section may name a model that does not exist, or none.
    absent = {"refine.model": {"name": "/no/such/model"}} if named else {"refine.model": {}}
    recipe = load(recipe_file(refine={"rater": "none"}, **absent), {} if named else {"refine.model": None})
    go(recipe, tmp_path / "run", until="candidate")
    monkeypatch.setattr(worker, "open_engine", lambda model: pytest.fail(f"{model.name} was opened"))
    run = go(recipe, tmp_path / "run")
    rated = list(run.read(StageKey("rated").shard("fi", 0)))
    assert {getattr(record, "rater", None) for record in rated} == {"none"}
    assert len({record.id for record in rated}) == len(rated) > 0
    report = run.report(StageKey("rated").shard("fi", 0))
    assert (report.requests, report.dropped.keys()) == (0, {"not_best"})
    assert not (tmp_path / "run" / "cache" / "rated").exists()


def test_unidentifiable_languages_are_refused_before_the_first_task(recipe_file: Write, tmp_path: Path) -> None:
    recipe = load(recipe_file(), {"languages": ["fi", "ti", "hi-Latn"]})
    with pytest.raises(RecipeError, match=r"does not know Tigrinya \('ti'\) and Hindi \(Latin\) \('hi-Latn'\): set"):
        go(recipe, tmp_path / "run", until="passage")
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_a_finished_run_sends_no_requests(recipe_file: Write, tmp_path: Path) -> None:
    recipe = load(recipe_file())
    before = totals(go(recipe, tmp_path / "run"))
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.parquet")}
    assert totals(go(recipe, tmp_path / "run")) == before
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.parquet")}


def test_two_workers_make_the_same_bytes(recipe_file: Write, tmp_path: Path) -> None:
    recipe = load(recipe_file())
    go(recipe, tmp_path / "one", workers=1, until="curated")
    go(recipe, tmp_path / "two", workers=2, until="curated")
    one = digests(tmp_path / "one")
    assert len(one) >= 3 * 3 * 3 * 2
    assert one == digests(tmp_path / "two")


@pytest.mark.parametrize(
    ("section", "key", "value", "named"),
    [
        ("generate", "temperature", 0.9, "generate.temperature"),
        ("refine", "response_tokens", 32, "refine.response_tokens"),
        ("corpus", "shard_size", 6, "corpus.shard_size"),
    ],
)
def test_changed_settings_are_refused_and_named(
    recipe_file: Write, tmp_path: Path, section: str, key: str, value: object, named: str
) -> None:
    recipe = load(recipe_file())
    go(recipe, tmp_path / "run")
    before = digests(tmp_path / "run")
    changed = load(recipe_file(), {f"{section}.{key}": value})
    with pytest.raises(RunChanged, match=named) as caught:
        go(changed, tmp_path / "run")
    assert "overwrite=True" in str(caught.value)
    assert digests(tmp_path / "run") == before
    go(changed, tmp_path / "run", redo=True)
    go(changed, tmp_path / "fresh")
    assert digests(tmp_path / "run") == digests(tmp_path / "fresh")


def test_changed_input_is_refused(recipe_file: Write, tmp_path: Path) -> None:
    sample = Path(__file__).parents[2] / "x_instruction" / "corpus" / "sample"
    for tag in ("fi", "th", "bn"):
        (tmp_path / f"{tag}.jsonl").write_bytes((sample / f"{tag}.jsonl").read_bytes())
    recipe = load(recipe_file(corpus={"source": "files", "paths": [f"{tmp_path}/{{tag}}.jsonl"]}))
    go(recipe, tmp_path / "run", until="passage")
    lines = (tmp_path / "th.jsonl").read_text("utf-8").splitlines()
    (tmp_path / "th.jsonl").write_text("\n".join(lines[1:]), "utf-8")
    with pytest.raises(RunChanged, match=r"passage/th.*input\..*th\.jsonl"):
        go(recipe, tmp_path / "run")


def test_moving_the_corpus_does_not_change_the_run(recipe_file: Write, tmp_path: Path) -> None:
    sample = Path(__file__).parents[2] / "x_instruction" / "corpus" / "sample"
    lines = (sample / "fi.jsonl").read_text("utf-8").splitlines(keepends=True)

    def write(folder: str, **files: list[str]) -> Recipe:
        (tmp_path / folder).mkdir()
        for name, part in files.items():
            (tmp_path / folder / f"{name}.jsonl").write_text("".join(part), "utf-8")
        (tmp_path / folder / "held-out.txt").write_text("A text that no passage has, of more than six words.", "utf-8")
        paths = [f"{tmp_path / folder}/*.jsonl"] if folder == "c" else [f"{tmp_path / folder}/{n}.jsonl" for n in files]
        corpus = {"source": "files", "paths": paths, "decontaminate": [f"{tmp_path / folder}/held-out.txt"]}
        return load(recipe_file(corpus=corpus), {"languages": ["fi"]})

    go(write("a", one=lines[:5], two=lines[5:]), tmp_path / "run", until="passage")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "passage").rglob("*")}
    for folder in ("b", "c"):
        go(write(folder, one=lines[:5], two=lines[5:]), tmp_path / "run", until="passage")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "passage").rglob("*")} == before
    for folder, files, named in (
        ("order", {"two": lines[5:], "one": lines[:5]}, "1-two.jsonl was not set"),
        ("name", {"one": lines[:5], "three": lines[5:]}, "2-three.jsonl was not set"),
        ("bytes", {"one": lines[:5], "two": lines[6:]}, "2-two.jsonl was '"),
    ):
        with pytest.raises(RunChanged, match=named):
            go(write(folder, **files), tmp_path / "run", until="passage")


def test_moving_a_corpus_of_many_files_does_not_change_the_run(recipe_file: Write, tmp_path: Path) -> None:
    sample = Path(__file__).parents[2] / "x_instruction" / "corpus" / "sample"
    lines = (sample / "fi.jsonl").read_text("utf-8").splitlines(keepends=True)

    def write(folder: str, last: str = "more", skipped: int = 0) -> Recipe:
        (tmp_path / folder).mkdir()
        for number in range(MOST_INPUTS):
            (tmp_path / folder / f"{number:03}.jsonl").write_text(lines[number % len(lines)], "utf-8")
        (tmp_path / folder / f"{last}.jsonl").write_text("".join(lines[skipped:]), "utf-8")
        corpus = {"source": "files", "paths": [f"{tmp_path / folder}/*.jsonl"]}
        return load(recipe_file(corpus=corpus), {"languages": ["fi"]})

    first = write("a")
    go(first, tmp_path / "run", until="passage")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "passage").rglob("*")}
    go(write("b"), tmp_path / "run", until="passage")
    with pytest.raises(RunChanged, match=f"input.files was '{MOST_INPUTS + 1} inputs, "):
        go(write("name", last="other"), tmp_path / "run", until="passage")
    with pytest.raises(RunChanged, match=f"input.files was '{MOST_INPUTS + 1} inputs, "):
        go(write("bytes", skipped=1), tmp_path / "run", until="passage")
    # A run of an earlier version is known where its corpus was.
    for report in (tmp_path / "run" / "passage").rglob("*.report.json"):
        table = unsealed(json.loads(report.read_text("utf-8")))
        del table["settings"]["input.files"]
        report.write_text(json.dumps(sealed(table)), "utf-8")
    go(first, tmp_path / "run", until="passage")
    with pytest.raises(RunChanged, match=f"input.all was '{MOST_INPUTS + 1} inputs, "):
        go(write("c"), tmp_path / "run", until="passage")
    shards = [path for path in before if path.suffix == ".parquet"]
    assert {path: path.stat().st_mtime_ns for path in shards} == {path: before[path] for path in shards}


def test_changed_prompt_is_refused(recipe_file: Write, tmp_path: Path) -> None:
    prompt = tmp_path / "mine.txt"
    prompt.write_text("{language}:\n{passage}\nQuestion:{opening}", "utf-8")
    recipe = load(recipe_file(), {"generate.prompt": str(prompt)})
    go(recipe, tmp_path / "run", until="candidate")
    prompt.write_text("{language}:\n{passage}\nA question:{opening}", "utf-8")
    with pytest.raises(RunChanged, match=r"generate\.prompt\.digest"):
        go(recipe, tmp_path / "run")


def test_the_batch_size_does_not_change_the_settings_of_a_run(recipe_file: Write, tmp_path: Path) -> None:
    go(load(recipe_file()), tmp_path / "run")
    go(load(recipe_file(), {"generate.model.batch_size": 3}), tmp_path / "run")


def test_a_second_run_in_the_same_folder_is_refused_at_once(recipe_file: Write, tmp_path: Path) -> None:
    with run_lock(tmp_path / "run"), pytest.raises(ShardError, match=f"another run .*process {os.getpid()} on"):
        go(load(recipe_file()), tmp_path / "run")


def test_a_run_killed_at_random_moments_resumes_with_equal_bytes(recipe_file: Write, tmp_path: Path) -> None:
    """benchmarks/kill.py runs the full size; here a short run is killed three times."""
    recipe = recipe_file()
    go(load(recipe), tmp_path / "whole")
    line = [sys.executable, "-m", "x_instruction", "run", str(recipe), "--out", str(tmp_path / "killed")]
    line += ["--until", "refine", "--workers", "2"]
    chance = random.Random(7)
    for _ in range(3):
        process = subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=os.environ
        )
        try:
            process.wait(chance.uniform(3.0, 12.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


def test_orphaned_workers_stop(recipe_file: Write, tmp_path: Path) -> None:
    """Only the parent is killed: its workers must stop writing."""
    line = [sys.executable, "-m", "x_instruction", "run", str(recipe_file()), "--out", str(tmp_path / "run")]
    with child([*line, "--workers", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.readline()
        children: list[str] = []
        end = time.monotonic() + 60
        while not children and time.monotonic() < end:
            # Workers start when the first stage needs them.
            time.sleep(0.05)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children
        process.kill()
    alive = children
    for _ in range(600):
        alive = [pid for pid in children if not _gone(pid)]
        if not alive:
            return
        time.sleep(0.1)
    pytest.fail(f"workers {alive} outlived the run")


def _gone(pid: str) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
