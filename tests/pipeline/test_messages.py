"""Messages of worker processes."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from x_instruction.pipeline.executors.processes import _receive


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\0\x64", b"\0\0\0\x64half a message"])
def test_a_worker_killed_while_it_sends_counts_as_dead(sent: bytes) -> None:
    ours, theirs = multiprocessing.Pipe()
    os.write(theirs.fileno(), sent)
    theirs.close()
    assert _receive(ours) == ("died",)
