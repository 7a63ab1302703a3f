"""A running local hub for tests, and clients of it in processes of their own.

``local_hub`` is shared by the whole session: use repository names of your own. ``jobs_hub`` is another one, that runs
jobs: use namespaces of your own. ``start`` runs one more.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
import warm

# Makes a client: of the account that writes, of another token, anonymous with False; of another hub.
Api = Callable[..., Any]
SERVER = Path(__file__).parent / "local_hub" / "faulty_server.py"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def text(self) -> str:
        return self.data.decode()


@dataclass
class RunningHub:
    """A server in a process of its own.

    Args:
        endpoint: what HF_ENDPOINT is set to.
        token: of the account ``ci``, which may write.
        read_token: of the account ``reader``, which may read.
        folder: what is served.
        homes: folder in which clients get their HF_HOME.
        log: what the server wrote.
        faults: file that tells a faulty server what to do wrong; see ``faulty_server.py``.
    """

    endpoint: str
    token: str
    read_token: str
    folder: Path
    homes: Path
    log: Path
    process: warm.Process
    faults: Path
    _count: int = field(default=0)

    def env(self, token: str | None = "", home: str = "", **more: str) -> dict[str, str]:
        """The environment of a client: a fresh HF_HOME unless one is named; ``token=None`` is anonymous."""
        self._count += 1
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "GIT_"))}
        kept |= {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.homes / (home or f"home-{self._count}")),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "NO_PROXY": "127.0.0.1",
        }
        if token is not None:
            kept["HF_TOKEN"] = token or self.token
        return kept | more

    def python(self, code: str, *arguments: str, token: str | None = "", home: str = "", **more: str) -> str:
        """Run a script as a client; what it prints."""
        command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
        return self.run(command, self.env(token, home, **more))

    def run(self, command: list[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
        """Run a command as a client; what it prints. It must succeed."""
        run = warm.run if command[0] == sys.executable else subprocess.run
        done = run(command, env=env or self.env(), cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{command[:4]}\n{done.stdout}\n{done.stderr[-4000:]}"
        return done.stdout

    def ask(
        self,
        path: str,
        method: str = "GET",
        data: bytes | dict[str, Any] | None = None,
        token: str | None = "",
        **headers: str,
    ) -> Answer:
        """A plain request, as no client would make it."""
        body = json.dumps(data).encode() if isinstance(data, dict) else data
        address = path if path.startswith("http") else self.endpoint + path
        request = urllib.request.Request(address, body, method=method)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token or self.token}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def commit(self, repo: str, files: dict[str, bytes], token: str = "", kind: str = "datasets", **header: str) -> str:
        """Commit small files by a plain request; the commit's id."""
        lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": "test", "description": "", **header}}]
        lines += [
            {"key": "file", "value": {"path": p, "content": base64.b64encode(d).decode(), "encoding": "base64"}}
            for p, d in files.items()
        ]
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        answer = self.ask(f"/api/{kind}/{repo}/commit/main", "POST", data, token)
        assert answer.status == 200, answer.text
        return str(answer.json["commitOid"])

    def create(self, repo: str, kind: str = "dataset", **more: Any) -> str:
        """Make a repository."""
        organization, name = repo.split("/")
        data = {"name": name, "organization": organization, "type": kind, **more}
        answer = self.ask("/api/repos/create", "POST", data)
        assert answer.status == 200, answer.text
        return repo

    def requests(self) -> list[str]:
        """Every request so far, as ``METHOD path status``."""
        return re.findall(r"^([A-Z]+ /\S* \d+) \d+ ms$", self.log.read_text("utf-8"), re.MULTILINE)


@contextlib.contextmanager
def start(folder: Path, *options: str, faulty: bool = False) -> Iterator[RunningHub]:
    """Run a server over ``folder / "served"`` until the block ends.

    Args:
        folder: for what is served, clients' homes and the log.
        options: of ``x-instruction hub serve``.
        faulty: whether faults can be asked for with ``faults``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log, faults = folder / "server.log", folder / "faults.json"
    program = [str(SERVER), str(faults)] if faulty else ["-m", "x_instruction", "hub", "serve"]
    accounts = ["--token", "ci=write", "--token", "reader=read"]
    command = [sys.executable, *program, str(folder / "served"), "--port", "0", *accounts, *options]
    read, write = os.pipe()
    with open(log, "a") as stream, open(write) as says:
        process = warm.start(command, stdout=says, stderr=stream)
    with open(read) as output:
        try:
            yield _ready(process, output, folder, log, faults)
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()


def _ready(process: warm.Process, output: IO[str], folder: Path, log: Path, faults: Path) -> RunningHub:
    tokens = folder / "tokens.json"
    known: dict[str, str] = json.loads(tokens.read_text()) if tokens.exists() else {}
    for line in output:
        if match := re.match(r"token of (\w+) \(\w+\), shown once: (\S+)", line):
            known[match[1]] = match[2]
        if match := re.match(r"export HF_ENDPOINT=(\S+)", line):
            tokens.write_text(json.dumps(known))
            served = folder / "served"
            return RunningHub(match[1], known["ci"], known["reader"], served, folder, log, process, faults)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def jobs_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A running local hub that runs jobs, with this interpreter in place of uv: nothing is installed."""
    with start_with_jobs(tmp_path_factory.mktemp("jobs-hub")) as hub:
        yield hub


@contextlib.contextmanager
def start_with_jobs(folder: Path) -> Iterator[RunningHub]:
    """Run a server that runs jobs."""
    paths = os.environ["PATH"].split(os.pathsep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join(path for path in paths if not (Path(path) / "uv").exists()))
        with start(folder, "--jobs") as hub:
            yield hub


@pytest.fixture(scope="session")
def local_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A running local hub, shared by the session."""
    with start(tmp_path_factory.mktemp("local-hub")) as hub:
        yield hub
