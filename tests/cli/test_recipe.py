"""``x-instruction recipe``: list, show, schema, languages."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from x_instruction.cli import cli
from x_instruction.config import mixing, recipe, training

KINDS = {"run": recipe, "mix": mixing, "train": training}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["recipe", *map(str, arguments)])


def test_recipes_are_listed_as_table_json_and_csv() -> None:
    known = [(kind, name) for kind, module in KINDS.items() for name in module.names()]
    table = call("list")
    assert table.exit_code == 0, table.output
    assert [tuple(line.split()[:2]) for line in table.stdout.splitlines()[1:]] == known
    as_json = json.loads(call("list", "--json").stdout)
    assert [(row["kind"], row["name"]) for row in as_json] == known
    as_csv = list(csv.DictReader(io.StringIO(call("list", "--csv").stdout)))
    assert [(row["kind"], row["name"]) for row in as_csv] == known
    assert [row["languages"].split() for row in as_csv] == [row["languages"] for row in as_json]
    assert [row["kind"] for row in json.loads(call("list", "--kind", "mix", "--json").stdout)] == ["mix"] * len(
        mixing.names()
    )


@pytest.mark.parametrize(("kind", "name"), [("run", "demo"), ("mix", "pinch"), ("train", "embedded")])
def test_show_prints_the_file_or_every_setting(kind: str, name: str) -> None:
    assert call("show", name).stdout == KINDS[kind].text_of(name)
    shown = json.loads(call("show", name, "--json").stdout)
    assert shown["name"] == tomllib.loads(KINDS[kind].text_of(name))["name"]
    assert len(shown) > 1


def test_kind_selects_between_recipes_of_one_name() -> None:
    texts = {kind: call("show", "x-instruction", "--kind", kind).stdout for kind in KINDS}
    assert len(set(texts.values())) == 3
    assert call("show", "x-instruction").stdout == texts["run"]


def test_show_takes_a_file_and_lists_the_names_for_an_unknown_one(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(call("show", "pinch").stdout, "utf-8")
    assert call("show", mine, "--kind", "mix").stdout == mine.read_text("utf-8")
    assert "demo" in str(call("show", "no-such-recipe").exception)


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_printed(kind: str) -> None:
    found = json.loads(call("schema", "--kind", kind).stdout)
    assert found["$schema"].startswith("https://json-schema.org/")
    assert "name" in found["properties"]


def test_languages_are_listed() -> None:
    assert [line.split()[0] for line in call("languages").stdout.splitlines()[1:4]] == ["fi", "id", "th"]
    (row,) = json.loads(call("languages", "swahili", "--json").stdout)
    assert (row["tag"], row["name"], row["native_name"]) == ("sw", "Swahili", "Kiswahili")
    assert "did you mean" in str(call("languages", "swahilli").exception)
