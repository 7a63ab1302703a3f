"""Python processes that start quickly, forked from a process that has done the slow imports.

``run`` and ``start`` take a command of this interpreter, as ``subprocess.run`` and ``subprocess.Popen`` do. It becomes
a process with an environment, streams and a process group of its own. Packages of other projects are imported already;
those that read the environment at import only where it is that of the test session. This package is always imported
anew. Use ``subprocess`` where starting a process is what a test is about.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import hashlib
import importlib
import io
import json
import os
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import environment  # noqa: F401 - before the session's variables are taken down

# Of both, what is installed: the environment for vLLM has less.
PLAIN = (
    *("numpy", "pandas", "pyarrow.parquet", "pyarrow.dataset", "httpx2", "fsspec", "multiprocess", "dill", "xxhash"),
    *("click", "jinja2", "rich.progress", "rich.table", "yaml", "langcodes", "language_data.name_data", "zstandard"),
    *("torch", "torch._dynamo", "torch.distributed.tensor", "scipy.optimize", "sklearn.metrics", "safetensors.torch"),
)
HUGGING_FACE = (
    *("huggingface_hub.hf_api", "datasets", "transformers.trainer", "transformers.models.llama.modeling_llama"),
    *("accelerate", "peft", "sentence_transformers", "trl.trainer.sft_trainer"),
)
READ_BY_HUGGING_FACE = re.compile(r"HOME|(ACCELERATE|CUDA|DATASETS|HF|HUGGING|MKL|OMP|TRANSFORMERS|TRL|USE|XDG)_.*")
ADDRESS = "WARM_PROCESSES"


def _digest(env: Mapping[str, str]) -> str:
    read = sorted((name, value) for name, value in env.items() if READ_BY_HUGGING_FACE.fullmatch(name))
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()[:16]


SESSION = _digest(os.environ)


class Process:
    """A started process; has what ``subprocess.Popen`` has under the same names."""

    def __init__(self, args: Sequence[str], line: socket.socket, captured: list[Any]) -> None:
        self.args = list(args)
        self.returncode: int | None = None
        self._line = line
        self._captured = captured
        self.pid = self._number()

    def _number(self) -> int:
        data = self._line.recv(8)
        assert len(data) == 8, "the process that waits for it has died"
        return int.from_bytes(data, "big", signed=True)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(1e-6)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self.returncode = self._number()
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._line.close()
        return self.returncode

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        out, err = (_text(file) for file in self._captured)
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _text(file: Any) -> str:
    if file is None:
        return ""
    with file:
        file.seek(0)
        return str(file.read().decode("utf-8"))


def start(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    stdout: Any = None,
    stderr: Any = None,
    process_group: int | None = None,
) -> Process:
    """Start a command of this interpreter.

    Args:
        stdout: ``subprocess.PIPE`` to keep it for ``communicate``, ``subprocess.DEVNULL``, or a file.
        process_group: 0 for one of its own, as for ``subprocess.Popen``.
    """
    assert command[0] == sys.executable, command
    env = dict(os.environ if env is None else env)
    address = _server(env)
    captured = [tempfile.TemporaryFile() if given == subprocess.PIPE else None for given in (stdout, stderr)]  # noqa: SIM115
    asked = {
        "command": [str(part) for part in command[1:]],
        "env": env,
        "cwd": str(cwd or Path.cwd()),
        "group": os.getpgrp() if process_group is None else process_group,
    }
    with open(os.devnull, "wb") as nothing:
        streams = {None: None, subprocess.PIPE: None, subprocess.DEVNULL: nothing}
        given = [
            streams.get(stream, stream) if isinstance(stream, int | None) else stream for stream in (stdout, stderr)
        ]
        files = [kept or stream or own for kept, stream, own in zip(captured, given, (1, 2), strict=True)]
        fds = [file if isinstance(file, int) else file.fileno() for file in files]
        return Process(command, _ask(address, asked, fds), captured)


def run(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    capture_output: bool = False,
    stdout: Any = None,
    stderr: Any = None,
    timeout: float | None = None,
    check: bool = False,
    text: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a command of this interpreter until it ends."""
    if capture_output:
        stdout = stderr = subprocess.PIPE
    process = start(command, env, cwd, stdout, stderr)
    try:
        out, err = process.communicate(timeout)
    except BaseException:
        process.kill()
        raise
    done = subprocess.CompletedProcess(list(command), process.wait(), out, err)
    if check:
        done.check_returncode()
    return done


def trainings(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let trainings that this process launches start at once; ``tests/training`` launches them as a run does."""
    from x_instruction.training import launch

    replace(launch, "subprocess", types.SimpleNamespace(run=run))


def _server(env: dict[str, str]) -> str:
    """The address of the server whose imports suit an environment."""
    if ADDRESS not in os.environ:
        _launch()
    env[ADDRESS] = os.environ[ADDRESS]
    plain = Path(os.environ[ADDRESS])
    if _digest(env) != plain.name:
        return str(plain)
    address = plain.with_name("hugging-face")
    if not address.exists():
        with _ask(str(plain), {"serve": str(address), "env": env}, [1, 2]) as line:
            assert line.recv(8), "the server did not start"
    return str(address)


def _launch() -> None:
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    address = f"{folder.name}/{SESSION}"
    process = subprocess.Popen(
        [sys.executable, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    with stdout:
        assert stdout.readline() == "ready\n"
    os.environ[ADDRESS] = address
    owner = os.getpid()

    def stop() -> None:
        if os.getpid() == owner:
            stdin.close()
            process.wait()
            folder.cleanup()

    atexit.register(stop)


def _ask(address: str, asked: dict[str, Any], fds: list[int]) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.connect(address)
    data = json.dumps(asked).encode()
    socket.send_fds(line, [len(data).to_bytes(8, "big")], fds)
    line.sendall(data)
    return line


# Within the process that forks.


def serve(address: str, imports: Sequence[str], ready: Callable[[], object]) -> NoReturn:
    """Fork for every request to an address, until the standard input ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in imports:
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(name)
    # A collection would visit, and so copy, all that was imported.
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    door = socket.socket(socket.AF_UNIX)
    door.bind(f"{address}.new")
    door.listen(64)
    os.rename(f"{address}.new", address)
    ready()
    while select.select([door, 0], [], [])[0] == [door]:
        line, _ = door.accept()
        asked, fds = _asked(line)
        if asked and not os.fork():
            door.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _answer(line, asked, fds)
        for fd in (line.detach(), *fds):
            os.close(fd)
        _reap()
    time.sleep(0.2)
    _reap()
    os._exit(0)


def _asked(line: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What a client asks for and the streams that it gives; nothing of one that was killed while it asked."""
    fds: list[int] = []
    try:
        header, fds, *_ = socket.recv_fds(line, 8, 2)
        size = int.from_bytes(header, "big")
        data = line.recv(size, socket.MSG_WAITALL)
    except OSError:
        return {}, fds
    return (json.loads(data) if size and len(data) == size else {}), fds


def _reap() -> None:
    """Reap processes that have ended; their resource use counts as that of this process."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _answer(line: socket.socket, asked: dict[str, Any], fds: list[int]) -> NoReturn:
    """Start what is asked for, and tell its number and how it ended."""
    if "serve" in asked:
        os.environ.clear()
        os.environ.update(asked["env"])
        serve(asked["serve"], HUGGING_FACE, lambda: line.sendall(bytes(8)))
    child = os.fork()
    with contextlib.suppress(OSError):
        os.setpgid(child, asked["group"])
    if not child:
        line.close()
        _become(asked, fds)
    for fd in fds:
        os.close(fd)
    with contextlib.suppress(BrokenPipeError):
        line.sendall(_bytes(child))
    if hasattr(os, "pidfd_open") and line in select.select([line, os.pidfd_open(child)], [], [])[0]:
        # The client is gone, or no longer waits for it.
        os.kill(child, signal.SIGKILL)
    ended = _bytes(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    with contextlib.suppress(BrokenPipeError):
        line.sendall(ended)
    os._exit(0)


def _bytes(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


def _become(asked: dict[str, Any], fds: list[int]) -> NoReturn:
    """Run a command as a new interpreter would, and end."""
    for number, fd in enumerate((os.open(os.devnull, os.O_RDONLY), *fds)):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    at_once = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "wb", False), "utf-8", write_through=at_once)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "wb", False), "utf-8", "backslashreplace", write_through=True)
    sys.modules["numpy"].random.seed()
    code: object = 0
    try:
        _execute(asked["command"])
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    # As the interpreter ends, but for what it frees.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    os._exit((code or 0) & 0xFF)


def _execute(command: list[str]) -> None:
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    while command[0] == "-W":
        warnings.simplefilter(command[1])  # type: ignore[arg-type]
        command = command[2:]
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    if command[0] == "-m":
        sys.path[0], sys.argv = os.getcwd(), command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0] == "-c":
        sys.path[0], sys.argv = "", ["-c", *command[2:]]
        exec(compile(command[1], "<string>", "exec"), vars(main))
    else:
        sys.path[0], sys.argv = os.path.dirname(command[0]), command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1], PLAIN, lambda: print("ready", flush=True))
