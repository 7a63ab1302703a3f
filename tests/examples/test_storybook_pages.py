"""Stories of the Global Storybooks, and seeds of parallel documents with instructions written for their English."""

from __future__ import annotations

import json
from pathlib import Path

import instructed_pages
import pytest
import storybook_pages

STORY = "# {title}\n\n##\n{first}\nand more\n\n##\n{second}\n\n##\n* License: [{license}]\n* Text: A. Author\n{more}"
LONG = "Ein sehr hungriges Krokodil schwamm langsam und leise. " * 6


def write(root: Path, name: str, title: str, text: str, license: str = "CC-BY", more: str = "* Language: x\n") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STORY.format(title=title, first=text, second="End.", license=license, more=more), "utf-8")


@pytest.fixture
def clones(tmp_path: Path) -> list[Path]:
    first, second = tmp_path / "asp-source", tmp_path / "global-asp"
    write(first, "en/0001_crocodile.md", "The hungry crocodile", "Once there was a crocodile.")
    write(first, "en/0002_sold.md", "Not to be sold", "Once.")
    write(second, "de/0001_krokodil.md", "Das Krokodil", LONG, more="* Translation: B. Translator\n* Language: de\n")
    write(second, "de/0002_verkauft.md", "Nicht verkäuflich", LONG, license="CC-BY-NC")
    write(second, "de/0003_allein.md", "Ohne Original", LONG)
    return [first, second]


def test_openly_licensed_stories_become_documents(clones: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "de.jsonl"
    storybook_pages.main(["de", *map(str, clones), "--out", str(out)])
    (row,) = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert row == {
        "id": "asp-source-0001",
        "title_en": "The hungry crocodile",
        "summary_en": "",
        "text_en": "Once there was a crocodile. and more\nEnd.",
        "text": f"{LONG.strip()} and more\nEnd.",
        "lang": "de",
        "source": "global-storybooks",
        "license": "CC-BY-4.0",
        "author": "A. Author, B. Translator",
    }


def test_a_missing_language_is_reported(clones: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        storybook_pages.main(["sw", *map(str, clones), "--out", "x.jsonl"])
    assert "no folder sw in" in capsys.readouterr().err


@pytest.fixture
def english(tmp_path: Path) -> Path:
    rows = [
        {"document_id": "a", "segment": 0, "score": 3.0, "instruction": "Tell of a crocodile."},
        {"document_id": "a", "segment": 0, "score": 4.0, "instruction": "Tell of a hungry crocodile."},
        {"document_id": "a", "segment": 1, "score": 9.0, "instruction": "What comes later?"},
        {"document_id": "late", "segment": 2, "score": 9.0, "instruction": "Only its end was kept."},
    ]
    path = tmp_path / "en.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_translations_get_the_best_instruction_of_the_english_page(english: Path, tmp_path: Path) -> None:
    documents = tmp_path / "mr.jsonl"
    made = [{"id": id, "text": "मगर", "lang": "mr", "license": "CC-BY-4.0", "source": "s"} for id in ("a", "b", "late")]
    documents.write_text("".join(json.dumps(row) + "\n" for row in made), "utf-8")
    out = tmp_path / "seeds.jsonl"
    instructed_pages.main([str(english), str(documents), "--out", str(out)])
    (row,) = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert (row["instruction"], row["output"], row["language"]) == ("Tell of a hungry crocodile.", "मगर", "mr")
    assert (row["license"], row["source"], row["instruction_language"]) == ("CC-BY-4.0", "s", "en")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "z", "text": "x", "lang": "mr"}', "have no id in common"),
        ('{"id": "a", "text": "x"}', "line 1: expected JSON with id, text, lang"),
        ("[1]", "line 1: expected JSON with id, text, lang"),
        ('{"id": "a", "text": 4, "lang": "mr"}', "must be text"),
        ("no", "line 1: expected JSON"),
    ],
)
def test_invalid_documents_are_refused(
    line: str, message: str, english: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mr.jsonl").write_text(line + "\n", "utf-8")
    with pytest.raises(SystemExit):
        instructed_pages.main([str(english), str(tmp_path / "mr.jsonl"), "--out", str(tmp_path / "out.jsonl")])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
