"""The local hub survives kills, network faults and concurrency."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import random
import subprocess
import threading
import urllib.error
from pathlib import Path

import pytest
from local_hub_fixture import RunningHub, start

KILLS = 10


def git(hub: RunningHub, repo: str, *arguments: str) -> str:
    command = ["git", "-C", str(hub.folder / "datasets" / f"{repo}.git"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_killed_server_keeps_the_old_or_the_new_state(tmp_path: Path) -> None:
    repo, chance, number, done, seen = "kill/d", random.Random(7), 0, 0, set[bool]()
    for attempt in range(KILLS):
        with start(tmp_path) as hub:
            if not attempt:
                hub.create(repo)
            stop = threading.Event()

            def publish(hub: RunningHub = hub, stop: threading.Event = stop) -> None:
                nonlocal number, done
                while not stop.is_set():
                    number += 1
                    content = str(number).encode()
                    try:
                        hub.commit(repo, {f"{n}/file": content for n in range(25)} | {"last": content})
                    except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
                        # The last: killed in the middle of its answer.
                        return
                    done = number

            writer = threading.Thread(target=publish)
            writer.start()
            writer.join(chance.uniform(0.05, 0.4))
            hub.process.kill()
            hub.process.wait()
            stop.set()
            writer.join()
            assert "error" not in git(hub, repo, "fsck", "--strict", "--full")
            if done:
                head = int(git(hub, repo, "show", "main:last"))
                assert head in (done, number), "what was answered is there; what was not may be"
                contents = {git(hub, repo, "show", f"main:{n}/file") for n in range(0, 25, 8)}
                assert contents == {str(head)}
                seen.add(head == number)
                done = head
    with start(tmp_path) as hub:
        hub.commit(repo, {"after": b"x"})
        assert hub.ask(f"/datasets/{repo}/resolve/main/after").data == b"x"
        assert not list((hub.folder / "tmp").iterdir())
    assert False in seen, "no kill came within a commit"


def test_ten_concurrent_publishers_lose_nothing(local_hub: RunningHub) -> None:
    repo = local_hub.create("many/d")

    def publish(who: int) -> list[str]:
        return [local_hub.commit(repo, {f"{who}/{n}.txt": f"{who} {n}".encode()}) for n in range(4)]

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        oids = [oid for made in pool.map(publish, range(10)) for oid in made]
    assert len(set(oids)) == 40
    assert git(local_hub, repo, "rev-list", "--count", "main").strip() == "41"
    assert len(git(local_hub, repo, "ls-tree", "-r", "--name-only", "main").split()) == 41
    assert not git(local_hub, repo, "fsck", "--strict")


def test_one_of_two_commits_with_the_same_parent_wins(local_hub: RunningHub) -> None:
    repo = local_hub.create("race/d")
    head = local_hub.commit(repo, {"a": b"0"})
    lines = [{"key": "header", "value": {"summary": "s", "parentCommit": head}},
             {"key": "file", "value": {"path": "a", "content": "new {}", "encoding": "utf-8"}}]  # fmt: skip

    def publish(who: int) -> int:
        lines_ = json.loads(json.dumps(lines).replace("{}", str(who)))
        data = "\n".join(map(json.dumps, lines_)).encode()
        return local_hub.ask(f"/api/datasets/{repo}/commit/main", "POST", data).status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(publish, range(8))) == [200] + [412] * 7


PUBLISH = """
    import pathlib, sys
    from huggingface_hub import HfApi, snapshot_download
    repo, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    HfApi().upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder)
    got = pathlib.Path(snapshot_download(repo, repo_type="dataset"))
    for path in folder.iterdir():
        assert (got / path.name).read_bytes() == path.read_bytes(), path
"""


@pytest.mark.parametrize("mode", [{}, {"HF_HUB_DISABLE_XET": "1"}], ids=["xet", "lfs"])
def test_clients_recover_from_faults(tmp_path: Path, mode: dict[str, str]) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for number in range(6):
        (files / f"{number}.bin").write_bytes(random.Random(number).randbytes(20_000))
    upload = r"/(xet/.*/(xorbs|shards)|.*info/lfs/objects/)"
    faults = [
        {"method": "PUT", "path": upload, "status": 500, "times": 1},
        {"method": "PUT", "path": upload, "drop": True, "times": 1},
        {"method": "POST", "path": "/xet/.*/(xorbs|shards)", "status": 503, "times": 1},
        {"method": "POST", "path": "/preupload/", "status": 429, "times": 1, "headers": {"Retry-After": "1"}},
        {"method": "GET", "path": "/resolve/.*bin", "drop": True, "times": 1},
        {"method": "HEAD", "path": "/resolve/.*bin", "wait": 0.5, "times": 1},
    ]
    with start(tmp_path, faulty=True) as hub:
        repo = hub.create("faults/d")
        hub.faults.write_text(json.dumps(faults))
        hub.python(PUBLISH, repo, str(files), **mode)
        left = {(f["method"], f["path"]) for f in json.loads(hub.faults.read_text()) if f["times"]}
        never = {("POST", "/xet/.*/(xorbs|shards)")} if mode else {("PUT", upload)}
        assert left == never
        assert not git(hub, repo, "fsck", "--strict")
