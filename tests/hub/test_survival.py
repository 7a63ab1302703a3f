"""Publishing survives kills, network faults and concurrency."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from counting_proxy import counted
from local_hub_fixture import RunningHub, start

MODES = pytest.mark.parametrize("mode", [{}, {"HF_HUB_DISABLE_XET": "1"}], ids=["xet", "lfs"])
Make = Callable[..., Path]
TAGS = ("fi", "id", "th", "tr", "vi", "bn", "hi", "sw", "ta", "ur")


def test_ten_concurrent_publishers_lose_nothing(local_hub: RunningHub, make: Make, publish: Any) -> None:
    repo, folders = "many/set", {tag: make(tag, rows=3) for tag in TAGS}
    running = [publish.start(folder, repo) for folder in folders.values()]
    for process in running:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    text = local_hub.ask(f"/datasets/{repo}/resolve/main/README.md").text
    assert all(f"| `{tag}` |" in text for tag in TAGS)
    assert publish.git(repo, "rev-list", "--count", "main").strip() == "11"
    publish.loads((repo, None, dict.fromkeys(TAGS, 3)))


@MODES
def test_a_killed_publisher_resends_little(tmp_path: Path, make: Make, publisher: Any, mode: dict[str, str]) -> None:
    # 90 files of 1 MB: one of them is 1.1 % of the whole, and requests add half as much.
    folder = make("sw", rows=90, rows_per_file=1, chars=2_000_000)
    total = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    with start(tmp_path / "hub") as hub, counted(hub.endpoint) as door:
        publish = publisher(dataclasses.replace(hub, endpoint=door.endpoint))
        killed = publish.start(folder, "kill/set", home="publisher", **mode)
        while door.sent < total * 0.4:
            assert killed.poll() is None, killed.communicate()
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert hub.ask("/api/datasets/kill/set/tree/main/data").status == 404, "nothing is seen yet"
        done = publish(folder, "kill/set", "--yes", home="publisher", **mode)
        assert "rows: sw 90" in done.ok()
        again = door.sent - total
        assert again < total * 0.02, f"{again:,} of {total:,} bytes were sent again"
        publisher(hub).loads(("kill/set", None, {"sw": 90}))


FAULTS: list[dict[str, Any]] = [
    {"method": "GET", "path": "whoami", "times": 1, "status": 503},
    {"method": "GET", "path": "/revision/", "times": 2, "status": 500},
    {"method": "GET", "path": "/tree/", "times": 1, "status": 429, "headers": {"retry-after": "1"}},
    {"method": "GET", "path": "/tree/", "times": 1, "status": 429, "headers": {"ratelimit": '"api";r=0;t=1'}},
    {"method": "POST", "path": "/commit/", "times": 1, "status": 412},
    {"method": "POST", "path": "/commit/", "times": 1, "status": 409},
    {"method": "POST", "path": "/commit/", "times": 1, "status": 429, "headers": {"retry-after": "1"}},
    {"method": "POST", "path": "/commit/", "times": 1, "drop": True},
    {"method": "POST", "path": "/commit/", "times": 2, "status": 500},
    {"method": "POST", "path": "/tag/", "times": 1, "status": 502},
]


@MODES
def test_temporary_faults_are_retried(tmp_path: Path, make: Make, publisher: Any, mode: dict[str, str]) -> None:
    upload = {"method": "PUT" if mode else "POST", "path": "lfs" if mode else "/xorbs/", "times": 1, "status": 500}
    with start(tmp_path / "hub", faulty=True) as hub:
        hub.faults.write_text(json.dumps([*FAULTS, upload] if mode else [upload]))
        done = publisher(hub)(make("sw", "th"), "faults/set", "--tag", "v1", "--yes", **mode)
        assert "rows: sw 8, th 8" in done.ok()
        assert [fault for fault in json.loads(hub.faults.read_text()) if fault["times"]] == []
        assert not mode or "trying again" in done.err
        publisher(hub).loads(("faults/set", "v1", {"sw": 8, "th": 8}))


def test_a_commit_whose_answer_was_lost_is_not_made_twice(tmp_path: Path, make: Make, publisher: Any) -> None:
    with start(tmp_path / "hub") as hub:
        publish, folder, real = publisher(hub), make("sw"), hub.endpoint
        lost = (
            "import huggingface_hub, httpx2\n"
            "real = huggingface_hub.HfApi.create_commit\n"
            "def once(self, *args, **kwargs):\n"
            "    real(self, *args, **kwargs)\n"
            "    huggingface_hub.HfApi.create_commit = real\n"
            "    raise httpx2.ReadTimeout('lost')\n"
            "huggingface_hub.HfApi.create_commit = once\n"
        )
        (result,) = publish.many((folder, "lost/set", "--yes"), before=lost)
        assert f"{real}/datasets/lost/set/tree/{publish.head('lost/set')}" in result.ok()
        assert publish.git("lost/set", "rev-list", "--count", "main").strip() == "2"


def test_permanent_errors_are_reported_at_once(tmp_path: Path, make: Make, publisher: Any) -> None:
    faults = [
        {"method": "POST", "path": "/commit/", "times": 1, "status": 429, "headers": {"retry-after": "3000"}},
        {"method": "POST", "path": "validate-yaml", "times": 1, "status": 400},
        {"method": "POST", "path": "/commit/", "times": 1, "status": 403},
        {"method": "POST", "path": "/commit/", "times": 1, "status": 422},
    ]
    with start(tmp_path / "hub", faulty=True) as hub:
        hub.faults.write_text(json.dumps(faults))
        folder = make("sw")
        found = publisher(hub).many(*[(folder, "wait/set", "--yes")] * 5)
        for result, message in zip(
            found,
            (
                "does not accept the card",
                "asks to wait 3000 seconds .* rerun the same command",
                "this token has no permission for that",
                "the Hub answered 422.*; readers still see the previous revision",
            ),
            strict=False,
        ):
            assert result.code == 1
            assert re.search(message, result.err), result.err
        assert "rows: sw 8" in found[-1].ok()


def test_files_that_differ_from_those_sent_are_detected(tmp_path: Path, make: Make, publisher: Any) -> None:
    with start(tmp_path / "hub") as hub:
        publish, folder = publisher(hub), make("sw")
        publish(folder, "other/set", "--yes").ok()
        stored = next(path for path in hub.folder.rglob("lfs/objects/*/*/*") if path.stat().st_size > 1000)
        stored.chmod(0o644)
        stored.write_bytes(stored.read_bytes()[:-4] + b"XXXX")
        result = publish(folder, "other/set", "--yes")
        assert result.code == 1
        assert "is not a Parquet file" in result.err


def test_a_killed_server_keeps_the_old_or_the_new_data_set(tmp_path: Path, make: Make, publisher: Any) -> None:
    first, second = make("sw"), make("sw", "th", rows=12, seed=1)
    with start(tmp_path) as hub:
        publisher(hub)(first, "dies/set", "--yes").ok()
    for attempt in range(2):
        with start(tmp_path, faulty=True) as hub:
            # Before the commit's lines were read, or after it was asked for.
            hub.faults.write_text(json.dumps([{"method": "POST", "path": "/commit/", "times": 1, "wait": 2}]))
            running = publisher(hub).start(second, "dies/set")
            while not any("/preupload/" in line for line in hub.requests()):
                assert running.poll() is None, running.communicate()
                time.sleep(0.01)
            time.sleep(0.7 * attempt)
            hub.process.kill()
            hub.process.wait()
            running.send_signal(signal.SIGKILL)
            running.communicate()
    with start(tmp_path) as hub:
        publisher(hub).loads(("dies/set", None, {"sw": 8}))
        assert "rows: sw 12, th 12" in publisher(hub)(second, "dies/set", "--yes").ok()
        publisher(hub).loads(("dies/set", None, {"sw": 12, "th": 12}))
