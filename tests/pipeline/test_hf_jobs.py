"""Jobs of the Hub as a scheduler, with the local hub in place of the Hub."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import httpx
from local_hub_fixture import RunningHub

from x_instruction import __version__
from x_instruction.config.site import HfJobs
from x_instruction.errors import EngineError, RecipeError, ShardError, XInstructionError
from x_instruction.pipeline.detached import Array
from x_instruction.pipeline.detached.hf_jobs import HfJobsScheduler
from x_instruction.storage.store import Store

RUN = "hf://buckets/sites/runs/demo"


@pytest.fixture
def hub(jobs_hub: RunningHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The local hub in place of the Hub, for a user who has a token and a bucket."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", jobs_hub.endpoint)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HF_TOKEN", jobs_hub.token)
    jobs_hub.ask("/api/buckets/sites/runs", "POST", {})
    yield jobs_hub
    huggingface_hub.close_session()


def array(location: str = RUN, elements: int = 1, **more: Any) -> Array:
    return Array(location, "work/1.json", "demo.candidate-0", elements, more.pop("needs_gpu", False), **more)


def scheduler(**site: Any) -> HfJobsScheduler:
    return HfJobsScheduler(HfJobs(**{"cpu_flavor": "cpu-basic"} | site))


@pytest.mark.parametrize(
    ("site", "given", "says"),
    [
        ({"flavor": "h9000"}, {}, "hf_jobs.flavor is 'h9000', expected one of a100-large, "),
        ({"cpu_flavor": "none"}, {}, "hf_jobs.cpu_flavor is 'none', expected one of"),
        ({}, {"asks_gpu": True}, "hf_jobs.flavor is 'cpu-basic', which has none: expected one of a100-large"),
        ({"timeout": "soon"}, {}, "hf_jobs.timeout is 'soon', expected a time such as 90m or 12h"),
        ({"secrets": ("NOT_SET",)}, {}, "names NOT_SET, which is not set: export it first"),
        ({}, {"location": "/home/me/runs/demo"}, "/home/me/runs/demo, a folder of this machine, which jobs do not see"),
        ({}, {"location": "hf://buckets/sites/none/x"}, "bucket sites/none, which does not exist"),
    ],
)
def test_bad_input_is_reported_before_any_work(
    hub: RunningHub, site: dict[str, Any], given: dict[str, Any], says: str
) -> None:
    with pytest.raises(RecipeError) as error:
        scheduler(**site).check(array(**given))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_wrong_tokens_are_refused(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for token, says in (
        ("", "needs a token that may run jobs: set HF_TOKEN"),
        ("hf_wrong", "refuses: Invalid user token"),
    ):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(EngineError) as error:
            scheduler().check(array())
        assert says in str(error.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    with pytest.raises(EngineError, match="HF_HUB_OFFLINE is set"):
        scheduler().check(array())


def test_an_unreachable_hub_is_reported(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"the Hub at http://127\.0\.0\.1:9 does not answer"):
        scheduler().check(array())
    assert time.monotonic() - began < 30


def test_a_hub_without_jobs_is_reported(
    hub: RunningHub, local_hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", local_hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", local_hub.token)
    with pytest.raises(XInstructionError, match="runs no jobs"):
        scheduler().check(array())


def test_jobs_are_submitted_counted_and_canceled(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "hidden-value")
    monkeypatch.setenv("A_NAME", "shown")
    jobs = scheduler(namespace="sites", max_jobs=2, secrets=("A_KEY",), env=("A_NAME",), attempts=2, timeout="90m")
    jobs.check(array())
    submitted = jobs.submit(array(elements=3))
    assert len(submitted.elements) == 2
    described = [hub.ask(f"/api/jobs/{name}").json for name in submitted.elements]
    assert described[1]["command"] == [
        *("uv", "run", "--with", f"x_instruction=={__version__}", "x-instruction", "work", RUN),
        *("--tasks", "work/1.json", "--rank", "1", "--of", "3"),
    ]
    first = described[0]
    assert (first["timeout"], first["retry"], first["environment"]) == (5400, 1, {"A_NAME": "shown"})
    assert set(first["secrets"]) == {"HF_TOKEN", "A_KEY"}
    assert first["labels"] == {"name": "demo-candidate-0-0"}
    assert "hidden-value" not in str(described)
    assert sum(jobs.states(submitted).values()) <= 2
    jobs.cancel(submitted)
    end = time.monotonic() + 60
    while jobs.states(submitted):
        assert time.monotonic() < end
        time.sleep(0.1)
    jobs.cancel(submitted)


def test_jobs_submitted_before_a_broken_connection_are_known(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    real, given = huggingface_hub.HfApi.run_job, list[str]()

    def run_job(api: huggingface_hub.HfApi, **job: Any) -> Any:
        given.append(job["name"])
        if len(given) > 1:
            raise httpx.ConnectError("reset by peer")
        return real(api, **job)

    monkeypatch.setattr(huggingface_hub.HfApi, "run_job", run_job)
    jobs = scheduler(namespace="sites")
    submitted = jobs.submit(array(elements=3))
    assert (len(submitted.elements), len(given)) == (1, 2)
    jobs.cancel(submitted)
    with pytest.raises(EngineError, match="does not answer: reset by peer"):
        jobs.submit(array())


def test_secrets_are_not_shown(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "hidden-value")
    jobs = scheduler(flavor="a100-large", secrets=("A_KEY",), package="x_instruction[vllm]", max_jobs=4)
    shown = jobs.shown(array(elements=8, needs_gpu=True))
    assert shown == (
        "# 4 jobs: RANK is 0 to 3\n"
        "hf jobs uv run --detach --image ghcr.io/astral-sh/uv:python3.12-bookworm --flavor a100-large --timeout 12h "
        "--secrets HF_TOKEN --secrets A_KEY --with 'x_instruction[vllm]' x-instruction work "
        f"{RUN} --tasks work/1.json --rank $RANK --of 8\n"
    )
    assert hub.token not in shown
    assert "hidden-value" not in shown


@pytest.mark.parametrize(
    "location", ["hf://buckets/sites", "hf://buckets/sites/runs", "hf://datasets/a/b/x", "hf://a/b"]
)
def test_a_run_is_stored_in_a_folder_of_a_bucket(location: str) -> None:
    with pytest.raises(ShardError, match="expected hf://buckets/NAMESPACE/NAME/runs/demo"):
        Store(location)


def test_changes_of_others_in_a_bucket_are_seen(hub: RunningHub) -> None:
    """Each read asks the bucket and uses no cached listing."""
    stores = [Store("hf://buckets/sites/runs/seen") for _ in range(2)]
    stores[0].check()
    assert stores[0].listing("a") == {}
    assert [store.create("a/b.json", data) for store, data in zip(stores, (b"1", b"2"), strict=True)] == [True, False]
    before = stores[0].listing("a")
    assert (list(before), stores[0].folders(""), stores[0].names(".lock")) == (["b.json"], ["a"], [])
    stores[1].write("a/b.json", b"3")
    after = stores[0].listing("a")
    assert (stores[0].read("a/b.json"), before != after) == (b"3", True)
    assert stores[0].age("a/b.json") < 60
    assert list(stores[0].read_many(["a/b.json"])) == [b"3"]
    stores[1].remove("a/b.json")
    assert (stores[0].read("a/b.json"), stores[0].listing("a")) == (None, {})
    stores[0].remove("a/b.json")


def test_a_read_only_bucket_is_refused(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.read_token)
    with pytest.raises(ShardError, match=r"cannot write into hf://buckets/sites/runs/x.*403.*check"):
        Store("hf://buckets/sites/runs/x").check()
    with pytest.raises(ShardError, match="its bucket does not exist: create it first"):
        Store("hf://buckets/sites/none/x").check()
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(ShardError, match="needs a token that can write it: set HF_TOKEN"):
        Store("hf://buckets/sites/runs/x").check()
