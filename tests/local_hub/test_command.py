"""``x-instruction hub serve``: accounts, addresses and errors."""

from __future__ import annotations

import builtins
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from command_line import child
from local_hub_fixture import start

from x_instruction.cli import cli
from x_instruction.errors import MissingExtra, RecipeError
from x_instruction.local_hub import server


def fails(*options: str) -> Exception:
    error = CliRunner().invoke(cli, ["hub", "serve", *options]).exception
    assert isinstance(error, Exception)
    return error


def test_the_first_start_creates_an_account(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "x_instruction", "hub", "serve", str(tmp_path), "--port", "0"]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert process.stdout.readline().startswith("export HF_ENDPOINT=http://127.0.0.1:")
        assert process.stdout.readline() == f"export HF_TOKEN={first.split()[-1]}\n"
        # Not SIGINT, which what runs in the background of a shell may ignore.
        process.terminate()
        process.wait(60)
    assert first.startswith("token of local (write), shown once: hf_")
    [account] = json.loads((tmp_path / "local-hub.json").read_text())["tokens"]
    assert (account["name"], account["role"], set(account)) == ("local", "write", {"name", "role", "sha256"})


def test_a_second_start_keeps_tokens(tmp_path: Path) -> None:
    with start(tmp_path) as hub:
        token = hub.token
    with start(tmp_path) as hub:
        assert hub.ask("/api/whoami-v2", token=token).json["name"] == "ci"
        error = fails(str(hub.folder), "--port", "0")
        assert "served already" in str(error)
    error = fails(str(tmp_path / "served"), "--port", "0", "--token", "ci=read")
    assert "has the role write, not read" in str(error)


@pytest.mark.parametrize(
    ("token", "says"),
    [("ci", "is not NAME=ROLE"), ("ci=admin", "NAME=read|write"), ("=read", "NAME=read|write"), ("a b=read", "NAME=")],
)
def test_invalid_accounts_are_refused(tmp_path: Path, token: str, says: str) -> None:
    error = fails(str(tmp_path), "--port", "0", "--token", token)
    assert isinstance(error, RecipeError)
    assert says in str(error)


def test_an_address_in_use_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = fails(str(tmp_path), "--port", str(taken.getsockname()[1]))
    assert isinstance(error, RecipeError)
    assert "cannot listen on 127.0.0.1" in str(error)
    assert "cannot listen on not.an.address.invalid" in str(
        fails(str(tmp_path), "--port", "0", "--host", "not.an.address.invalid")
    )


def test_a_public_address_gives_a_warning(tmp_path: Path) -> None:
    with start(tmp_path / "own") as hub:
        assert "plain HTTP" not in hub.log.read_text()
    with start(tmp_path / "others", "--host", "0.0.0.0") as hub:
        assert hub.ask(hub.endpoint.replace("0.0.0.0", "127.0.0.1") + "/api/whoami-v2").status == 200
        assert "this is plain HTTP" in hub.log.read_text()


@pytest.mark.parametrize(("host", "own"), [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True),
                                           ("0.0.0.0", False), ("::", False), ("example.org", False)])  # fmt: skip
def test_loopback_addresses_are_recognised(host: str, own: bool) -> None:
    assert server.is_loopback(host) is own


@pytest.mark.parametrize("missing", ["uvicorn", "starlette", "lz4"])
def test_a_missing_extra_is_named(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("x_instruction.local_hub")]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    error = fails(str(tmp_path))
    assert isinstance(error, MissingExtra)
    assert f"'{missing}'" in str(error)
    assert "x_instruction[local-hub]" in str(error)
