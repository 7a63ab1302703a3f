"""Models of the Hub that were downloaded before: their folders in the cache of ``huggingface_hub``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import constants


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hub, which is all there is: nothing is downloaded."""
    cache = tmp_path / "hub-cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def cached(cache: Path, name: str, revision: str) -> Path:
    """Make the folder of a model at a branch or tag, whose commit follows from both.

    Args:
        cache: of the Hub, as the fixture ``hub_cache`` gives it.
        name: such as ``org/model``.
        revision: branch or tag.
    """
    commit = commit_of(name, revision)
    model = cache / f"models--{name.replace('/', '--')}"
    (model / "refs").mkdir(parents=True, exist_ok=True)
    (model / "refs" / revision).write_text(commit, "ascii")
    folder = model / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", "ascii")
    return folder


def commit_of(name: str, revision: str) -> str:
    """The commit that ``cached`` makes."""
    return hashlib.sha1(f"{name}@{revision}".encode(), usedforsecurity=False).hexdigest()
