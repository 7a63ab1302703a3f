"""Experiments of other papers: which rows their arms have, and what their figures are."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims_run import Shared

from x_instruction.errors import RecipeError
from x_instruction.experiments.claims import alignment, curve, multilingual
from x_instruction.experiments.claims.analysis import Values
from x_instruction.experiments.claims.design import load
from x_instruction.experiments.claims.lab import Lab
from x_instruction.experiments.claims.noise import Pair
from x_instruction.experiments.claims.pool import Document


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The pool that ships at the sizes for a CPU. No model is opened."""
    return Lab(load(), "cpu", tmp_path_factory.mktemp("lab"), None, "cpu", lambda line: None)


def test_multilingual_rows_are_spread_evenly_and_nested(lab: Lab) -> None:
    arms = {number: multilingual.rows(lab, number) for number in lab.sizes.multilingual}
    total = max(arms)
    assert {len(rows) for rows in arms.values()} == {total}
    assert all(pair.language == "en" for pair in arms[0])
    own = {number: [pair for pair in rows if pair.language != "en"] for number, rows in arms.items()}
    assert {number: len(rows) for number, rows in own.items()} == {number: number for number in arms}
    assert all(set(own[small]) < set(own[large]) for small, large in pairwise(sorted(own)))
    smallest = min(number for number in own if number)
    assert max(Counter(pair.language for pair in own[smallest]).values()) == 1


def test_english_rows_come_from_other_documents_one_each(lab: Lab) -> None:
    texts = {document.document: document.text_en for document in lab.split.train}
    for number in lab.sizes.multilingual:
        rows = multilingual.rows(lab, number)
        english = [pair for pair in rows if pair.language == "en"]
        assert len({pair.document for pair in english}) == len(english)
        assert not {pair.document for pair in english} & {pair.document for pair in rows if pair.language != "en"}
        assert all(pair.text == texts[pair.document] for pair in english)


def test_the_largest_arms_are_shared_with_other_experiments(lab: Lab) -> None:
    largest = max(lab.sizes.multilingual)
    assert multilingual.rows(lab, largest) == lab.draw(lab.clean, largest, "rows")
    assert largest in lab.sizes.curve
    assert max(lab.sizes.curve) == lab.sizes.rows


def test_too_few_documents_for_english_rows_are_reported(lab: Lab) -> None:
    documents = len({document.document for document in lab.split.train})
    profiles: dict[Any, Any] = {"cpu": lab.sizes.replace(multilingual=(0, documents + 1))}
    more = Lab(lab.design.replace(profiles=profiles), "cpu", lab.folder, None, "cpu", lab.log)
    with pytest.raises(RecipeError, match=f"{documents + 1} rows are needed and the pool has {documents}"):
        multilingual.rows(more, 0)


NAMES: list[tuple[list[int], dict[str, int]]] = [
    ([0, 24, 120, 240], {"none": 0, "tenth": 24, "m-120": 120, "all": 240}),
    ([0, 3, 30, 150, 300], {"none": 0, "m-3": 3, "tenth": 30, "m-150": 150, "all": 300}),
    ([0, 8], {"none": 0, "all": 8}),
]


@pytest.mark.parametrize(("numbers", "names"), NAMES)
def test_arms_are_named_after_their_size(numbers: list[int], names: dict[str, int]) -> None:
    assert multilingual.names(numbers) == names


def test_pairs_alternate_between_languages() -> None:
    pairs = [Pair(str(n), str(n), tag, "", "", "clean") for n, tag in enumerate("aaabbc")]
    assert "".join(pair.language for pair in multilingual.spread(pairs)) == "abcaba"


def test_the_slope_equals_least_squares() -> None:
    numbers = [50, 100, 200, 400]
    random = np.random.default_rng(0)
    gains = random.normal(size=(4, 1, 7))
    found = curve.slopes(numbers, [Values(["d"] * 7, own) for own in gains])
    expected = [np.polyfit(np.log(numbers), gains[:, 0, row], 1)[0] for row in range(7)]
    np.testing.assert_allclose(found.values[0], expected)
    exact = [Values(["d"], np.array([[0.25 * math.log(number) + 3]])) for number in numbers]
    assert curve.slopes(numbers, exact).values[0, 0] == pytest.approx(0.25)


def test_without_every_size_there_is_no_slope(shared: Shared) -> None:
    lab = Lab(load(shared.design), "small", shared.folder, shared.pool, "cpu", lambda line: None)
    row = {"id": "a", "document": "d", "language": "sw", "group": "seen"}
    row |= {"gain": 1.0, "found": None, "right": True, "clean": True, "answer": ""}
    made = curve.figures(lab, {"n-8-0": {"rows": [row]}})
    assert {figure.arm for figure in made} == {"n-8"}


FIRST = [
    ("en", "One day, Rabbit ran.\nHippo saw it.", "One day, Rabbit ran."),
    ("ja", "私は元気です。あなたは？", "私は元気です。"),
    ("th", "กระต่ายวิ่ง ฮิปโปเห็น", "กระต่ายวิ่ง"),
    ("sw", "  Bila mwisho", "Bila mwisho"),
]


@pytest.mark.parametrize(("tag", "text", "first"), FIRST)
def test_first_sentences_are_found(tag: str, text: str, first: str) -> None:
    document = Document(id="a", document="a", language=tag, source="s", title="T", text=text, text_en="Hello. Bye.")
    assert alignment.first_sentences(document) == ("Hello.", first)


def test_every_aligned_row_has_both_sentences_of_its_own_document(lab: Lab) -> None:
    rows = alignment.examples(lab, 0)
    assert len(rows) == len(lab.clean)
    by_text = {document.text: document for document in lab.split.train}
    for row in rows[:50]:
        document = by_text[row.completion]
        assert row.sentence
        assert " ".join(document.text_en.split()).startswith(row.sentence)
        assert " ".join(document.text.split()).startswith(row.parallel)


def test_the_alignment_is_measured_before_and_after(shared: Shared) -> None:
    figures = [figure for figure in shared.outcome.figures if figure.experiment == "alignment"]
    assert {(one.arm, one.baseline) for one in figures} == {("before", ""), ("after", ""), ("after", "before")}
    before, after, change = (
        next(one for one in figures if (one.arm, one.baseline, one.group) == (arm, baseline, "all"))
        for arm, baseline in (("before", ""), ("after", ""), ("after", "before"))
    )
    assert change.value == pytest.approx(after.value - before.value)
    assert 0 <= before.value <= 1


def test_all_weights_are_trained(shared: Shared) -> None:
    results = [path for path in (shared.folder / "models").glob("*/train_result.json") if _is_full(path.parent)]
    assert len(results) == 1


def _is_full(folder: Path) -> bool:
    return (folder / "model.safetensors").exists()
