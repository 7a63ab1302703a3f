"""Shards in blocks of passages. Here, a block is two passages."""

from __future__ import annotations

import pytest
from engines.openai_server import OpenAIServer
from scale import small_run

from x_instruction.config.recipe import load
from x_instruction.errors import RunChanged, ShardError
from x_instruction.pipeline import batch, blocks
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.storage.shard_key import PASSAGE, StageKey

SETTINGS = {"languages": ["fi"], "corpus.shard_size": 5, "generate.candidates": 2}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    with OpenAIServer() as server:
        small_run.write_recipe(path, server.url)
        yield load(path, SETTINGS)


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(blocks, "PASSAGES", 2)


def files(run, stage):
    return {path.name: path.read_bytes() for path in sorted((run.root / stage.path / "fi").glob("*.parquet"))}


def test_bytes_do_not_depend_on_block_sizes(recipe, tmp_path, monkeypatch):
    whole = small_run.make(recipe, tmp_path / "whole", until="rated")
    monkeypatch.setattr(blocks, "PASSAGES", 2)
    parts = small_run.make(recipe, tmp_path / "parts", until="rated")
    for stage in (StageKey("candidate"), StageKey("rated")):
        assert files(whole, stage) == files(parts, stage)
        for key in parts.shards(stage, "fi"):
            one, other = whole.report(key), parts.report(key)
            assert (one.rows_in, one.requests, one.dropped) == (other.rows_in, other.requests, other.dropped)
            assert "stage.block" not in one.settings
            assert other.settings["stage.block"] == 2
    with pytest.raises(RunChanged, match=r"stage\.block"):
        small_run.make(recipe, tmp_path / "whole", until="rated")


def test_later_rounds_do_not_depend_on_block_sizes(recipe, tmp_path, monkeypatch):
    # Below the scores of some passages, so that later rounds write for a part of each block.
    strict = recipe.replace(refine=recipe.refine.replace(min_score=3.0))
    runs = []
    for name, size in (("whole", 2_000), ("parts", 2)):
        monkeypatch.setattr(blocks, "PASSAGES", size)
        run = small_run.make(strict, tmp_path / name, until="rated")
        worker = Worker(run, strict)
        for stage in (StageKey(name, round) for round in (1, 2) for name in ("candidate", "rated")):
            for key in run.shards(PASSAGE, "fi"):
                worker.make(ShardTask(key.at(stage), {}), lambda activity: None)
        runs.append(run)
    whole, parts = runs
    for stage in (StageKey(name, round) for round in (1, 2) for name in ("candidate", "rated")):
        for key in (key.at(stage) for key in parts.shards(PASSAGE, "fi")):
            one, other = (sorted(map(repr, run.read(key))) for run in runs)
            assert one == other, key
            assert whole.report(key).rows_in == parts.report(key).rows_in
    # Later rounds write for some passages and not for all: a shard has 10 candidates of 5 passages.
    added = [whole.report(key.at(StageKey("candidate", 1))).rows_in - 10 for key in whole.shards(PASSAGE, "fi")]
    assert 0 < sum(added) < 5 * len(added), added


def test_batch_requests_cover_all_blocks_at_once(recipe, tmp_path, two):
    run = small_run.make(recipe, tmp_path / "run", until="passage")
    file = small_run.write_recipe(tmp_path / "batch.toml", "")
    (written,) = batch.write(run, load(file, SETTINGS), None, 10_000, 1 << 30)
    assert written.requests == 2 * sum(run.report(key).kept for key in run.shards(PASSAGE, "fi")) == 20


def test_a_row_out_of_order_is_refused(recipe, tmp_path, two):
    run = small_run.make(recipe, tmp_path / "run", until="candidate")
    key = StageKey("candidate").shard("fi", 1)
    rows = list(run.read(key))
    report = run.report(key)
    report.kept = 0
    run.write(report, [*rows[-1:], *rows[:-1]])
    with pytest.raises(ShardError, match=r"candidate/round-0/fi/00001 has a row of fi-\w+ that does not follow"):
        small_run.make(recipe, tmp_path / "run", until="rated")
