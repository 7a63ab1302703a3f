from __future__ import annotations

from collections.abc import Iterator

import pytest

from x_instruction.corpus import repeated_lines
from x_instruction.corpus.repeated_lines import without_repeated_lines
from x_instruction.corpus.sources import Document
from x_instruction.records import Dropped, dropped

FOOTER = "Got a comment? Spot an error? Send feedback on this page."


def document(text: str, source: str = "a") -> Document:
    return Document(id="", text=text, url="", license="", source=source)


def own(number: int) -> str:
    return f"Habari ya kwanza namba {number} ni ndefu kuliko menyu.\nHabari ya pili namba {number} ni ndefu pia."


def cleaned(texts: list[str], share: float = 0.02) -> list[str]:
    return [text for _, text in without_repeated_lines(map(document, texts), share)]


def test_footers_and_menus_are_removed_and_headings_kept() -> None:
    texts = [f"Nyumbani\nHabari\n{own(i)}\nViungo\n{own(i + 100)}\n\n{FOOTER}" for i in range(20)]
    assert cleaned(texts) == [f"{own(i)}\nViungo\n{own(i + 100)}" for i in range(20)]


def test_lines_in_few_documents_are_kept() -> None:
    texts = [f"{own(i)}\n{FOOTER}" for i in range(4)] + [own(i) for i in range(4, 100)]
    assert cleaned(texts) == texts


def test_the_share_is_of_all_documents() -> None:
    texts = [f"{own(i)}\n{FOOTER}" for i in range(10)] + [own(i) for i in range(10, 100)]
    assert cleaned(texts, 0.1) == texts
    assert cleaned(texts, 0.09) == [own(i) for i in range(100)]


def test_copies_of_a_document_are_counted_once() -> None:
    texts = [own(0)] * 30 + [f"{own(0)}\nMwisho {i}." for i in range(30)] + [own(i) for i in range(1, 30)]
    assert cleaned(texts) == texts


def test_a_document_of_repeated_lines_alone_is_empty() -> None:
    texts = [f"{own(i)}\n{FOOTER}" for i in range(20)]
    assert cleaned([*texts, FOOTER])[-1] == ""


def test_sources_are_counted_separately() -> None:
    first = [document(f"{own(i)}\n{FOOTER}", "a") for i in range(10)]
    second = [document(f"{own(i)}\n{FOOTER}", "b") for i in range(3)]
    found = [text for _, text in without_repeated_lines([*first, *second], 0.02)]
    assert [FOOTER in text for text in found] == [False] * 10 + [True] * 3


def test_dropped_rows_keep_their_position() -> None:
    row = dropped("x", "no_text")
    found = list(without_repeated_lines([document("moja"), row, document("mbili")], 0.02))
    assert [text for _, text in found] == ["moja", "", "mbili"]
    assert found[1][0] is row


def test_a_limit_reads_one_block_and_counts_grow_with_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_lines, "DOCUMENTS", 10)
    read = 0

    def source() -> Iterator[Document | Dropped]:
        nonlocal read
        for i in range(100):
            read += 1
            # Only the first block has enough of them, but the next ones are cleaned too.
            yield document(f"{own(i)}\n{FOOTER}" if i < 10 or i == 35 else own(i))

    texts = without_repeated_lines(source(), 0.02)
    assert next(texts)[1] == own(0)
    assert read == 11
    assert [text for _, text in texts] == [own(i) for i in range(1, 100)]
