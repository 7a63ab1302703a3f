"""Large languages are embedded shard by shard. Here, two rows are large."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from engines.openai_server import OpenAIServer
from scale import small_run

from x_instruction.config.recipe import load
from x_instruction.errors import RunChanged, ShardError, ShardsMissing
from x_instruction.pipeline import execute as execution
from x_instruction.pipeline.progress import NullProgress
from x_instruction.records import Embedded
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, EMBEDDED, StageKey

RATED = StageKey("rated")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    with OpenAIServer() as server:
        small_run.write_recipe(path, server.url)
        yield load(path, {"languages": ["fi"], "diversify.quota": 6})


@pytest.fixture(scope="module")
def runs(recipe, tmp_path_factory):
    """The run as it is by default, and with embedded shards."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        small_run.make(recipe.replace(diversify=recipe.diversify.replace(embed_shards_above=above)), folder / name)
        for name, above in (("plain", 100_000), ("shards", 2))
    ]


def large(recipe, **changes):
    return recipe.replace(diversify=recipe.diversify.replace(embed_shards_above=2, **changes))


def test_the_selection_does_not_depend_on_embedded_shards(runs):
    plain, shards = runs
    assert not (plain.root / "embedded").exists()
    assert plain.report(CURATED.shard("fi")).settings.get("diversify.embedded") is None
    assert shards.report(CURATED.shard("fi")).settings["diversify.embedded"] == "by shard"
    one, other = (list(run.read(CURATED.shard("fi"))) for run in runs)
    assert one == other
    assert len(one) == 6
    dropped = [list(run.dropped(CURATED.shard("fi"))) for run in runs]
    assert dropped[0] == dropped[1]


def test_each_rated_shard_has_an_embedded_one(runs):
    shards = runs[1]
    keys = shards.shards(EMBEDDED, "fi")
    assert len(keys) == small_run.SHARDS
    for key in keys:
        embedded = shards.columns(key).to_pylist()
        assert [(row["id"], row["candidate"], len(row["vector"])) for row in embedded] == [
            (row.id, row.candidate, 4 * 384) for row in shards.read(key.at(RATED))
        ]
        assert shards.report(key).settings.keys() == {
            *("diversify.embedder", "diversify.revision", "diversify.embedder.files", "seed", "stage.version"),
            f"input.{key.at(RATED)}",
        }


def test_ranks_make_the_same_bytes_and_a_new_quota_reuses_embeddings(recipe, runs, tmp_path):
    root = tmp_path / "run"
    # The last rank needs what the first has not made.
    with pytest.raises(ShardsMissing):
        small_run.make(large(recipe), root, rank=1, of=2)
    for rank in (0, 1, 0, 1):
        try:
            small_run.make(large(recipe), root, rank=rank, of=2)
        except ShardsMissing:
            continue
    small_run.make(large(recipe), root)
    small_run.same_bytes(runs[1].root, root)
    made = [file.stat().st_mtime_ns for file in sorted((root / "embedded").rglob("*.parquet"))]
    more = large(recipe, quota=9)
    with pytest.raises(RunChanged, match="quota"):
        small_run.make(more, root)
    RunFolder(root).remove(CURATED.shard("fi"))
    small_run.make(more, root)
    assert RunFolder(root).report(CURATED.shard("fi")).kept == 9
    assert [file.stat().st_mtime_ns for file in sorted((root / "embedded").rglob("*.parquet"))] == made


def test_an_embedded_shard_of_other_rows_is_refused(recipe, runs, tmp_path):
    run = small_run.make(large(recipe), tmp_path / "run")
    key = run.shards(EMBEDDED, "fi")[1]
    rows = [Embedded(**row | {"id": "other"}) for row in run.columns(key).to_pylist()]
    report = run.report(key)
    run.write(dataclasses.replace(report, kept=0), rows)
    run.remove(CURATED.shard("fi"))
    with pytest.raises(ShardError, match=r"embedded/fi/00001 has other rows than rated/round-0/fi/00001: remove it"):
        small_run.make(large(recipe), Path(run.root))


def test_a_slow_selector_is_reported_with_an_alternative(recipe, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "MANY_ROWS", 2)
    lines = []
    progress = NullProgress()
    monkeypatch.setattr(progress, "say", lines.append)
    for selector in ("top", "sampled-kmeans"):
        root = tmp_path / selector
        shutil.copytree(runs[1].root, root)
        RunFolder(root).remove(CURATED.shard("fi"))
        run = small_run.make(large(recipe, selector=selector), root, progress=progress)
        assert {row.selector for row in run.read(CURATED.shard("fi"))} == {selector}
    advice = [line for line in lines if "sampled" in line]
    assert advice == [
        "fi has 10 pairs, and top clusters all of them: with diversify.selector = "
        '"sampled-kmeans" this takes minutes and half of the memory'
    ]
