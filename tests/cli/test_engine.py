"""Looking at engines and servers: what a person sees, and the exit code that a script sees."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Say
from engines.openai_server import MODEL, OpenAIServer, reply, write_recipe

from x_instruction.cli.engine import SERVED, installed
from x_instruction.config.recipe import load
from x_instruction.engines import ENGINES, EngineSpec

PAGE = "<!DOCTYPE html><html><body>Welcome to nginx!</body></html>"


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def refused(found: tuple[int, str, str]) -> str:
    code, _, errors = found
    assert code == 1
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1
    return errors


def test_the_list_of_engines_fits_80_columns(say: Say) -> None:
    code, shown, _ = say("engine", "list")
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 80
    starts = [line.split()[0] for line in shown.splitlines() if not line.startswith(" ")]
    assert starts == list(ENGINES)
    assert "aiohttp 3" in shown


def test_listing_imports_no_engine() -> None:
    import subprocess

    code = (
        "import sys; from click.testing import CliRunner; from x_instruction.cli import cli;"
        "assert CliRunner().invoke(cli, ['engine', 'list']).exit_code == 0;"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch','transformers','vllm','aiohttp','numpy'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_missing_package_names_its_extra() -> None:
    kind = EngineSpec("m", "C", "moon", ("no_such_package",), ("complete",), True, "")
    assert installed(kind) == "not installed: pip install 'x_instruction[moon]'"


def test_check_describes_a_server_and_prints_recipe_keys(say: Say, server: OpenAIServer, tmp_path: Path) -> None:
    code, shown, _ = say("engine", "check", server.url)
    assert code == 0
    for expected in (f"{server.url} answers", MODEL, "4,096 tokens", "plain, chat", "seconds"):
        assert expected in shown
    assert "no: it does not echo a prompt's log-probabilities" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    lines = "\n".join(shown.split("in a recipe")[1].splitlines()[1:])
    text = write_recipe(tmp_path / "recipe.toml").read_text("utf-8")
    model = 'model = { name = "test/model", engine = "batch" }\n'
    assert model in text
    parts = text.split(model)
    (tmp_path / "mine.toml").write_text(f"{parts[0]}[generate.model]\n{lines}\n{parts[1]}{model}", "utf-8")
    assert load(tmp_path / "mine.toml").generate.model.server.url == server.url


def test_the_v1_suffix_of_the_address_is_optional(say: Say, server: OpenAIServer) -> None:
    code, shown, _ = say("engine", "check", server.url.removesuffix("/v1"))
    assert code == 0
    assert f'server.url = "{server.url}"' in shown


def test_check_requests_one_instruction_and_shows_how_it_is_read(say: Say) -> None:
    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        if not path.endswith("/chat/completions"):
            return None
        if body["messages"][0]["role"] == "system":
            return 400, {"error": {"message": "System role not supported"}}
        made = reply(path, body)
        made["choices"][0]["message"]["content"] = text
        return 200, made

    with OpenAIServer(fault=answer) as server:
        text = "<think>\nhm\n</think>\n\nRequest: How do tides work?"
        code, shown, _ = say("engine", "check", server.url)
        assert code == 0
        assert "asked for with prompt chat, for a passage in Swahili" in " ".join(shown.split())
        assert "</think>" in shown
        assert "read as        How do tides work?" in shown
        assert "a system message is refused: its text goes into the first user message" in " ".join(shown.split())
        text = "I'm sorry, but I can't help with that."
        code, shown, _ = say("engine", "check", server.url, "--recipe", "x-instruction")
        assert code == 0
        assert "for a passage in Finnish" in " ".join(shown.split())
        assert "read as        no instruction: refusal" in shown
        assert "cannot read recipe" in refused(say("engine", "check", server.url, "--recipe", "nowhere.toml"))


def test_a_server_with_several_models_lists_them(say: Say) -> None:
    with OpenAIServer(models=("a/one", "b/two")) as server:
        code, shown, _ = say("engine", "check", server.url)
        assert code == 0
        assert "a/one" in shown
        assert "--model" in shown
        code, shown, _ = say("engine", "check", server.url, "--model", "b/two")
        assert code == 0
        assert "b/two (and 1 more)" in shown
        assert "did you mean 'b/two'" in refused(say("engine", "check", server.url, "--model", "b/twoo"))


def test_a_server_without_models_or_chat_is_described(say: Say) -> None:
    with OpenAIServer(models=()) as server:
        assert "name one with --model" in refused(say("engine", "check", server.url))
    no_chat = (400, {"error": {"message": "no chat template"}})
    with OpenAIServer(fault=lambda path, body: no_chat if "chat" in path else None) as server:
        code, shown, _ = say("engine", "check", server.url)
        assert code == 0
        assert "prompts        plain\n" in shown


def test_an_unreachable_server_is_reported(say: Say) -> None:
    line = refused(say("engine", "check", "http://127.0.0.1:9/v1"))
    assert "cannot connect" in line
    assert "check that the server is running" in line


def test_a_web_page_in_place_of_the_api_is_reported(say: Say) -> None:
    with OpenAIServer(fault=lambda path, body: (200, PAGE)) as server:
        assert "a web page (HTML)" in refused(say("engine", "check", server.url))


@pytest.mark.parametrize("engine", ["openai", "tgi"])
def test_a_wrong_path_is_reported(say: Say, server: OpenAIServer, engine: str) -> None:
    line = refused(say("engine", "check", f"{server.url}/models/x", "--engine", engine))
    assert "404" in line
    assert "check the address" in line


def test_a_missing_or_wrong_key_is_reported_and_never_shown(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer(key="sesame") as server:
        monkeypatch.delenv("X_INSTRUCTION_API_KEY", raising=False)
        assert "set X_INSTRUCTION_API_KEY" in refused(say("engine", "check", server.url))
        monkeypatch.setenv("MY_KEY", "wrong")
        line = refused(say("engine", "check", server.url, "--key-variable", "MY_KEY"))
        assert "check the key in MY_KEY" in line
        monkeypatch.setenv("MY_KEY", "sesame")
        code, shown, errors = say("engine", "check", server.url, "--key-variable", "MY_KEY")
        assert code == 0
        assert 'server.key_variable = "MY_KEY"' in shown
        assert "sesame" not in shown + errors + line


@pytest.mark.parametrize(
    ("url", "message"),
    [("localhost:8000", "expected an address"), ("http://u:p@host/v1", "user or password")],
)
def test_invalid_addresses_are_refused(say: Say, url: str, message: str) -> None:
    assert message in refused(say("engine", "check", url))


def test_check_needs_an_address(say: Say) -> None:
    code, _, errors = say("engine", "check", "--model", "x")
    assert code == 2
    assert "Missing argument 'URL'" in errors


def test_the_command_offers_every_server_api() -> None:
    from x_instruction.engines.remote import server_check

    assert tuple(server_check.SERVED) == SERVED


def test_control_characters_from_a_server_are_escaped(say: Say) -> None:
    with OpenAIServer(models=("a\x1b[2J", "b")) as server:
        _, shown, _ = say("engine", "check", server.url)
    assert "\x1b" not in shown


def test_a_model_that_fails_every_request_is_reported(say: Say) -> None:
    def fault(path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        return (500, {"error": {"message": "CUDA out of memory"}}) if path.endswith("completions") else None

    with OpenAIServer(fault=fault) as server:
        assert "CUDA out of memory" in refused(say("engine", "check", server.url))
