"""Task files over local files, and input that cannot become one. ``test_benchmarks`` runs such tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from benchmark_tasks import main


def write(folder: Path, *more: str) -> dict[str, dict[str, object]]:
    (folder / "sw.jsonl").write_text('{"text": "Habari", "category": "sports"}\n', "utf-8")
    files = ["topics", f"sw={folder / 'sw.jsonl'}", "--out", str(folder / "tasks")]
    main([*files, "--choices", "sports|health", "--answer", "category", *more])
    return {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted((folder / "tasks").iterdir())}


def test_one_file_is_written_per_prompt(tmp_path: Path) -> None:
    found = write(tmp_path, "--prompt", "{{text}}\\nTopic:", "--prompt", "About {{text}}:")
    assert list(found) == ["topics_sw_prompt_1", "topics_sw_prompt_2"]
    first = found["topics_sw_prompt_1"]
    assert (first["doc_to_text"], first["doc_to_choice"]) == ("{{text}}\nTopic:", ["sports", "health"])


def test_a_single_prompt_has_no_number(tmp_path: Path) -> None:
    assert list(write(tmp_path, "--prompt", "{{text}}")) == ["topics_sw"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("sw.jsonl", "'sw.jsonl' names no file, expected TAG=FILE"),
        ("sw=nowhere.jsonl", "names no file"),
        ("sw={folder}/bad.jsonl", "is not JSON lines"),
        ("sw={folder}/empty.jsonl", "has no items"),
    ],
)
def test_bad_input_is_refused(named: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{", "utf-8")
    (tmp_path / "empty.jsonl").write_text("\n", "utf-8")
    with pytest.raises(SystemExit, match=message):
        main(
            [
                "topics",
                named.format(folder=tmp_path),
                "--prompt",
                "x",
                "--choices",
                "a|b",
                "--answer",
                "c",
                "--out",
                ".",
            ]
        )
