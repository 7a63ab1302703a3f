"""The pool of documents: the one of the package, one of a user, and what is held out of training."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import make_pool
import pytest

from x_instruction.corpus.identifiers import known_labels
from x_instruction.errors import CorpusError
from x_instruction.experiments.claims.pool import SHIPPED, Document, PoolSettings, read, split
from x_instruction.languages import language


@pytest.fixture(scope="module")
def shipped() -> list[Document]:
    return read()


def test_the_included_pool_is_read(shipped: list[Document]) -> None:
    assert len({one.id for one in shipped}) == len({one.text for one in shipped}) == len(shipped)
    assert all(known_labels(language(one.language)) for one in shipped)
    assert all(min(len(one.text), len(one.text_en)) > 50 and len(one.text_en) <= 700 for one in shipped)
    assert all(one.license in ("CC-BY-4.0", "MPL-2.0", "public domain") and one.author for one in shipped)
    assert not {one.document for one in shipped} & make_pool.LEFT_OUT_PAGES
    sizes = Counter(one.language for one in shipped)
    assert len(sizes) >= 30
    assert max(sizes.values()) <= 130


def test_the_documentation_describes_the_pool(shipped: list[Document]) -> None:
    page = SHIPPED.with_name("POOL.md").read_text("utf-8")
    assert f"{len(shipped):,} stories and help pages in {len({one.language for one in shipped})} languages" in page
    rows = dict(re.findall(r"^\| `(\S+)` \| ([\d,]+) \|", page, re.MULTILINE))
    assert rows == {source: f"{count:,}" for source, count in Counter(one.source for one in shipped).items()}


def test_held_out_documents_are_not_trained_on(shipped: list[Document]) -> None:
    settings = PoolSettings()
    parts = split(shipped, settings)
    trained = {one.document for one in parts.train}
    tags = {one.language for one in parts.train}
    assert len(parts.train) >= 1200
    assert len(tags) >= 16
    assert not tags & set(settings.heldout_languages)
    assert settings.heldout_source not in {one.source for one in parts.train + parts.development}
    others = {"development": parts.development, **parts.heldout}
    for name, documents in others.items():
        assert not trained & {one.document for one in documents}
        assert len(documents) == getattr(settings, name)
    assert {one.language for one in parts.heldout["unseen_language"]} == set(settings.heldout_languages)
    assert {one.language for one in parts.heldout["seen"] + parts.heldout["unseen_source"]} <= tags
    # The split depends on the seed and not on the order of the rows.
    assert split(shipped[::-1], settings) == parts
    assert split(shipped, settings.replace(seed=1)) != parts


def test_a_pool_without_training_documents_is_refused() -> None:
    documents = [Document(f"fi-{n}", str(n), "fi", "books", "A title", "Teksti.", "Text.") for n in range(9)]
    with pytest.raises(CorpusError, match="of 9 documents none is left for training"):
        split(documents, PoolSettings())


ROW = {"document": "a", "language": "fi", "title": "A title", "text": "Teksti.", "text_en": "Text."}


def write(path: Path, rows: Sequence[object]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_custom_pools_are_read(tmp_path: Path) -> None:
    write(tmp_path / "one.jsonl", [ROW])
    # The fields of the converters.
    other = {
        "id": "b",
        "lang": "swh_Latn",
        "title_en": "Another",
        "text": "Maandishi.",
        "text_en": "Text.",
        "license": 1,
    }
    write(tmp_path / "two.jsonl.gz", [other])
    assert read(tmp_path) == [
        Document("fi-a", "a", "fi", "one.jsonl", "A title", "Teksti.", "Text."),
        Document("sw-b", "b", "sw", "two.jsonl.gz", "Another", "Maandishi.", "Text.", "1"),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [ROW | {"title": None}],
            "row 1 has no title, expected the fields text, title, text_en, language",
        ),
        ([{"text": "x", "language": "fi"}], "has no title and no text_en"),
        ([ROW, ROW], "row 2: the id 'fi-a' is that of another row"),
        ([ROW, 1], r"row 2: malformed_json \(expected an object, got a number\)"),
        ([ROW | {"language": "xqzzy"}], "row 1: .*xqzzy"),
        ([], "has no rows, expected documents with the fields"),
    ],
)
def test_unusable_pools_are_refused(rows: list[object], message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message):
        read(write(tmp_path / "pool.jsonl", rows))


def test_paths_without_a_pool_are_reported(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist, expected a file of documents"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(CorpusError, match="has no files"):
        read(tmp_path)


STORY = "# {title}\n\n##\n{text}\n\n##\n* License: [CC-BY]\n* Text: A. Author\n* Language: x\n"
EN = "Once there was a hungry crocodile who swam slowly and quietly to the other side of the river. " * 3
DE = "Es war einmal ein sehr hungriges Krokodil, das langsam und leise an das andere Ufer des Flusses schwamm. " * 8


def test_a_pool_is_made_from_sources(tmp_path: Path) -> None:
    (tmp_path / "usr/share/libreoffice/help").mkdir(parents=True)
    (tmp_path / "global-asp").mkdir()
    (tmp_path / "pb-source").mkdir()
    texts = {n: (f"Number {n}. {EN}", f"Nummer {n}. {DE}") for n in range(10)}
    # Not translated, and with a title that says nothing.
    texts |= {10: (EN, f"{EN} Ende."), 11: (f"Last. {EN}", DE)}
    for number, pair in texts.items():
        for tag, text in zip(("en", "de"), pair, strict=True):
            path = tmp_path / "asp-source" / tag / f"{number:04}_story.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                STORY.format(title="Crocodile" if number == 11 else f"Crocodile {number}", text=text), "utf-8"
            )
    make_pool.main([str(tmp_path), "--out", str(tmp_path / "pool.jsonl.gz")])
    rows = read(tmp_path / "pool.jsonl.gz")
    assert [row.id for row in rows] == [f"de-asp-source-{n:04}" for n in range(10)]
    assert dataclasses.replace(rows[0], text="", text_en="") == Document(
        "de-asp-source-0000",
        "asp-source-0000",
        "de",
        "african-storybook",
        "Crocodile 0",
        "",
        "",
        "CC-BY-4.0",
        "A. Author",
    )
    assert len(rows[0].text) <= 700
    assert rows[0].text.endswith("schwamm.")
