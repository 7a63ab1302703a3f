"""A logistic combination of raters, by hand and on a real model; and no rater at all."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.engines import Choice, Chosen, Failed, Request, Result, Scored
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import CorpusError, NotCapable, RecipeError
from x_instruction.records import Candidate, Dropped, Rated
from x_instruction.refine import (
    Rating,
    check,
    combined,
    consensus,
    contrastive,
    keep,
    logistic,
    null_rater,
    pmi,
    rate,
    trained,
)

SETTINGS = Refine(rater="combined", model=Model(name="m"), response_tokens=16)
FAILED = Failed("engine_timeout", "too late")


def weighed(folder: Path, *combinations: dict[str, float], intercept: float = 0.0) -> Refine:
    """Settings with a file of these weights."""
    table = [{"weights": weights, "intercept": intercept, "prior": 0.5} for weights in combinations]
    path = folder / "weights.json"
    path.write_text(json.dumps({"fitted_on": "nothing", "combinations": table}))
    return SETTINGS.replace(weights=str(path))


def rating(
    engine: TransformersEngine, candidate: Candidate, settings: Refine, p: Sequence[float] | None, gain: float | None
) -> Rating | Failed:
    """A rating by answers that are given: probabilities, and the gain in nats; None for a failure."""

    def ask(requests: Sequence[Request]) -> list[Result]:
        if isinstance(requests[0], Choice):
            return [FAILED if p is None else Chosen(tuple(p), 1)]
        return [FAILED if gain is None else Scored(-10 + gain, 2, 1), Scored(-10, 2, 1)]

    (found,) = combined.rate([candidate], settings, engine, ask)
    return found


@pytest.mark.parametrize(
    ("weights", "intercept", "p", "gain", "best"),
    [
        # Even odds; ln 3 is 3 to 1, and twice that 9 to 1; the intercept adds.
        ({"trained": 1.0, "pmi": 0.0}, 0.0, (0.5, 0.3, 0.2), 0.0, 0.5),
        ({"trained": 1.0, "pmi": 0.0}, 0.0, (0.75, 0.2, 0.05), 0.0, 0.75),
        ({"trained": 2.0, "pmi": 0.0}, 0.0, (0.75, 0.2, 0.05), 0.0, 0.9),
        ({"trained": 0.0, "pmi": 1.0}, 0.0, (0.5, 0.3, 0.2), math.log(3), 0.75),
        ({"trained": 0.0, "pmi": 1.0}, math.log(3), (0.5, 0.3, 0.2), math.log(3), 0.9),
        ({"trained": 0.0, "pmi": -1.0}, 0.0, (0.5, 0.3, 0.2), math.log(3), 0.25),
        ({"trained": 1.0, "pmi": 1.0}, 0.0, (0.5, 0.5, 0.0), 1e6, 1.0),
        ({"trained": 1.0, "pmi": 1.0}, 0.0, (0.5, 0.5, 0.0), -1e6, 0.0),
    ],
)
def test_odds_by_hand(
    engine: TransformersEngine,
    candidates: list[Candidate],
    tmp_path: Path,
    weights: dict[str, float],
    intercept: float,
    p: tuple[float, ...],
    gain: float,
    best: float,
) -> None:
    found = rating(engine, candidates[0], weighed(tmp_path, weights, intercept=intercept), p, gain)
    assert isinstance(found, Rating)
    assert found.score == found.p_best == pytest.approx(best, abs=1e-9)


def test_a_failure_of_one_rater_fails_the_combination(
    engine: TransformersEngine, candidates: list[Candidate], tmp_path: Path
) -> None:
    settings = weighed(tmp_path, {"trained": 1.0, "pmi": 1.0})
    assert rating(engine, candidates[0], settings, None, 1.0) == FAILED
    assert rating(engine, candidates[0], settings, (0.5, 0.3, 0.2), None) == FAILED


def test_a_nan_gain_gives_no_score(engine: TransformersEngine, candidates: list[Candidate], tmp_path: Path) -> None:
    found = rating(engine, candidates[0], weighed(tmp_path, {"trained": 1.0, "pmi": 1.0}), (0.5, 0.3, 0.2), math.nan)
    assert isinstance(found, Rating)
    assert math.isnan(found.score)


def test_the_first_usable_combination_is_used(tmp_path: Path, candidates: list[Candidate]) -> None:
    settings = weighed(tmp_path, {"trained": 1.0, "pmi": 1.0}, {"pmi": 1.0}, {"consensus": 1.0})
    for verbs, names in (
        (("choose", "score"), ("trained", "pmi")),
        (("score",), ("pmi",)),
        (("complete",), ("consensus",)),
    ):
        assert combined.choose(settings, frozenset(verbs)).features == names
    with pytest.raises(NotCapable, match="the rater 'combined' needs an engine that can choose for the weights in"):
        combined.choose(weighed(tmp_path, {"pmi": 1.0, "trained": 1.0}, {"trained": 1.0}), frozenset({"score"}))


def test_included_weights_exist_for_models_that_cannot_score() -> None:
    assert [one.features for one in combined.read(combined.INCLUDED)][-1] == ("consensus",)
    assert combined.choose(SETTINGS, frozenset()).features == ("consensus",)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", "is not a file of weights"),
        ("{", "is not a file of weights"),
        ('{"combinations": []}', "has no combination"),
        ('{"combinations": [{"weights": {"luck": 1}, "intercept": 0, "prior": 0.5}]}', "names the feature 'luck'"),
        ('{"combinations": [{"weights": {"pmi": "x"}, "intercept": 0, "prior": 0.5}]}', "is not a file of weights"),
    ],
)
def test_files_without_weights_are_refused(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "weights.json"
    path.write_text(content)
    with pytest.raises(RecipeError, match=problem):
        check(SETTINGS.replace(weights=str(path)))


def test_missing_weights_are_reported() -> None:
    with pytest.raises(RecipeError, match=r"refine\.weights is 'nowhere\.json', which is not a file"):
        check(SETTINGS.replace(weights="nowhere.json"))


def test_weights_beside_the_adapter_override_the_included_ones(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    settings = SETTINGS.replace(model=Model(name="m", adapter=str(tmp_path)))
    assert combined.weights(settings) == combined.INCLUDED
    before = combined.digest(settings)
    fitted = combined.Combination(("pmi", "trained"), logistic.Logistic((1.0, 0.5), -1.0), 0.2)
    combined.write([combined.with_consensus(fitted)], "a test", tmp_path / combined.FILE)
    assert combined.weights(settings) == tmp_path / combined.FILE
    (found,) = combined.read(tmp_path / combined.FILE)
    assert found.features == ("pmi", "trained", "consensus")
    assert combined.digest(settings) != before


def test_precision_is_refused_for_the_combined_rater() -> None:
    with pytest.raises(RecipeError, match=r'precision is 0\.9 and rater is "combined", expected rater = "trained"'):
        SETTINGS.replace(precision=0.9)


def test_the_score_combines_the_raters_on_a_real_model(
    engine: TransformersEngine, candidates: list[Candidate], tmp_path: Path
) -> None:
    settings = weighed(tmp_path, {"trained": 0.5, "contrastive": 0.25, "pmi": 2.0, "consensus": 3.0}, intercept=-1.0)
    whole = settings.replace(direction="instruction")
    with RequestCache(tmp_path / "a.sqlite", engine, {}) as cache:
        found = combined.rate(candidates, settings, engine, cache.ask)
        columns = [
            [r.score for r in module.rate(candidates, whole, engine, cache.ask) if isinstance(r, Rating)]
            for module in (trained, contrastive, pmi, consensus)
        ]
    assert len(found) == len(candidates)
    for together, level, contrast, gain, agreement in zip(found, *columns, strict=True):
        assert isinstance(together, Rating)
        odds = -1 + 0.5 * math.log(level / (1 - level)) + 0.25 * contrast + 2 * gain + 3 * agreement
        assert together.score == pytest.approx(1 / (1 + math.exp(-odds)))


def test_contrast_by_hand(engine: TransformersEngine, candidates: list[Candidate]) -> None:
    """The mean is over the likelihoods, and the other pages are of the same shard."""
    asked: list[Request] = []

    def ask(requests: Sequence[Request]) -> list[Result]:
        asked.extend(requests)
        return [Scored(-float(number), 4, 1) for number in range(len(requests))]

    settings = SETTINGS.replace(rater="contrastive", other_pages=1)
    thai = [candidate for candidate in candidates if candidate.language == "th"]
    whole = contrastive.rate(thai, settings, engine, ask)
    known = {(r.prompt, r.continuation): -float(n) for n, r in enumerate(asked)}  # type: ignore[union-attr]
    # Each instruction on either page.
    assert len(known) == len(thai) == 6
    for candidate, found in zip(thai, whole, strict=True):
        own = pmi.given(candidate, engine.truncate(candidate.text, 16))
        (other,) = {text for text in (c.text for c in thai) if text != candidate.text}
        against = pmi.given(candidate, engine.truncate(other, 16))
        expected = known[own.prompt, own.continuation] - known[against.prompt, against.continuation]
        assert isinstance(found, Rating)
        assert found.score == pytest.approx(expected)
    halves = contrastive.rate(thai, settings.replace(per_token=True), engine, ask)
    assert len(halves) == len(thai)


def test_a_single_page_has_no_contrast(engine: TransformersEngine, candidates: list[Candidate]) -> None:
    alone = [candidate for candidate in candidates if candidate.id == candidates[0].id]

    def ask(requests: Sequence[Request]) -> list[Result]:
        return [Scored(-1.0 if "title of" in str(r.prompt)[:60] else -3.0, 2, 1) for r in requests]

    ratings = contrastive.rate(alone, SETTINGS.replace(rater="contrastive"), engine, ask)
    assert all(isinstance(rating, Rating) and math.isfinite(rating.score) for rating in ratings)


def test_consensus_prefers_the_instruction_that_others_agree_with(
    candidates: list[Candidate], engine: TransformersEngine
) -> None:
    """The majority of three wins. A single candidate has no agreement."""
    texts = ("How is fish soup cooked?", "Explain how to cook a soup of fish.", "Who won the election in Peru?")
    page = [c for c in candidates if c.id == candidates[0].id]
    three = [dataclasses.replace(c, instruction=text) for c, text in zip(page, texts, strict=True)]
    alone = next(c for c in candidates if c.id != page[0].id)
    settings = Refine(rater="consensus", model=None)
    ratings = [
        r.score for r in consensus.rate([*three, alone], settings, engine, lambda r: []) if isinstance(r, Rating)
    ]
    assert max(ratings[:3]) in ratings[:2]
    assert ratings[2] == min(ratings[:3])
    assert ratings[3] == 0
    kept = [r for r in rate(three, settings, null_rater.NullEngine(), lambda r: []) if isinstance(r, Rated)]
    assert {(r.rater, r.rater_revision) for r in kept} == {("consensus", "")}
    assert consensus.rate([], settings, engine, lambda r: []) == []


def test_a_logistic_fit_finds_the_weights_of_its_data() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(4_000, 2)) * (1.0, 10.0)
    y = random.random(4_000) < logistic.sigmoid(x @ np.array([2.0, 0.1]) - 1.0)
    found = logistic.fit(x, y)
    assert found.weights == pytest.approx((2.0, 0.1), rel=0.15)
    assert found.intercept == pytest.approx(-1.0, abs=0.15)
    with pytest.raises(CorpusError, match="3 of 3 pairs are good"):
        logistic.fit([[1.0], [2.0], [3.0]], [True] * 3)


def test_weights_are_fitted_within_groups() -> None:
    """Within each page the second feature decides; the first tells pages apart, which orders nothing."""
    x = [[0.0, 0.0], [0.0, 1.0], [5.0, 0.0], [5.0, 2.0], [9.0, 3.0]]
    weights = logistic.fit_order(x, [0.1, 0.2, 0.7, 0.9, 0.5], ["a", "a", "b", "b", "c"])
    assert weights[0] == 0
    assert weights[1] > 0
    with pytest.raises(CorpusError, match="no group has two rows of different value"):
        logistic.fit_order([[0.0], [1.0]], [1.0, 1.0], ["a", "a"])


def test_odds_are_adjusted_for_the_prior() -> None:
    x, y = [[0.0], [1.0]] * 20, [False, True, True, False] * 10
    even, few = combined.fit(x, ("pmi",), y), combined.fit(x, ("pmi",), y, 0.2)
    assert (even.prior, few.prior) == (0.5, 0.2)
    assert few.model.intercept - even.model.intercept == pytest.approx(math.log(0.25), abs=0.05)


def test_the_rater_none_keeps_the_first_candidates(engine: TransformersEngine, candidates: list[Candidate]) -> None:
    def ask(requests: Sequence[Request]) -> list[Result]:
        raise AssertionError("asked all the same")

    settings = SETTINGS.replace(rater="none", keep=2, min_score=0.7)
    mixed = [candidates[number] for number in (2, 0, 1)]
    found = list(keep(rate(mixed, settings, engine, ask), settings))
    assert [record.candidate for record in found if isinstance(record, Rated)] == [0, 1]
    assert [record.reason for record in found if isinstance(record, Dropped)] == ["not_best"]
    kept = next(record for record in found if isinstance(record, Rated))
    assert (kept.rater, kept.rater_revision, kept.score, kept.p_best) == ("none", "", 0.0, None)
    assert null_rater.rate([], settings, engine, ask) == []


def test_no_candidates_send_no_requests(engine: TransformersEngine) -> None:
    assert combined.rate([], SETTINGS, engine, lambda requests: []) == []
