"""Fixtures of the Hub client's own tests, which its source distribution does not have.

``test_hub_own_tests.py`` copies this file into a copy of those tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from huggingface_hub import HfApi, RepoUrl, constants

RepoFactory = Callable[..., RepoUrl]
MARKERS = ("api", "transfer", "inference", "xet", "no_xet", "production", "deprecated", "git_lfs")
ENDPOINT, TOKEN = os.environ["HF_ENDPOINT"], os.environ["OWN_TESTS_TOKEN"]
LEFT_OUT = os.environ["OWN_TESTS_LEFT_OUT"].split()


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", f"{marker}: of the Hub client's own tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    out = [item for item in items if getattr(item, "originalname", item.name) in LEFT_OUT]
    unknown = set(LEFT_OUT) - {getattr(item, "originalname", "") for item in items}
    assert not unknown, f"no such tests: {sorted(unknown)}"
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    names = {"HF_HUB_CACHE": "hub", "HF_TOKEN_PATH": "token", "HF_STORED_TOKENS_PATH": "stored_tokens"}
    for name, value in (names | {"HF_ASSETS_CACHE": "assets", "HF_XET_CACHE": "xet"}).items():
        monkeypatch.setattr(constants, name, str(home / value))


@pytest.fixture(scope="session")
def api() -> HfApi:
    return HfApi(endpoint=ENDPOINT, token=TOKEN)


@pytest.fixture
def repo_factory(api: HfApi, request: pytest.FixtureRequest) -> Iterator[RepoFactory]:
    made: list[tuple[str, str, str | None]] = []

    def make(repo_type: str = "model", repo_id: str | None = None, token: str | None = None, **more: Any) -> RepoUrl:
        name = repo_id or f"repo-{os.urandom(6).hex()}"
        url = api.create_repo(name, repo_type=repo_type, token=token, **more)
        made.append((url.repo_id, repo_type, token))
        return url

    yield make
    for repo_id, repo_type, token in made:
        api.delete_repo(repo_id, repo_type=repo_type, token=token, missing_ok=True)
