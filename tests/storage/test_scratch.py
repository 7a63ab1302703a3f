"""Temporary files: request caches on local scratch with copies back, and what stages keep on disk."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engines import openai_server

from x_instruction.config.recipe import load
from x_instruction.engines.request_cache import tokens_used
from x_instruction.errors import ShardError
from x_instruction.pipeline.worker import ShardTask, Worker
from x_instruction.storage import scratch
from x_instruction.storage.file_system import is_network
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.scratch import VARIABLE, local_cache
from x_instruction.storage.shard_key import PASSAGE, StageKey

KEY = StageKey("candidate").shard("fi")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run whose request caches are used on scratch."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "scratch"))
    return RunFolder(tmp_path / "run")


@contextlib.contextmanager
def opened(path: Path) -> contextlib.AbstractContextManager[sqlite3.Connection]:  # type: ignore[misc]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("CREATE TABLE IF NOT EXISTS work (prompt_tokens INTEGER, output_tokens INTEGER)")
        yield file


def add(file: sqlite3.Connection, tokens: int) -> None:
    file.execute("INSERT INTO work VALUES (?, 0)", (tokens,))


def copied(run: RunFolder) -> int:
    """The tokens in the copy, which may not have a table yet."""
    with contextlib.suppress(ShardError):
        return tokens_used(run.cache(KEY))[0]
    return 0


def test_a_cache_on_a_local_disk_is_used_in_place(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with local_cache(run, KEY) as path:
        assert path == run.cache(KEY)


def test_a_cache_is_copied_back_and_fetched_again(run: RunFolder, tmp_path: Path) -> None:
    for tokens in (1, 2):
        with local_cache(run, KEY) as path:
            assert path.is_relative_to(tmp_path / "scratch")
            with opened(path) as file:
                add(file, tokens)
    assert tokens_used(run.cache(KEY)) == (3, 0)
    # One file without a journal, so a network file system has nothing to share.
    assert [path.name for path in run.cache(KEY).parent.iterdir()] == ["00000.sqlite"]
    assert run.cache(KEY).read_bytes()[18:20] == b"\x01\x01"
    assert not list((tmp_path / "scratch").iterdir())


def test_a_copy_is_made_while_the_cache_is_open(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "INTERVAL", 0.01)
    with local_cache(run, KEY) as path, opened(path) as file:
        for tokens in range(3):
            add(file, 10)
            end = time.monotonic() + 60
            while copied(run) <= 10 * tokens and time.monotonic() < end:
                time.sleep(0.01)
            assert tokens_used(run.cache(KEY)) == (10 * tokens + 10, 0)


def test_a_cache_without_changes_is_not_copied(run: RunFolder) -> None:
    with local_cache(run, KEY) as path, opened(path) as file:
        add(file, 1)
    before = run.cache(KEY).stat().st_mtime_ns
    with local_cache(run, KEY) as path:
        assert tokens_used(path) == (1, 0)
    assert run.cache(KEY).stat().st_mtime_ns == before
    with local_cache(run, KEY.at(StageKey("rated"))):
        pass
    assert not run.cache(KEY.at(StageKey("rated"))).exists()


def test_answers_in_the_log_of_a_killed_process_are_recovered(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.cache(KEY).parent.mkdir(parents=True)
    code = (
        "import os, sqlite3, sys; file = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "file.execute('PRAGMA journal_mode=WAL'); file.execute('CREATE TABLE work (prompt_tokens, output_tokens)')\n"
        "file.execute('INSERT INTO work VALUES (5, 0)'); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(run.cache(KEY))], check=False)
    assert Path(f"{run.cache(KEY)}-wal").stat().st_size > 0
    with local_cache(run, KEY) as path, opened(path) as file:
        add(file, 1)
    assert tokens_used(run.cache(KEY)) == (6, 0)
    assert not Path(f"{run.cache(KEY)}-wal").exists()


def test_an_error_in_the_block_is_raised_and_answers_are_kept(run: RunFolder) -> None:
    def work() -> None:
        with local_cache(run, KEY) as path, opened(path) as file:
            add(file, 4)
            raise OSError("of the work")

    with pytest.raises(OSError, match=r"^of the work$"):
        work()
    assert tokens_used(run.cache(KEY)) == (4, 0)


def test_an_unusable_scratch_folder_is_reported(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "cannot use /nowhere for request caches: No such file or directory; name a folder on a local disk in X_"
    with pytest.raises(ShardError, match=message), local_cache(run, KEY, "/nowhere"):
        pass


@pytest.mark.parametrize(
    ("folder", "network"),
    [
        ("/home/me/run", True),
        ("/home/local/run", False),
        ("/homes/run", False),
        ("/data/my run/x", True),
        ("/mnt/bucket", True),
        ("/mnt/usb/run", False),
        ("/scratch/run", True),
    ],
)
def test_network_file_systems_are_recognised(tmp_path: Path, folder: str, network: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n/dev/sdb /home/local xfs rw 0 0\n"
        "server:/data /data/my\\040run cifs rw 0 0\nbucket /mnt/bucket fuse.s3fs rw 0 0\n"
        "/dev/sdc /mnt/usb fuseblk rw 0 0\n/dev/sdd /scratch ext4 rw 0 0\nfs /scratch lustre rw 0 0\n"
    )
    assert is_network(Path(folder), mounts) is network
    assert not is_network(Path(folder), tmp_path / "none")


def test_the_disk_of_this_test_is_local(tmp_path: Path) -> None:
    assert not is_network(Path(os.fspath(tmp_path)))


@pytest.mark.parametrize("bytes_left", [0, 8_000], ids=["full", "nearly full"])
def test_a_full_disk_during_a_stage_is_reported_in_one_line(bytes_left: int, tmp_path: Path) -> None:
    """The digests of texts are in a database, which reports it in its own way."""
    settings = load(openai_server.write_recipe(tmp_path / "recipe.toml", "http://127.0.0.1:9"))
    worker, key = Worker(RunFolder(tmp_path / "run"), settings), PASSAGE.shard("fi", 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
    try:
        with pytest.raises(ShardError, match=r"passage/fi.*(disk|too large).*run the same command again"):
            worker.make(ShardTask(key, {}), lambda activity: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(worker.make(ShardTask(key, {}), lambda activity: None)) > 1
