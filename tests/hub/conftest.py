"""Built folders of any size without a run, and publishers in their own processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import warm
from built_set import built
from local_hub_fixture import RunningHub

PUBLISH = [sys.executable, "-m", "x_instruction", "hub", "push-dataset"]
# One process runs many commands: importing takes longer than publishing.
MANY = """
import json, sys
from click.testing import CliRunner
from x_instruction.cli import cli
from x_instruction.errors import XInstructionError
found = []
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(cli, ["hub", "push-dataset", *arguments])
    if result.exception and not isinstance(result.exception, XInstructionError | SystemExit):
        raise result.exception
    error = f"error: {result.exception}" if isinstance(result.exception, XInstructionError) else ""
    found.append([result.exit_code, result.stdout, result.stderr + error])
print(json.dumps(found))
"""

# Every config of some data sets, loaded and streamed.
LOAD = """
    import json, sys
    from datasets import get_dataset_config_names, load_dataset
    for repo, revision, expected in json.loads(sys.argv[1]):
        assert sorted(get_dataset_config_names(repo, revision=revision)) == sorted([*expected, "all"])
        for tag, rows in expected.items():
            loaded = load_dataset(repo, tag, revision=revision)
            streamed = load_dataset(repo, tag, revision=revision, streaming=True)
            assert sum(part.num_rows for part in loaded.values()) == rows, tag
            assert sum(1 for part in streamed.values() for row in part if row["language"] == tag) == rows, tag
        together = load_dataset(repo, "all", revision=revision)
        assert sum(part.num_rows for part in together.values()) == sum(expected.values())
"""


@dataclass
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    def ok(self) -> str:
        """Its output. It must have succeeded."""
        assert self.code == 0, self.err
        return self.out


class Publisher:
    """Runs ``x-instruction hub push-dataset`` as the account that may write."""

    def __init__(self, hub: RunningHub) -> None:
        self.hub = hub

    def __call__(self, folder: Path, repo: str, *options: str, token: str | None = "", **env: str) -> CommandResult:
        """Run one command in its own process, with variables of its environment by name."""
        command = [*PUBLISH, str(folder), repo, *options]
        done = warm.run(command, env=self.hub.env(token, **env), capture_output=True, timeout=300)
        return self._result(done.returncode, done.stdout, done.stderr)

    def start(self, folder: Path, repo: str, *options: str, **env: str) -> warm.Process:
        """Start one command with ``--yes`` in the background."""
        command = [*PUBLISH, str(folder), repo, "--yes", *options]
        pipe = subprocess.PIPE
        return warm.start(command, env=self.hub.env(**env), stdout=pipe, stderr=pipe)

    def many(
        self, *commands: tuple[str | Path, ...], token: str | None = "", before: str = "", **env: str
    ) -> list[CommandResult]:
        """Run several commands in one process. The code ``before`` runs first."""
        asked = json.dumps([[str(part) for part in command] for command in commands])
        command = [sys.executable, "-c", before + MANY, asked]
        done = warm.run(command, env=self.hub.env(token, **env), capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return [self._result(*one) for one in json.loads(done.stdout.splitlines()[-1])]

    def _result(self, code: int, out: str, err: str) -> CommandResult:
        for secret in (self.hub.token, self.hub.read_token):
            assert secret not in out + err
        return CommandResult(code, out, err)

    def head(self, repo: str, revision: str = "main") -> str:
        """The commit of a branch."""
        return str(self.hub.ask(f"/api/datasets/{repo}/revision/{revision.replace('/', '%2F')}").json["sha"])

    def git(self, repo: str, *arguments: str) -> str:
        """Output of git in the published repository."""
        command = ["git", "-C", str(self.hub.folder / "datasets" / f"{repo}.git"), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def files(self, repo: str, revision: str = "main") -> list[str]:
        """Paths that are published."""
        return self.git(repo, "ls-tree", "-r", "--name-only", revision).split()

    def loads(self, *expected: tuple[str, str | None, dict[str, int]], **env: str) -> None:
        """Load every config of data sets at revisions without a token, and compare rows per language."""
        # Streaming would import torch, which takes longer than all the rest.
        self.hub.python(LOAD, json.dumps(expected), token=None, USE_TORCH="0", **env)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Builds a folder: languages, and options of ``built``."""
    made = 0

    def build(*tags: str, **options: int) -> Path:
        nonlocal made
        made += 1
        return built(tmp_path / f"set-{made}", tags, **options)

    return build


@pytest.fixture
def publish(local_hub: RunningHub) -> Publisher:
    """Publishes to the hub that all tests share."""
    return Publisher(local_hub)


@pytest.fixture
def publisher() -> type[Publisher]:
    """The class, for a hub of the test's own: ``publisher(hub)``."""
    return Publisher
