"""The process that starts others survives clients that are killed while they ask, and ends what they started."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

import pytest
import warm

from x_instruction.processes import alive

SLEEP = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"


def address() -> str:
    """Of the process, which is started if it does not run yet."""
    warm.run([sys.executable, "-c", ""], check=True)
    return os.environ[warm.ADDRESS]


def request(*command: str) -> bytes:
    return json.dumps({"command": command, "env": dict(os.environ), "cwd": os.getcwd(), "group": 0}).encode()


@pytest.mark.parametrize("sent", [0, 4, 8, 9, 40], ids=["nothing", "half a header", "header", "a byte", "a part"])
def test_a_client_that_ends_while_it_asks_harms_no_other(sent: int) -> None:
    asked = request("-c", "")
    data = (len(asked).to_bytes(8, "big") + asked)[:sent]
    with socket.socket(socket.AF_UNIX) as line, open(os.devnull, "wb") as nothing:
        line.connect(address())
        if data:
            socket.send_fds(line, [data], [nothing.fileno()] * 2)
    assert warm.run([sys.executable, "-c", "print(2)"], capture_output=True).stdout == "2\n"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="elsewhere clients are not watched")
def test_what_a_client_started_ends_with_it(tmp_path: Path) -> None:
    file = tmp_path / "process"
    with open(os.devnull, "wb") as nothing, socket.socket(socket.AF_UNIX) as line:
        line.connect(address())
        asked = request("-c", SLEEP, str(file))
        socket.send_fds(line, [len(asked).to_bytes(8, "big") + asked], [nothing.fileno()] * 2)
        process = int.from_bytes(line.recv(8), "big", signed=True)
        while not file.exists():
            assert alive(process)
            time.sleep(0.01)
    end = time.monotonic() + 60
    while alive(process):
        assert time.monotonic() < end
        time.sleep(0.01)
