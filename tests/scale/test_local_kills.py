"""Workers of one machine that are killed: the run replaces them and makes the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from engines.openai_server import OpenAIServer
from scale import small_run
from scale.small_run import same_bytes

from x_instruction.config.recipe import Recipe, load


@pytest.fixture
def recipe(tmp_path: Path, server: OpenAIServer) -> Recipe:
    return load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))


def test_two_workers_make_the_bytes_of_one(
    recipe: Recipe, server: OpenAIServer, tmp_path: Path, one_worker: Path
) -> None:
    small_run.make(recipe, tmp_path / "run", workers=2, until="rated")
    same_bytes(one_worker, tmp_path / "run", until="rated")
    assert small_run.requests(server) == small_run.REQUESTS
    assert len(list((tmp_path / "run" / "candidate").rglob("*.report.json"))) == 3 * small_run.SHARDS
