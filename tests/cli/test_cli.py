"""What a person sees: one line that says what is wrong and what to do, exit code 1, no traceback."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import warm

Write = Callable[..., Path]


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "x_instruction", *map(str, arguments)]
    return warm.run(line, capture_output=True, timeout=300)


def refused(*arguments: object) -> str:
    """The one line of a refusal."""
    done = cli(*arguments)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert len(errors) == 1, done.stderr
    return errors[0]


@pytest.mark.parametrize("verb", ["", "run", "batch", "status", "show", "build", "engine", "recipe"])
def test_help_lists_the_commands(verb: str) -> None:
    done = cli(*([verb] if verb else []), "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout


def test_help_imports_no_heavy_packages() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from x_instruction.cli import cli;"
        "CliRunner().invoke(cli, ['--help']);"
        "print(sorted({m.split('.')[0] for m in sys.modules}"
        " & {'torch','datasets','transformers','pyarrow','numpy','pydantic','rich','langcodes'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_recipe_show_prints_a_recipe_that_can_be_run(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(cli("recipe", "show", "files").stdout, "utf-8")
    assert mine.read_text("utf-8").startswith("# Your own text")
    assert cli("recipe", "show", mine, "--json").stdout == cli("recipe", "show", "files", "--json").stdout


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    line = refused("run", "no-such-recipe")
    assert "demo" in line


def test_an_unknown_key_gets_a_suggestion() -> None:
    assert "did you mean 'candidates'" in refused("run", "demo", "--set", "generate.candiates=3")


def test_an_unknown_language_gets_a_suggestion() -> None:
    assert "did you mean" in refused("run", "demo", "--languages", "swahilli")


def test_an_invalid_set_option_is_refused() -> None:
    assert "KEY=VALUE" in refused("run", "demo", "--set", "generate.candidates")


def test_a_missing_model_folder_is_reported(recipe_file: Write, tmp_path: Path) -> None:
    recipe = recipe_file(**{"generate.model": {"name": "/no/such/model"}})
    assert "/no/such/model does not exist" in refused("run", recipe, "--out", tmp_path / "run")


def files(tmp_path: Path, **bodies: bytes) -> dict[str, object]:
    for name, body in bodies.items():
        (tmp_path / name.replace("_", ".")).write_bytes(body)
    return {"source": "files", "paths": [f"{tmp_path}/{name.replace('_', '.')}" for name in bodies]}


def row(text: object, **more: object) -> bytes:
    return json.dumps({"text": text, **more}).encode() + b"\n"


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("empty_jsonl", b"", "empty"),
        ("cut_gz", gzip.compress(row("x" * 5000) * 50, mtime=0)[:60], "cut"),
        ("columns_jsonl", json.dumps({"body": "x"}).encode() + b"\n", "text"),
        ("bad_parquet", b"PAR1 nothing here", "bad"),
    ],
)
def test_an_unusable_corpus_is_reported(
    recipe_file: Write, tmp_path: Path, name: str, body: bytes, expected: str
) -> None:
    name = name.replace("cut_gz", "cut_jsonl_gz")
    recipe = recipe_file(corpus=files(tmp_path, **{name: body}))
    line = refused("run", recipe, "--out", tmp_path / "run", "--languages", "fi")
    assert expected in line
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_an_unreadable_evaluation_set_is_reported(recipe_file: Write, tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text('{"question"')
    recipe = recipe_file(corpus={"source": "sample", "decontaminate": [f"{tmp_path}/set.jsonl"]})
    line = refused("run", recipe, "--out", tmp_path / "run")
    assert "set.jsonl, row 1: malformed_json" in line
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_missing_files_are_reported(recipe_file: Write, tmp_path: Path) -> None:
    recipe = recipe_file(corpus={"source": "files", "paths": [f"{tmp_path}/nothing-*.jsonl"]})
    assert "nothing-*.jsonl" in refused("run", recipe, "--out", tmp_path / "run")


def test_bad_lines_are_counted_and_the_run_continues(recipe_file: Write, tmp_path: Path) -> None:
    sample = (Path(__file__).parents[2] / "x_instruction/corpus/sample/fi.jsonl").read_bytes()
    bad = b'{"text": "\xff\xfe"}\n' + b"not json\n" + row(None) + row(7) + row("null\x00bytes " * 40)
    long = row("a" * 100_000_000)
    recipe = recipe_file(corpus=files(tmp_path, mixed_jsonl=bad + sample + long))
    done = cli("run", recipe, "--out", tmp_path / "run", "--languages", "fi", "--until", "corpus", "--workers", 1)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run/passage/fi/00000.report.json").read_text())
    dropped: dict[str, int] = {}
    for path in (tmp_path / "run/passage/fi").glob("*.report.json"):
        for reason, number in json.loads(path.read_text())["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + number
    assert report["language"] == "fi"
    assert dropped["invalid_utf8"] == 1
    assert dropped["malformed_json"] == 1
    assert dropped["no_text"] == 2
    assert dropped["line_too_long"] == 1


def test_commands_refuse_a_folder_without_a_run(tmp_path: Path) -> None:
    assert "recipe.json" in refused("status", tmp_path)
    assert "recipe.json" in refused("build", tmp_path)
    assert "expected a built data set (manifest.json and data/) or a run" in refused("show", tmp_path)


def test_an_unwritable_output_folder_is_reported(recipe_file: Write) -> None:
    assert "cannot write" in refused("run", recipe_file(), "--out", "/proc/nowhere")


def test_changed_settings_are_named_as_on_the_command_line(recipe_file: Write, tmp_path: Path) -> None:
    line = ("run", recipe_file(), "--out", tmp_path / "run", "--languages", "fi", "--until", "corpus", "--workers", 1)
    assert cli(*line).returncode == 0
    made = "error: shard passage/fi/00000 was made with other settings "
    again = "pass --overwrite to replace it, or choose another folder with --out"
    assert refused(*line, "--limit", 4) == f"{made}(`--limit` was not set, is 4): {again}"
    assert f"{made}(corpus.passages was not set, is 4)" in refused(*line, "--set", "corpus.passages=4")
    assert cli(*line, "--limit=4", "--overwrite").returncode == 0
    (row,) = json.loads(cli("status", tmp_path / "run", "--json").stdout)
    assert (row["stage"], row["language"], row["kept"]) == ("passage", "fi", 4)
    (values,) = csv.DictReader(cli("status", tmp_path / "run", "--csv").stdout.splitlines())
    assert values["kept"] == "4"
    assert json.loads(values["dropped"]) == row["dropped"]
    head, sums = cli("status", tmp_path / "run").stdout.splitlines()
    assert (head.split()[:2], sums.split()[:2]) == (["language", "passages"], ["fi", "4"])
    (_, drops) = cli("status", tmp_path / "run", "--drops").stdout.split("\n\n")
    assert drops.splitlines()[1].split() == [*("fi", "passage", f"{row['rows_in']}", "4", "passage_limit", "8")]
    shown = cli("show", tmp_path / "run", "--stage", "passage", "--limit", 2)
    assert shown.returncode == 0, shown.stderr
    assert len([line for line in shown.stdout.splitlines() if line and not line.startswith(" ")]) == 2
    assert f"{made}(`--limit` was 4, is not set)" in refused(*line)
    assert f"{made}(corpus.passages was 4, is 5)" in refused(*line, "--set", "corpus.passages=5")


def test_show_offers_every_stage() -> None:
    from x_instruction.cli import show
    from x_instruction.records import STAGES

    assert tuple(STAGES) == show.STAGES
