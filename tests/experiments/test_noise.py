"""Planted noise, and what the pipeline removes of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from x_instruction.errors import RecipeError
from x_instruction.experiments.claims.noise import CLEAN, KINDS, Pair, plant
from x_instruction.experiments.claims.pool import Document, PoolSettings, read, split
from x_instruction.experiments.claims.removal import figures, screened

SHARES = dict(zip(KINDS, (0.15, 0.1, 0.1, 0.1, 0.025, 0.025), strict=True))
LANGUAGES = ("de", "el", "ja", "sw")


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return [one for one in split(read(), PoolSettings()).train if one.language in LANGUAGES]


@pytest.fixture(scope="module")
def pairs(documents: list[Document]) -> list[Pair]:
    return plant(documents, SHARES, seed=0)


def test_the_share_of_noise_holds_in_every_language(pairs: list[Pair]) -> None:
    counts = Counter(pair.kind for pair in pairs)
    for kind, share in SHARES.items():
        assert abs(counts[kind] - share * len(pairs)) <= 2
    for tag in LANGUAGES:
        own = [pair.kind for pair in pairs if pair.language == tag]
        assert abs(own.count(CLEAN) - 0.5 * len(own)) <= 3
        assert {"other_page", "near_miss", "half_foreign", "untranslated"} < set(own)


def test_noise_depends_only_on_the_seed_and_the_documents(documents: list[Document], pairs: list[Pair]) -> None:
    assert plant(documents, SHARES, seed=0) == pairs
    assert {p.id for p in plant(documents, SHARES, 1) if p.kind == CLEAN} != {p.id for p in pairs if p.kind == CLEAN}
    turned = plant(documents[::-1], SHARES, seed=0)
    assert {pair.id: pair.kind for pair in turned} == {pair.id: pair.kind for pair in pairs}


def test_pairs_keep_their_document_and_do_not_name_a_language(documents: list[Document], pairs: list[Pair]) -> None:
    assert [(p.id, p.document, p.language) for p in pairs] == [(d.id, d.document, d.language) for d in documents]
    assert not [pair for pair in pairs if "Answer in" in pair.instruction]


def test_each_kind_of_noise_changes_one_side(documents: list[Document], pairs: list[Pair]) -> None:
    clean = {pair.id: pair for pair in plant(documents, {}, seed=0)}
    texts = {(one.language, one.text): one.document for one in documents}
    for one, pair in zip(documents, pairs, strict=True):
        asked, own = pair.instruction == clean[one.id].instruction, pair.text == one.text
        # Only a near miss has another instruction; it and clean pairs alone have the response of their document.
        assert (asked, own) == (pair.kind != "near_miss", pair.kind in (CLEAN, "near_miss"))
        assert (one.title.rstrip(".:") in pair.instruction) == asked
        if pair.kind == "other_page":
            assert texts[one.language, pair.text] != one.document
        if pair.kind == "untranslated":
            assert pair.text == one.text_en
        if pair.kind == "shuffled":
            assert sorted("".join(pair.text.split())) == sorted("".join(one.text.split()))


def test_instructions_ask_for_stories_or_explanations(documents: list[Document]) -> None:
    story = next(one for one in documents if one.source == "african-storybook")
    page = next(one for one in documents if one.source == "libreoffice-help")
    story_request, page_request = [pair.instruction for pair in plant([story, page], {}, seed=0)]
    assert "story" in story_request or "young readers" in story_request
    assert "story" not in page_request


def test_boilerplate_varies(documents: list[Document]) -> None:
    made = plant(documents, {"furniture": 1.0}, seed=0)
    assert {pair.kind for pair in made} == {"furniture"}
    lines = Counter(line for pair in made for line in set(pair.text.split("\n")))
    assert max(lines.values()) < 0.15 * len(made)


def test_unsuitable_documents_stay_clean() -> None:
    same = Document("fi-a", "a", "fi", "mine", "The only title", "Same text.", "Same text.")
    for kind in KINDS:
        made = plant([same], {kind: 1.0}, seed=0)[0]
        assert (made.kind, made.text) == (CLEAN, "Same text.")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(RecipeError, match="noise has 'typos', expected some of other_page"):
        plant([], {"typos": 0.1}, seed=0)


def test_filters_drop_visible_kinds_of_noise(pairs: list[Pair]) -> None:
    reasons = dict(zip([pair.id for pair in pairs], screened(pairs), strict=True))
    by_kind = {kind: [reasons[pair.id] for pair in pairs if pair.kind == kind] for kind in (CLEAN, *KINDS)}
    assert None not in by_kind["untranslated"]
    assert {"passage: wrong_script", "passage: wrong_language"} <= set(by_kind["untranslated"])
    assert by_kind[CLEAN].count(None) > 0.9 * len(by_kind[CLEAN])
    # No screen reads whether instruction and response fit.
    assert by_kind["other_page"].count(None) > 0.8 * len(by_kind["other_page"])
    clean = next(pair for pair in pairs if pair.language == "de" and reasons[pair.id] is None)
    assert screened([replace(clean, instruction="Read more » Home » News")]) == ["instruction: page_furniture"]


def test_removal_rates_are_computed() -> None:
    texts = [one for one in read() if one.language == "de"][:6]
    kinds = ("untranslated", "untranslated", "near_miss", CLEAN, CLEAN, CLEAN)
    pairs = [
        Pair(one.id, one.document, "de", f"Explain “{one.title}”.", one.text_en if "un" in kind else one.text, kind)
        for one, kind in zip(texts, kinds, strict=True)
    ]
    kept = {pairs[1].id, pairs[4].id, pairs[5].id}
    found = {(f.arm, f.measure, f.group): f for f in figures("curation", pairs, kept)}
    value = {key: round(figure.value, 3) for key, figure in found.items()}
    assert value == {
        ("removed", "precision", "all"): 0.667,
        ("removed", "recall", "all"): 0.667,
        ("removed", "recall", "near_miss"): 1.0,
        ("removed", "recall", "untranslated"): 0.5,
        ("removed", "lost", CLEAN): 0.333,
        ("screens", "precision", "all"): 1.0,
        ("screens", "recall", "all"): 0.667,
        ("screens", "recall", "near_miss"): 0.0,
        ("screens", "recall", "untranslated"): 1.0,
        ("screens", "lost", CLEAN): 0.0,
    }
    figure = found["removed", "recall", "all"]
    assert figure.experiment == "curation"
    assert (figure.rows, figure.documents) == (3, 3)
    assert figure.low < figure.value < figure.high
