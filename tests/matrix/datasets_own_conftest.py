"""Fixtures and helpers of datasets' own tests, which its source distribution does not have.

``test_hub_own_tests.py`` copies this file into a copy of those tests.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

CI_HUB_ENDPOINT, CI_HUB_USER, CI_HUB_USER_TOKEN = os.environ["HF_ENDPOINT"], "ci", os.environ["OWN_TESTS_TOKEN"]
LEFT_OUT = os.environ["OWN_TESTS_LEFT_OUT"].split()
IMAGE = Path(__file__).parent / "features" / "data" / "test_image_rgb.jpg"
Temporary = Callable[..., contextlib.AbstractContextManager[str]]

require_pil = pytest.mark.skipif(find_spec("PIL") is None, reason="no Pillow")
require_torchcodec = pytest.mark.skipif(find_spec("torchcodec") is None, reason="no torchcodec")


def for_all_test_methods(*decorators: Callable[[Any], Any]) -> Callable[[type], type]:
    """A server that fails is no reason to pass, so nothing is decorated."""
    return lambda decorated: decorated


def xfail_if_500_502_http_error(test: Any) -> Any:
    return test


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "integration: of the tests of datasets")
    if find_spec("PIL") is not None:
        from PIL import Image

        IMAGE.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), "teal").save(IMAGE)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    out = [item for item in items if getattr(item, "originalname", item.name) in LEFT_OUT]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


@pytest.fixture
def hf_api() -> HfApi:
    return HfApi(endpoint=CI_HUB_ENDPOINT)


@pytest.fixture
def hf_token() -> str:
    return CI_HUB_USER_TOKEN


@pytest.fixture
def ci_hub_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))


@pytest.fixture
def set_ci_hub_access_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CI_HUB_USER_TOKEN)


@pytest.fixture
def cleanup_repo(hf_api: HfApi) -> Callable[[str], None]:
    return lambda name: hf_api.delete_repo(name, token=CI_HUB_USER_TOKEN, repo_type="dataset")


@pytest.fixture
def temporary_repo(hf_api: HfApi) -> Temporary:
    @contextlib.contextmanager
    def temporary(name: str | None = None) -> Iterator[str]:
        name = name or f"{CI_HUB_USER}/test-dataset-{os.urandom(6).hex()}"
        yield name
        hf_api.delete_repo(name, token=CI_HUB_USER_TOKEN, repo_type="dataset")

    return temporary


@pytest.fixture
def temporary_bucket(hf_api: HfApi) -> Temporary:
    @contextlib.contextmanager
    def temporary() -> Iterator[str]:
        name = f"{CI_HUB_USER}/test-bucket-{os.urandom(6).hex()}"
        hf_api.create_bucket(name, token=CI_HUB_USER_TOKEN)
        yield name
        hf_api.delete_bucket(name, token=CI_HUB_USER_TOKEN)

    return temporary


def _repo(hf_api: HfApi, **settings: Any) -> str:
    name = f"{CI_HUB_USER}/test-{os.urandom(6).hex()}"
    hf_api.create_repo(name, token=CI_HUB_USER_TOKEN, repo_type="dataset", private=bool(settings.get("private")))
    hf_api.upload_file(
        path_or_fileobj=b"text\n", path_in_repo="data.txt", repo_id=name, repo_type="dataset", token=CI_HUB_USER_TOKEN
    )
    if "gated" in settings:
        hf_api.update_repo_settings(name, gated="auto", token=CI_HUB_USER_TOKEN, repo_type="dataset")
    return name


@pytest.fixture
def hf_private_dataset_repo_txt_data(hf_api: HfApi) -> str:
    return _repo(hf_api, private=True)


@pytest.fixture
def hf_gated_dataset_repo_txt_data(hf_api: HfApi) -> str:
    return _repo(hf_api, gated=True)


@pytest.fixture
def text_file(tmp_path: Path) -> str:
    path = tmp_path / "file.txt"
    path.write_text("Text of a file")
    return str(path)


@pytest.fixture
def csv_path(tmp_path: Path) -> str:
    path = tmp_path / "dataset.csv"
    path.write_text("col_1,col_2\n0,a\n1,b\n")
    return str(path)
