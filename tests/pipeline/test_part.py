"""Ranks: several processes make one run, each with its own shards. A tiny real model writes and rates."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from x_instruction.config.recipe import Recipe, load
from x_instruction.errors import RecipeError, ShardError, ShardsMissing
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.part import Part
from x_instruction.pipeline.progress import NullProgress
from x_instruction.processes import this_process
from x_instruction.storage.lock import run_lock
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, PASSAGE, StageKey

Write = Callable[..., Path]
CANDIDATE, RATED = StageKey("candidate"), StageKey("rated")


def go(recipe: Recipe, root: Path, rank: int, of: int, until: str = "curated", **more: object) -> RunFolder:
    overwrite = bool(more.pop("overwrite", False))
    return execute(recipe, root, 1, overwrite, until, NullProgress(), rank=rank, of=of, **more)  # type: ignore[arg-type]


def made(run: RunFolder, stage: StageKey) -> list[str]:
    return [str(report.key) for report in run.reports(stage)]


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for stage in ("passage", "candidate", "rated", "curated")
        for path in sorted((root / stage).rglob("*"))
        if path.is_file() and not path.name.endswith(".report.json")
    }


@pytest.mark.parametrize(
    ("rank", "of", "message"),
    [
        (9, 8, "rank is 9, expected 0 to 7 with --of 8"),
        (-1, 8, "rank is -1, expected 0 to 7 with --of 8"),
        (1, 1, "rank is 1, expected 0 with --of 1"),
        (0, 0, "of is 0, expected 1 or more"),
    ],
)
def test_a_rank_out_of_range_is_refused(recipe_file: Write, tmp_path: Path, rank: int, of: int, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{message}$"):
        go(load(recipe_file()), tmp_path / "run", rank, of)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "name"),
    [({"overwrite": True}, "--overwrite"), ({"retry_failed": True}, "--retry-failed"), ({"budget": 1.0}, "--budget")],
)
def test_commands_that_need_the_whole_run_are_refused(
    recipe_file: Write, tmp_path: Path, more: dict[str, object], name: str
) -> None:
    with pytest.raises(RecipeError, match=f"{name} cannot be combined with --rank and --of"):
        go(load(recipe_file()), tmp_path / "run", 0, 2, **more)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("of", [1, 2, 3, 8])
def test_every_shard_belongs_to_one_rank(of: int) -> None:
    parts = [Part(rank, of) for rank in range(of)]
    assert all(sum(part.has(number) for part in parts) == 1 for number in range(30))
    assert sum(part.makes_models for part in parts) == 1


def test_a_rank_makes_only_its_shards(recipe_file: Write, tmp_path: Path) -> None:
    """Three languages of three shards each, in two parts."""
    recipe, root = load(recipe_file(refine={"rater": "none"})), tmp_path / "run"
    run = go(recipe, root, 1, 2, until="passage")
    assert made(run, PASSAGE) == [f"passage/th/{index:05d}" for index in range(3)]
    with pytest.raises(
        ShardsMissing, match=r"^rank 1 of 2 made all that it can, and needs passage/fi, passage/bn from"
    ):
        go(recipe, root, 1, 2)
    assert made(run, CANDIDATE) == []
    # The first shards have a number once the passages before them are complete.
    with pytest.raises(ShardsMissing, match="needs passage/th from other ranks"):
        go(recipe, tmp_path / "other", 0, 2)
    assert made(RunFolder(tmp_path / "other"), CANDIDATE) == [
        "candidate/round-0/fi/00000",
        "candidate/round-0/fi/00002",
    ]
    go(recipe, root, 0, 2, until="passage")
    go(recipe, root, 1, 2, until="candidate")
    numbered = [f"candidate/round-0/{tag}/{index:05d}" for tag in ("fi", "th", "bn") for index in range(3)]
    assert sorted(made(run, CANDIDATE)) == sorted(numbered[1::2])
    assert run.count(CANDIDATE, "fi") is None, "the number of shards is recorded once all are there"
    with pytest.raises(ShardsMissing, match="needs rated/round-0/th from other ranks"):
        go(recipe, root, 1, 2)
    assert sorted(made(run, RATED)) == sorted(name.replace("candidate", "rated") for name in numbered[1::2])
    assert made(run, CURATED) == []


def test_ranks_in_processes_make_the_bytes_of_a_whole_run(recipe_file: Write, tmp_path: Path) -> None:
    recipe = recipe_file()
    execute(load(recipe), tmp_path / "whole", 1, False, "curated", NullProgress())
    line = [sys.executable, "-m", "x_instruction", "run", str(recipe), "--out", str(tmp_path / "parts")]
    line += ["--workers", "1", "--of", "2", "--rank"]
    open_ranks = [0, 1]
    for _ in range(6):
        ranks = [
            (rank, subprocess.Popen([*line, str(rank)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
            for rank in open_ranks
        ]
        ended = [(rank, process.communicate(timeout=240)[1], process.returncode) for rank, process in ranks]
        assert all(code in (0, 1) for _, _, code in ended), ended
        assert all("from other ranks" in errors for _, errors, code in ended if code), ended
        open_ranks = [rank for rank, _, code in ended if code]
        if not open_ranks:
            break
    assert open_ranks == []
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")
    assert not list((tmp_path / "parts").rglob(".*.tmp"))
    # The whole run has nothing left to make, and finds every number of shards recorded.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").rglob("*.parquet")}
    run = execute(load(recipe), tmp_path / "parts", 1, False, "curated", NullProgress())
    assert before == {path: path.stat().st_mtime_ns for path in run.root.rglob("*.parquet")}


def test_temporary_files_of_other_ranks_are_kept(recipe_file: Write, tmp_path: Path) -> None:
    recipe, root = load(recipe_file(refine={"rater": "none"})), tmp_path / "run"
    execute(recipe, root, 1, False, "passage", NullProgress())
    run = RunFolder(root)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here, elsewhere = f"{this_process().place}-{ended.pid}", f"01234567-{ended.pid}"
    left = [
        run.path(CANDIDATE.shard("fi", index)).with_name(f".{index:05d}.parquet.{process}-89abcdef.tmp")
        for index, process in ((0, here), (1, here), (1, elsewhere))
    ]
    left[0].parent.mkdir(parents=True)
    for path in left:
        path.write_bytes(b"half")
    with run_lock(root, 0, 2):
        go(recipe, root, 1, 2, until="candidate")
        assert [path.exists() for path in left] == [True, False, True]
        with pytest.raises(ShardError, match=r"another run is at work in .* as rank 0 of 2"):
            go(recipe, root, 0, 2, until="candidate")
        with pytest.raises(ShardError, match="another run is at work"):
            execute(recipe, root, 1, False, "candidate", NullProgress())
    os.utime(left[2], (0, 0))
    go(recipe, root, 0, 2, until="candidate")
    go(recipe, root, 1, 2, until="candidate")
    assert [path.exists() for path in left] == [False, False, True]
    execute(recipe, root, 1, False, "candidate", NullProgress())
    assert not left[2].exists()


def test_models_are_trained_by_rank_0(recipe_file: Write, tmp_path: Path) -> None:
    seeds = tmp_path / "fi.jsonl"
    seeds.write_text('{"instruction": "Explain the lake.", "output": "Järvi jäätyy yöllä."}\n', "utf-8")
    sections = {"seeds": {"paths": [str(seeds)]}, "generate.train": {"steps": 1, "device": "cpu"}}
    recipe = load(recipe_file(**sections), {"languages": ["fi"]})
    go(recipe, tmp_path / "run", 0, 2, until="passage")
    with pytest.raises(ShardsMissing, match=r"^rank 1 of 2 made all that it can, and needs models/generator-0 from"):
        go(recipe, tmp_path / "run", 1, 2, until="candidate")
    assert not (tmp_path / "run" / "seeds").exists()
