"""Who may work in a run folder at the same time."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from x_instruction.errors import ShardError
from x_instruction.storage.lock import Busy, hold, run_lock


def test_ranks_of_one_split_work_side_by_side(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for rank in range(4):
            stack.enter_context(run_lock(tmp_path, rank, 4))
        with pytest.raises(ShardError, match=r"another run is at work in .* as rank 2 of 4: wait until it ends"):
            stack.enter_context(run_lock(tmp_path, 2, 4))
        with pytest.raises(ShardError, match=r"ranks of 4 are at work in .*, and this one is of 3: start all with"):
            stack.enter_context(run_lock(tmp_path, 1, 3))
        with pytest.raises(ShardError, match=f"another run is at work in {tmp_path}: wait until it ends"):
            stack.enter_context(run_lock(tmp_path))
    with run_lock(tmp_path, 1, 3):
        pass


@pytest.mark.parametrize(("rank", "of"), [(0, 1), (0, 2), (1, 2)])
def test_a_whole_run_is_alone(tmp_path: Path, rank: int, of: int) -> None:
    with (
        run_lock(tmp_path),
        pytest.raises(ShardError, match=f"another run is at work in {tmp_path}: wait"),
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


def test_shared_and_exclusive_holders(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    with hold(path, shared=True), hold(path, shared=True), pytest.raises(Busy), hold(path):
        pass
    with hold(path), pytest.raises(Busy), hold(path, shared=True):
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ShardError, match="cannot write into"), run_lock(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ShardError, match=r"cannot write into .*file/run"), run_lock(tmp_path / "file" / "run"):
        pass
