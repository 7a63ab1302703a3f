"""Figures of raters and of rounds from made-up scores, whose figures are known, against plain counts of every draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from x_instruction.errors import CorpusError
from x_instruction.experiments.claims import analysis, ranking, raters, ratings, rounds
from x_instruction.experiments.claims.analysis import Figure
from x_instruction.experiments.claims.parts import Result
from x_instruction.experiments.claims.pool import Document
from x_instruction.refine import metrics


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "DRAWS", 50)


FLAWS = raters.STRATEGIES[1:]


def test_bootstrap_figures_equal_those_of_the_drawn_rows() -> None:
    random = np.random.default_rng(0)
    documents = [f"d{number}" for number in random.integers(8, size=60)]
    good = random.random(60) < 0.3
    # Few values, so that many are equal.
    scores = random.integers(6, size=60).astype(float)
    names = sorted(set(documents))
    drawn = np.vstack([np.ones(len(names)), random.multinomial(len(names), np.full(len(names), 1 / len(names)), 20)])
    kept = np.isin(np.arange(60), ranking.best(scores, 15))
    found = {
        "auroc": ranking.auroc(scores, good, documents)(drawn),
        "ap": ranking.average_precision(scores, good, documents)(drawn),
        "precision": ranking.precision(kept, good, documents)(drawn),
    }
    for number, times in enumerate(drawn):
        own = np.repeat(np.arange(60), [int(times[names.index(name)]) for name in documents])
        assert found["auroc"][number] == pytest.approx(metrics.auroc(scores[own], good[own]))
        assert found["ap"][number] == pytest.approx(average_precision_score(good[own], scores[own]))
        assert found["precision"][number] == pytest.approx(good[own][kept[own]].mean())


def test_a_draw_without_good_pairs_has_no_figure() -> None:
    scores, good, documents = [2.0, 1.0], [True, False], ["a", "b"]
    for figure in (ranking.auroc(scores, good, documents), ranking.average_precision(scores, good, documents)):
        assert figure(np.array([[1.0, 1.0], [0.0, 2.0]])).tolist() == pytest.approx([1.0, float("nan")], nan_ok=True)


def test_equal_scores_share_the_first_place() -> None:
    first, rank = ranking.places([[3, 1, 2], [2, 2, 1], [1, 1, 1], [0, 1, 0]])
    assert first.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 0])
    assert rank.tolist() == pytest.approx([1, 1.5, 2, 2.5])


def part(pages: int, name: str, good: float, flawed: Sequence[float]) -> Result:
    """Pages of two languages each, with the same scores on each."""
    rows = [
        {"id": f"{page}/{strategy}", "document": str(page // 2), "strategy": strategy, "characters": 10 + place}
        for page in range(pages)
        for place, strategy in enumerate(raters.STRATEGIES)
    ]
    return {"rows": rows, "scores": {name: [good, *flawed] * pages}}


@pytest.fixture(scope="module")
def rated() -> dict[str, Result]:
    """One rater that misses truncated pairs, and one that misses those with another instruction."""
    return {
        f"{name}{suffix}": part(8, name, 1.0, flawed)
        for name, flawed in {"pmi": [2, 2, 0, 0, 0], "trained": [0, 0, 1, 0, 2]}.items()
        for suffix in ("", "-development")
    }


def value(figures: Sequence[Figure], measure: str, arm: str, baseline: str = "", group: str = "all") -> float:
    [found] = [f for f in figures if (f.measure, f.arm, f.baseline, f.group) == (measure, arm, baseline, group)]
    assert np.isnan(found.low) or found.low <= found.value <= found.high
    return found.value


def test_raters_are_compared_by_flaw(rated: dict[str, Result]) -> None:
    found = raters.of_results(rated, ["pmi", "trained"])
    by_flaw = {arm: [value(found, "auroc", arm, group=flaw) for flaw in FLAWS] for arm in ("pmi", "trained")}
    assert by_flaw == {"pmi": [0, 0, 1, 1, 1], "trained": [1, 1, 0.5, 1, 0]}
    assert value(found, "auroc", "pmi") == pytest.approx(0.6)
    assert value(found, "auroc", "trained", "pmi") == pytest.approx(0.1)
    assert value(found, "auroc", "length") == 0, "the good pair is the shortest"
    assert (value(found, "first", "pmi"), value(found, "rank", "pmi")) == (0, 3)
    # A flawed pair that one rater likes most, the other likes least.
    assert value(found, "auroc", "combination") >= value(found, "auroc", "trained")


def test_a_combination_needs_every_rater(rated: dict[str, Result]) -> None:
    some = {name: one for name, one in rated.items() if name != "trained-development"}
    arms = {figure.arm for figure in raters.of_results(some, ["pmi", "trained"])}
    assert arms == {"pmi", "trained", "length", "random"}
    assert raters.of_results({}, ["pmi"]) == []


def test_parts_of_different_examples_are_refused(rated: dict[str, Result]) -> None:
    with pytest.raises(CorpusError, match="the parts of raters were made of different examples"):
        raters.of_results(rated | {"pmi": part(9, "pmi", 1, [0] * 5)}, ["pmi", "trained"])


def mixture(scores: Sequence[float]) -> list[dict[str, Any]]:
    """One good pair for three bad ones, of one document each."""
    return [
        {"id": str(number), "document": str(number // 4), "kind": "other_page" if number % 4 else "clean", "score": one}
        for number, one in enumerate(scores)
    ]


def test_rounds_are_compared_over_all_seeds() -> None:
    right, wrong = [3.0, 2.0, 1.0, 0.0] * 5, [0.0, 1.0, 2.0, 3.0] * 5
    results = {
        "start": {"pool": mixture(wrong), "heldout": mixture(wrong)},
        **{f"control-{seed}": {"pool": mixture(right), "heldout": mixture(wrong)} for seed in (0, 1)},
        "round-1-0": {"pool": mixture(right), "heldout": mixture(right)},
        "round-1-1": {"pool": mixture(right), "heldout": mixture(wrong)},
    }
    found = rounds.of_results(results, [0, 1], 1)
    assert value(found, "ap", "rounds") == 1
    assert value(found, "auroc", "rounds", "control", "heldout") == pytest.approx(0.5), "one seed of two is right"
    assert value(found, "precision", "rounds", "start", "heldout") == pytest.approx(0.5)
    assert value(found, "precision", "rounds", "control") == 0
    del results["round-1-1"]
    assert {figure.arm for figure in rounds.of_results(results, [0, 1], 1)} == {"start", "control"}
    assert rounds.of_results({}, [0], 1) == []


def test_pairs_that_a_run_drops_before_it_rates_are_told_apart() -> None:
    """The only pair that the start rates above the good one is not in the language of its document."""
    kinds = ("clean", "untranslated", "shuffled", "near_miss")
    rows = [
        {"id": f"{n}", "document": f"{n // 4}", "kind": kinds[n % 4], "score": (2.0, 3.0, 1.0, 0.0)[n % 4]}
        for n in range(20)
    ]
    found = rounds.of_results({"start": {"pool": mixture([1.0] * 20), "heldout": rows}}, [0], 1)
    assert value(found, "auroc", "start", group="screened") == 1
    assert value(found, "auroc", "start", group="heldout") == pytest.approx(2 / 3)
    assert [value(found, "auroc", "start", group=kind) for kind in kinds[1:]] == [0, 1, 1]


def page(name: str, document: str, source: str = "libreoffice-help") -> Document:
    return Document(name, document, "fi", source, "Title", "Text.", "Text.")


def test_stories_that_the_included_rater_was_trained_on_are_left_out() -> None:
    pool = [page("1", "a"), page("2", "b", "african-storybook"), page("3", "c", "pratham-books")]
    assert [one.id for one in ratings.new(pool, ratings.SHIPPED)] == ["1"]
    assert ratings.new(pool, "an-adapter-of-ours") == pool


def test_pages_are_spread_over_documents() -> None:
    pages = [page("1", "a"), page("2", "a"), page("3", "a"), page("4", "b"), page("5", "b"), page("6", "c")]
    found = ratings.spread(pages, 5, lambda one: one.document, lambda one: one.id)
    assert [one.id for one in found] == ["1", "4", "6", "2", "5"]
