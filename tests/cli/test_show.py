"""``show``: rows of runs, built folders, data sets on the Hub and files, and errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from built_set import built
from click.testing import CliRunner
from factories import curated, rated, settings
from local_hub_fixture import RunningHub
from rich.cells import cell_len

from x_instruction.cli import cli
from x_instruction.config import recipe
from x_instruction.records import Passage, dropped
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import CURATED, StageKey
from x_instruction.terminal import plain

Show = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two languages with a curated and a dropped row each."""
    files = RunFolder(tmp_path_factory.mktemp("shown") / "run")
    files.mark_layout()
    (files.root / "recipe.json").write_text(recipe.dumps(settings(("sw", "ur"))))
    for tag, text in (("sw", "Ugali na mboga. " * 60), ("ur", "یہ ایک جملہ ہے۔ \u202eevil\x1b[31m")):
        row = curated(text, tag, instruction=f"What is in {tag}?", score=0.25)
        lost = dropped(f"{row.id}-3", "not_best", "0.100", "Another question?")
        files.write(ShardReport(StageKey("rated").shard(tag)), [rated(text, tag), lost])
        files.write(ShardReport(CURATED.shard(tag)), [row])
    return files.root


@pytest.fixture
def show() -> Show:
    """The output of ``show``, or the one line of its refusal."""

    def call(*arguments: object) -> str:
        done = CliRunner().invoke(cli, ["show", *map(str, arguments)])
        return done.output if done.exception is None else str(done.exception)

    return call


def test_rows_of_a_run_are_selected_by_stage_and_language(run: Path, show: Show) -> None:
    out = show(run)
    assert [out.count(text) for text in ("What is in sw?", "What is in ur?", "score 0.250")] == [1, 1, 2]
    assert "rank" not in show(run, "--stage", "rated")
    assert "What is in ur?" not in show(run, "--languages", "Swahili")
    assert out.count("mboga") < show(run, "--id", out.split()[0]).count("mboga") == 60
    assert "What is in ur?" in show(run, "--search", "WHAT IS IN UR")


def test_dropped_rows_are_selected_by_reason(run: Path, show: Show) -> None:
    assert show(run, "--dropped").count("Another question?") == 2
    assert show(run, "--dropped=not_best", "--languages", "sw").count("not_best") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--id", "none"], "no row with the id 'none' here; its first ids are sw-"),
        (["--dropped=too_short"], "dropped no row as 'too_short'; its reasons are not_best 2"),
        (["--languages", "fi"], "does not have the language 'fi'; its languages are sw, ur"),
        (["--search", "absent"], "has no curated row that contains 'absent'"),
        (["--stage", "passage"], "has no passage rows: see `x-instruction status"),
        (["--round", "2"], "--round is 2, and the last round of the run is 0"),
    ],
)
def test_a_stage_language_or_reason_without_rows_is_reported(
    run: Path, show: Show, arguments: list[str], message: str
) -> None:
    out = show(run, *arguments)
    assert message in out
    assert "\n" not in out


def test_the_id_of_a_dropped_row_names_the_reason(run: Path, show: Show) -> None:
    (name,) = [
        line.split()[0] for line in show(run, "--dropped", "--languages", "sw").splitlines() if "not_best" in line
    ]
    assert f"it was dropped as not_best: see `--dropped --id {name}`" in show(run, "--id", name)
    assert "Another question?" in show(run, "--dropped", "--id", name)


def test_built_folders_and_files_are_shown(tmp_path: Path, show: Show) -> None:
    folder = built(tmp_path / "set", ("sw", "th"), rows=2)
    assert show(folder).count("What is known of number") == 4
    assert "needs a run, and" in show(folder, "--dropped")
    parquet = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": ["a"], "prompt": ["Why?"], "completion": ["Because."]}), parquet)
    assert "a\n  Why?\n  Because.\n" in show(parquet)
    chat = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Hivyo."}]
    lines = tmp_path / "rows.jsonl"
    lines.write_text(json.dumps({"messages": chat, "language": "sw"}) + "\n{broken\n")
    out = show(lines)
    assert "row 1\n  Why?\n  Hivyo.\n" in out
    assert "malformed_json" in out
    assert "its languages are sw" in show(lines, "--languages", "fi")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("folder/note.txt", "x", "expected a built data set"),
        ("missing/x/y", None, "does not exist: expected a run, a built folder, a file, or an id on the Hub"),
        ("broken.parquet", "x", "is it a Parquet file?"),
        ("note.md", "x", "cannot tell the format of"),
    ],
)
def test_an_unusable_source_is_refused(
    tmp_path: Path, show: Show, name: str, content: str | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    out = show(path.parent if name.startswith("folder") else path)
    assert message in out
    assert "\n" not in out.strip()


def test_lines_fit_and_hostile_text_is_escaped(run: Path, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    out = show(run)
    assert max(map(cell_len, out.splitlines())) <= 100
    assert "\\u202eevil\\x1b[31m" in out
    assert not {"\u202e", "\x1b"} & set(out)
    assert plain("a\x1b[31mred\x07\r\nb\ttab\ud83d\u2067") == "a\\x1b[31mred\\x07\nb    tab\\ud83d\\u2067"
    # Persian and Indic scripts need their joiners.
    assert plain("می\u200cخواهم") == "می\u200cخواهم"
    # Terminals and splitlines break lines there.
    assert plain("a\u2028b\u2029") == "a\\u2028b\\u2029"
    assert plain("a" * 20, 10) == "a" * 10 + "…"


def test_records_of_every_stage_are_shown() -> None:
    from x_instruction.cli.rows import entry
    from x_instruction.records import STAGES, as_row

    row = as_row(curated("Maandishi."))
    for record_type in STAGES.values():
        one = entry({name: row[name] for name in record_type.__dataclass_fields__})
        assert one.text == "Maandishi."
        assert bool(one.prompt) == (record_type is not Passage)


def test_scores_of_other_tools_are_shown_as_they_are() -> None:
    from x_instruction.cli.rows import entry

    assert entry({"instruction": "Ask.", "output": "Jibu.", "score": "high"}).facts == "score high"
    assert entry({"instruction": "Ask.", "output": "Jibu.", "score": 0.12345}).facts == "score 0.123"


def test_a_hub_data_set_is_shown(local_hub: RunningHub, tmp_path: Path) -> None:
    folder = built(tmp_path / "set", ("sw", "th"), rows=2)
    repo = local_hub.create("shown/rows")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    local_hub.commit(repo, files)
    line = [sys.executable, "-m", "x_instruction", "show", repo, "--languages", "Thai", "--limit", "1"]
    out = local_hub.run(line, cwd=tmp_path)
    assert out.startswith("th-")
    assert "What is known of number 0?" in out
