"""Which environment variables a recipe may send to a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Say

from x_instruction.config.model import Model, Server
from x_instruction.engines import keys
from x_instruction.errors import EngineError

URL = "http://localhost:1/v1"


@pytest.fixture(autouse=True)
def _none_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set first, so that changes of a test are undone after it.
    monkeypatch.setenv(keys.ALLOWED, "")


@pytest.mark.parametrize("name", ["X_INSTRUCTION_API_KEY", "X_INSTRUCTION_WRITER_KEY", "X_INSTRUCTION_KEY"])
def test_variables_of_the_package_are_allowed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "sesame")
    assert keys.read(name, URL) == "sesame"


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "x_instruction_key", "X_INSTRUCTION_KEY ", "MY,KEY"]
)
def test_other_variables_are_refused_and_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "sesame")
    with pytest.raises(EngineError, match=r"would be sent to http://localhost:1/v1.*--allow-key") as caught:
        keys.read(name, URL)
    assert "sesame" not in str(caught.value)


def test_an_allowed_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame")
    keys.allow(["MY_KEY"])
    keys.allow(["OTHER_KEY"])
    assert keys.read("MY_KEY", URL) == "sesame"
    assert keys.read("", URL) == keys.read("OTHER_KEY", URL) == ""


def test_the_list_may_contain_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.ALLOWED, "MY_KEY, OTHER_KEY,")
    keys.check("OTHER_KEY", URL)
    with pytest.raises(EngineError):
        keys.check("THIRD_KEY", URL)


def test_remote_workers_get_the_allowed_variables() -> None:
    models = (Model(name="m", engine="openai", server=Server(key_variable="MY_KEY")), Model(name="embedded"))
    assert keys.needed(models) == {"MY_KEY"}
    keys.allow(["MY_KEY"])
    assert keys.needed(models) == {"MY_KEY", keys.ALLOWED}


def test_a_recipe_with_another_variable_is_refused_before_any_work(
    say: Say, recipe_file: Callable[..., Path], tmp_path: Path
) -> None:
    server = {"name": "m", "engine": "openai", "server.url": URL, "server.key_variable": "HF_TOKEN"}
    recipe = recipe_file(**{"generate.model": server})
    code, _, errors = say("run", recipe, "--out", tmp_path / "run")
    assert code == 1
    assert "HF_TOKEN" in errors
    assert "--allow-key" in errors
    assert not (tmp_path / "run").exists()
    # Allowed, it fails only because nothing answers there.
    code, _, errors = say("run", recipe, "--out", tmp_path / "run", "--allow-key", "HF_TOKEN")
    assert code == 1
    assert "cannot connect" in errors


def test_a_variable_from_the_command_line_is_allowed(
    say: Say, recipe_file: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = recipe_file(**{"generate.model": {"name": "m", "engine": "openai", "server.url": URL}})
    typed = ("--set", "generate.model.server.key_variable=MY_KEY")
    code, _, errors = say("run", recipe, "--out", tmp_path / "run", *typed)
    assert code == 1
    assert "cannot connect" in errors
