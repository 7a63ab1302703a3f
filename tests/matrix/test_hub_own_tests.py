"""The tests of huggingface_hub and datasets against the local hub, of source distributions.

``make test-clients`` fetches them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_hub_fixture import RunningHub, start

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
CLIENTS = Path(os.environ.get("X_INSTRUCTION_CLIENTS", HERE.parent.parent / "build" / "clients"))
SOURCES = CLIENTS / "huggingface_hub-2.4.0" / "tests"
DATASETS = CLIENTS / "datasets-5.2.0" / "tests"
# Tests that are left out of each file, by reason.
NO_FILES = "their files are not in the source distribution"
NO_OWNERS = "an account that may write may see and write everything"
NETWORK = "they ask a server on the internet"
NO_XET_DOWNLOAD = "downloads are plain HTTP"
OTHER_ADDRESS = "they expect the address of the Hub, or the names of its accounts"
NOT_SERVED = "likes, webhooks, inference and lists of large files are not served"
LEFT_OUT = {
    "test_repocard.py": {
        NO_FILES: "test_load_repocard_from_file test_change_repocard_data test_repo_card_from_custom_template_path "
        "test_repo_card_data_must_be_dict test_repo_card_without_metadata test_validate_repocard "
        "test_preserve_windows_linebreaks test_preserve_linebreaks_when_saving test_updating_text_updates_content "
        "test_model_card_with_invalid_model_index_and_ignore_error test_model_card_with_model_index "
        "test_load_model_card_from_file test_model_card_from_custom_template "
        "test_model_card_from_template_eval_results test_load_datasetcard_from_file "
        "test_dataset_card_from_custom_template",
        "a Space begins without a README.md": "test_metadata_update_missing_readme_on_space",
    },
    "test_hf_api.py": {
        OTHER_ADDRESS: "test_whoami_with_passing_token",
        NO_OWNERS: "test_create_repo_private_by_default test_create_private_collection test_auth_check_gated_repo",
        NOT_SERVED: "test_unlike_missing_repo test_list_likes_repos_auth_and_implicit_user "
        "test_list_likes_repos_auth_and_explicit_user test_list_and_delete_lfs_files test_list_inference_catalog "
        "test_get_webhook test_list_webhooks test_create_webhook test_update_webhook test_enable_webhook "
        "test_disable_webhook test_delete_webhook",
        "a collection may name what is elsewhere": "test_collection_items",
    },
    "test_file_download.py": {
        NO_OWNERS: "test_download_from_a_gated_repo_with_hf_hub_download",
        "paths with a backslash are refused": "test_download_folder_file_in_cache_dir "
        "test_download_folder_file_to_local_dir test_get_pointer_path_and_valid_relative_filename "
        "test_get_pointer_path_but_invalid_relative_filename",
    },
    "test_snapshot_download.py": {NO_XET_DOWNLOAD: "test_xet_file_skips_per_file_head_call"},
    "test_hf_file_system.py": {NO_XET_DOWNLOAD: "test_get_file_with_xet"},
    "test_cli.py": {"it expects a wider terminal": "test_list_catalog"},
    "test_xet_upload.py": {NO_XET_DOWNLOAD: "test_upload_file test_hf_xet_download_with_new_session_api"},
    "test_utils_http.py": {
        OTHER_ADDRESS: "test_fix_hf_endpoint_in_url test_proxy_env_is_used",
        NETWORK: "test_client_get_request test_async_client_get_request test_raise_on_status_async_non_stream "
        "test_raise_on_status_async_stream",
    },
    "test_commit_scheduler.py": {},
    "test_upload_pipeline.py": {},
}
# Markers of tests that ask the real Hub, or services that a local hub does not have.
MARKERS = "not production and not inference and not git_lfs and not no_xet"


@pytest.fixture(scope="module")
def tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, RunningHub]]:
    """A copy of the tests for a running hub, and that hub."""
    folder = tmp_path_factory.mktemp("own-tests")
    copy = folder / "hub_tests"
    shutil.copytree(SOURCES, copy)
    (copy / "__init__.py").touch()
    shutil.copy(HERE / "hub_own_conftest.py", copy / "conftest.py")
    accounts = ("--token", "other=write", "--token", "enterprise=write")
    with start(folder / "hub", *accounts) as hub:
        known = json.loads((folder / "hub" / "tokens.json").read_text("utf-8"))
        own = {"ENDPOINT_STAGING": hub.endpoint, "USER": "ci", "FULL_NAME": "ci", "TOKEN": hub.token}
        own |= {"OTHER_USER": "other", "OTHER_TOKEN": known["other"]}
        own |= {"ENTERPRISE_USER": "enterprise", "ENTERPRISE_TOKEN": known["enterprise"]}
        with open(copy / "testing_constants.py", "a", encoding="utf-8") as stream:
            stream.writelines(f"{name} = {value!r}\n" for name, value in own.items())
        yield copy, hub


@pytest.mark.parametrize("file", LEFT_OUT)
def test_the_tests_of_huggingface_hub_pass(tests: tuple[Path, RunningHub], file: str) -> None:
    copy, hub = tests
    run(hub, copy / file, " ".join(LEFT_OUT[file].values()))


@pytest.mark.parametrize(("file", "left_out"), [("test_hub.py", "test_dataset_url"), ("test_upstream_hub.py", "")])
def test_the_tests_of_datasets_pass(tests: tuple[Path, RunningHub], tmp_path: Path, file: str, left_out: str) -> None:
    copy, hub = tmp_path / "datasets_tests", tests[1]
    (copy / "fixtures").mkdir(parents=True)
    for made in ("__init__.py", "fixtures/__init__.py"):
        (copy / made).touch()
    for made in ("utils.py", "fixtures/hub.py"):
        (copy / made).write_text("from datasets_tests.conftest import *\n", "utf-8")
    shutil.copy(HERE / "datasets_own_conftest.py", copy / "conftest.py")
    shutil.copy(DATASETS / file, copy / file)
    # The address of the Hub is expected by the one that is left out.
    run(hub, copy / file, left_out)


def run(hub: RunningHub, file: Path, names: str) -> None:
    """Run a file of tests.

    Args:
        hub: the server that they ask.
        file: in a package of its own.
        names: tests that are left out.
    """
    environment = hub.env(OWN_TESTS_TOKEN=hub.token, OWN_TESTS_LEFT_OUT=names, PYTHONPATH=str(CLIENTS / "plugins"))
    environment |= {"HF_TOKEN": "", "DISABLE_SYMLINKS_IN_WINDOWS_TESTS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--timeout=600"]
    command += ["--rootdir", str(file.parent.parent), "-m", MARKERS, str(file)]
    done = subprocess.run(
        command, cwd=file.parent.parent, env=environment, capture_output=True, text=True, timeout=3_600, check=False
    )
    sys.stdout.write(f"{file.name}: {done.stdout.splitlines()[-1]}\n")
    assert done.returncode == 0, done.stdout[-6_000:]
