"""Similarity of instructions compared with the formula by hand."""

from __future__ import annotations

import math

import pytest

from x_instruction.refine.nearest_neighbor import NearestNeighbors


def nearest(*instructions: str, tag: str = "en", documents: list[str] | None = None) -> NearestNeighbors:
    return NearestNeighbors(instructions, documents or [str(n) for n in range(len(instructions))], tag)


def test_cosine_by_hand() -> None:
    found = nearest("cook rice", "cook beans", "paint roofs roofs")
    # "cook" is in two of three, the others in one.
    shared, own = math.log(1 + 3 / 2), math.log(1 + 3)
    expected = shared**2 / (shared**2 + own**2)
    assert found.similarity(0).tolist() == pytest.approx([1, expected, 0])
    assert found.similarity(2).tolist() == pytest.approx([0, 0, 1])
    assert [found.of(row) for row in range(3)] == [1, 0, None]


def test_a_repeated_word_counts_twice() -> None:
    found = nearest("a b b", "a", "b")
    # Both words are in two of three: (1, 2) against (1, 0) and (0, 1).
    assert found.similarity(0).tolist() == pytest.approx([1, 1 / math.sqrt(5), 2 / math.sqrt(5)])


def test_case_and_punctuation_are_ignored() -> None:
    assert nearest("Cook rice?", "Paint roofs.", "“COOK” beans!").of(0) == 2


def test_equal_instructions_are_skipped() -> None:
    assert nearest("Cook rice.", "rice cook", "cook beans").of(0) == 2


def test_translations_of_the_page_are_skipped() -> None:
    assert nearest("cook red rice", "cook red beans", "cook roofs", documents=["a", "a", "b"]).of(0) == 2


def test_ties_go_to_the_first() -> None:
    assert nearest("cook", "cook beans", "cook roofs").of(0) == 1


def test_scripts_without_spaces_use_character_n_grams() -> None:
    found = nearest("หุงข้าว", "ทาสีบ้าน", "หุงข้าวผัด", tag="th")
    assert [found.of(row) for row in range(3)] == [2, None, 0]


@pytest.mark.parametrize("instructions", [("",), ("?", "!"), ("cook",), ("cook", "cook")])
def test_unrelated_instructions_have_no_neighbor(instructions: tuple[str, ...]) -> None:
    found = nearest(*instructions)
    assert [found.of(row) for row in range(len(instructions))] == [None] * len(instructions)
