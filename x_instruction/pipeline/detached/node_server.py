"""A model server that an element starts on its node, and ends with its work."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

from x_instruction.config.recipe import Recipe
from x_instruction.errors import EngineError
from x_instruction.storage.shard_key import StageKey

PORT = "{port}"
# Loading a large model from a shared folder takes this many seconds at most.
_LOADING = 3600.0
_ENDING = 30.0


@contextlib.contextmanager
def node_server(command: Sequence[str]) -> Iterator[str]:
    """Start a server that speaks the API of OpenAI, wait until it answers, and end it after the block.

    Args:
        command: program and arguments, in which ``{port}`` is replaced by a free port.

    Yields:
        The address of its API.

    Raises:
        EngineError: it ended before it answered, or did not answer in an hour.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [word.replace(PORT, str(port)) for word in command]
    address = f"http://127.0.0.1:{port}"
    try:
        # A group of its own: servers start processes for their GPUs, and all of them end with it.
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), start_new_session=True)
    except OSError as error:
        raise EngineError(f"cannot start the server {words[0]}: {error.strerror or error}") from None
    try:
        _wait(process, words, f"{address}/v1/models")
        yield f"{address}/v1"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def asking(settings: Recipe, stage: StageKey, url: str) -> Recipe:
    """The recipe with another address of the server that a stage asks."""
    name = "generate" if stage.stage == "candidate" else "refine"
    section = settings.generate if stage.stage == "candidate" else settings.refine
    if section.model is None:
        return settings
    model = section.model.replace(server=section.model.server.replace(url=url))
    return settings.replace(**{name: section.replace(model=model)})


def _wait(process: subprocess.Popen[bytes], words: Sequence[str], url: str) -> None:
    end = time.monotonic() + _LOADING
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except urllib.error.HTTPError as error:
            # It answers, and wants a key: the engine has one.
            if error.code in (401, 403):
                return
        except OSError:
            pass
        time.sleep(0.5)
    how = "did not answer in an hour" if process.poll() is None else f"ended with exit code {process.returncode}"
    raise EngineError(f"the server {' '.join(words)} {how}: its output is in the log of the element")
