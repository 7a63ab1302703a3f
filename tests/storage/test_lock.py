"""Processes that may work in a run folder at the same time."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from x_instruction.errors import ShardError
from x_instruction.processes import ProcessId, this_process
from x_instruction.storage import lock
from x_instruction.storage.lock import STALE, Busy, FolderLocks, Holder, hold, run_lock

ELSEWHERE = ProcessId("node7", "01234567", 42, "1")


def test_ranks_of_one_split_can_work_concurrently(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for rank in range(4):
            stack.enter_context(run_lock(tmp_path, rank, 4))
        with pytest.raises(ShardError, match=r"another run is at work in .* as rank 2 of 4 \(process \d+ on .*\)"):
            stack.enter_context(run_lock(tmp_path, 2, 4))
        with pytest.raises(ShardError, match=r"ranks of 4 are at work in .*, and this one is of 3: start all with"):
            stack.enter_context(run_lock(tmp_path, 1, 3))
        with pytest.raises(ShardError, match=f"another run is at work in {tmp_path} .process {os.getpid()} on"):
            stack.enter_context(run_lock(tmp_path))
    with run_lock(tmp_path, 1, 3):
        pass


@pytest.mark.parametrize(("rank", "of"), [(0, 1), (0, 2), (1, 2)])
def test_a_whole_run_excludes_other_processes(tmp_path: Path, rank: int, of: int) -> None:
    with (
        run_lock(tmp_path),
        pytest.raises(ShardError, match=f"another run is at work in {tmp_path} .process {os.getpid()} on"),
        run_lock(tmp_path, rank, of),
    ):
        pass
    with run_lock(tmp_path, rank, of):
        pass


def test_a_refused_lock_releases_what_it_held(tmp_path: Path) -> None:
    with run_lock(tmp_path, 0, 2), contextlib.suppress(ShardError), run_lock(tmp_path, 0, 3):
        pass
    with run_lock(tmp_path):
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ShardError, match="cannot write into"), run_lock(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_an_uncreatable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ShardError, match=r"cannot write into .*file/run"), run_lock(tmp_path / "file" / "run"):
        pass


def leave(folder: Path, process: ProcessId, seconds: float = 0.0, name: str = ".lock") -> Path:
    """The lock of a process that was renewed some seconds ago."""
    path = folder / name
    path.write_bytes(replace(Holder(), process=process).as_json())
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def taken(folder: Path) -> bool:
    """Whether the lock of a whole run can be taken."""
    try:
        with hold(FolderLocks(folder), ".lock"):
            return True
    except Busy:
        return False


def test_the_lock_of_another_machine_is_taken_over_if_it_is_not_renewed(tmp_path: Path) -> None:
    leave(tmp_path, ELSEWHERE, STALE - 5)
    with (
        pytest.raises(ShardError, match=r"\(process 42 on node7\): .* was stopped, wait 120 seconds"),
        run_lock(tmp_path),
    ):
        pass
    leave(tmp_path, ELSEWHERE, STALE + 5)
    with run_lock(tmp_path):
        assert not taken(tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is left"


def test_a_full_disk_leaves_no_lock(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(ShardError, match="cannot write into"), run_lock(tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with run_lock(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from x_instruction.storage.lock import run_lock\n"
        "with run_lock(Path(sys.argv[1])): print(1, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    assert not taken(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with run_lock(tmp_path):
        pass


def test_a_reused_process_id_does_not_hold_the_lock(tmp_path: Path) -> None:
    leave(tmp_path, replace(this_process(), started="1"))
    assert taken(tmp_path)


@pytest.mark.parametrize(("rank", "of"), [(0, 1), (0, 3)])
def test_finished_ranks_do_not_block_others(tmp_path: Path, rank: int, of: int) -> None:
    leave(tmp_path, ELSEWHERE, STALE + 5, ".lock-1-of-2")
    with run_lock(tmp_path, rank, of):
        assert not (tmp_path / ".lock-1-of-2").exists()


def test_only_one_process_takes_over_a_lock(tmp_path: Path) -> None:
    """Each thread adds to a number that the lock protects: without it, additions would be lost."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    leave(tmp_path, ELSEWHERE, STALE + 5)
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        for _ in range(10):
            while True:
                try:
                    with hold(FolderLocks(tmp_path), ".lock"):
                        counter.write_text(str(int(counter.read_text()) + 1))
                    break
                except Busy:
                    continue
            if counter.read_text().endswith("7"):
                # A holder that is killed.
                with contextlib.suppress(Busy), hold(FolderLocks(tmp_path), ".lock"):
                    leave(tmp_path, ELSEWHERE, STALE + 5)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read_text() == "60"


def test_a_killed_takeover_can_be_taken_over(tmp_path: Path) -> None:
    leave(tmp_path, ELSEWHERE, STALE + 5)
    leave(tmp_path, ELSEWHERE, 5, ".lock.takeover")
    assert not taken(tmp_path)
    leave(tmp_path, ELSEWHERE, STALE + 5, ".lock.takeover")
    assert not taken(tmp_path), "this attempt removes the claim"
    assert taken(tmp_path)


def test_a_lock_is_renewed_until_it_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.01)
    path = tmp_path / ".lock"
    with hold(FolderLocks(tmp_path), ".lock"):
        os.utime(path, (0, 0))
        end = time.monotonic() + 60
        while path.stat().st_mtime < 1 and time.monotonic() < end:
            pass
        assert path.stat().st_mtime > 1
        leave(tmp_path, ELSEWHERE)
    assert path.exists(), "the lock of its new holder stays"


def test_an_empty_lock_file_counts_as_held(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"")
    assert not taken(tmp_path)
    os.utime(tmp_path / ".lock", (0, 0))
    assert taken(tmp_path)
