"""Clients within this process: the Hub's own, online and without Xet, with a cache of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants
from local_hub_fixture import Api, RunningHub


@pytest.fixture
def api(local_hub: RunningHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    """``api()`` writes, ``api(local_hub.read_token)`` reads, ``api(False)`` is anonymous; another hub can be named."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    huggingface_hub.utils.disable_progress_bars()

    def make(token: str | bool | None = None, hub: RunningHub = local_hub) -> HfApi:
        return HfApi(endpoint=hub.endpoint, token=hub.token if token is None else token)

    yield make
    huggingface_hub.utils.enable_progress_bars()
    huggingface_hub.close_session()
