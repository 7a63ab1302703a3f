"""What tests share: a tiny real model, passages in three scripts, a recipe that uses them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import environment  # noqa: F401 - before what reads variables at import
import pytest
import warm
from cached_models import hub_cache  # noqa: F401 - a fixture for every folder
from command_line import say  # noqa: F401 - a fixture for every folder
from factories import TAGS, write_recipe
from fake_fasttext import fasttext  # noqa: F401 - a fixture for every folder
from local_hub_fixture import jobs_hub, local_hub  # noqa: F401 - fixtures for every folder
from looped import looped, looped_file, seeds  # noqa: F401 - fixtures for every folder
from signals import handlers, heard  # noqa: F401 - fixtures for every folder
from tiny_model import kept

# The time of an example depends on the machine, so it never fails a test. vLLM's environment has no hypothesis.
if find_spec("hypothesis") is not None:
    from hypothesis import settings

    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real causal language model of 2 layers and random weights."""
    return kept(tmp_path_factory.mktemp("tiny-model"), TAGS)


@pytest.fixture
def warm_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that a test launches in this process start at once."""
    warm.trainings(monkeypatch.setattr)


@pytest.fixture
def recipe_file(tmp_path: Path, tiny_model: Path) -> Callable[..., Path]:
    """Writes a recipe over the sample corpus with the tiny model; keyword arguments replace whole sections."""
    return partial(write_recipe, tmp_path / "recipe.toml", tiny_model)
