"""What tests share: a tiny real model, passages in three scripts, a recipe that uses them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import warm
from local_hub_fixture import local_hub  # noqa: F401 - a fixture for every folder
from tiny_model import make

# Read at import by the Hub's client: no test may reach out.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Processes that tests start compile this package's modules otherwise, each of them anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Models here are tiny: more threads only wait for each other, and the weights are the same with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes is the machine's affair, never a reason to fail. vLLM's environment has no hypothesis.
if find_spec("hypothesis") is not None:
    from hypothesis import settings

    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")

# No spaces, combining marks and Latin with diacritics are where multilingual code breaks.
TAGS = ("fi", "th", "bn")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real causal language model of 2 layers and random weights."""
    return make(tmp_path_factory.mktemp("tiny-model"), TAGS)


@pytest.fixture
def warm_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that a test launches in this process start at once."""
    warm.trainings(monkeypatch.setattr)


@pytest.fixture
def recipe_file(tmp_path: Path, tiny_model: Path) -> Callable[..., Path]:
    """Writes a recipe over the sample corpus with the tiny model; keyword arguments replace whole sections."""

    def write(**sections: dict[str, Any]) -> Path:
        table: dict[str, Any] = {
            "corpus": {"source": "sample", "shard_size": 5},
            "generate": {"candidates": 2, "max_tokens": 8, "passage_tokens": 64, "min_chars": 1},
            "generate.model": {"name": str(tiny_model), "batch_size": 8},
            "refine": {"rater": "pmi", "direction": "instruction", "response_tokens": 64, "min_score": -1000.0},
            "refine.model": {"name": str(tiny_model), "batch_size": 8},
            "diversify": {"embedder": "embedded", "quota": 8},
        } | sections
        lines = ['name = "test"', f"languages = {json.dumps(list(TAGS))}"]
        for name, values in table.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        path = tmp_path / "recipe.toml"
        path.write_text("\n".join(lines), "utf-8")
        return path

    return write
