"""Text files that a recipe names: a device or a pipe, which has no end or waits for one, is refused at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from x_instruction import prompts
from x_instruction.engines.remote import endpoints
from x_instruction.errors import XInstructionError
from x_instruction.evaluation.judge import protocols
from x_instruction.refine import combined

READERS: dict[str, Callable[[Path], object]] = {
    "generate.prompt": lambda path: prompts.read_text(str(path)),
    "server.endpoints_file": endpoints.read,
    "refine.weights": combined.read,
    "--prompt of a judge": lambda path: protocols._own(str(path)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["device", "pipe"])
@pytest.mark.timeout(20)
def test_a_device_or_pipe_in_place_of_a_text_is_refused(tmp_path: Path, reader: str, kind: str) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "pipe"
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(XInstructionError, match="not a regular file"):
        READERS[reader](path)
