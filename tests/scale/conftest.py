"""What tests of scale share: the scripted server, and the small run as one worker makes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engines.openai_server import OpenAIServer
from scale import small_run

from x_instruction.config.recipe import load


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """The scripted server, which counts what it is asked."""
    with OpenAIServer() as running:
        yield running


@pytest.fixture(scope="session")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small run that one worker made, without any fault."""
    folder = tmp_path_factory.mktemp("one-worker")
    with OpenAIServer() as running:
        recipe = load(small_run.write_recipe(folder / "recipe.toml", running.url))
        small_run.make(recipe, folder / "run")
        assert small_run.requests(running) == small_run.REQUESTS
    return folder / "run"
