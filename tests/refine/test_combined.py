"""Levels and likelihood together, by hand and on a real model; and no rater at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.engines import Choice, Chosen, Failed, Request, Result, Scored, required_capability
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import NotCapable, RecipeError
from x_instruction.records import Candidate, Dropped, Rated
from x_instruction.refine import combined, keep, null_rater, pmi, rate, trained

SETTINGS = Refine(rater="combined", model=Model(name="m"), direction="instruction", response_tokens=16, pmi_weight=2.0)
FAILED = Failed("engine_timeout", "too late")


def rating(
    engine: TransformersEngine, candidate: Candidate, p: Sequence[float] | None, gain: float | None, weight: float = 2.0
) -> combined.Rating | Failed:
    """A rating by answers that are given: probabilities and the gain in nats, None for a failure."""

    def ask(requests: Sequence[Request]) -> list[Result]:
        if isinstance(requests[0], Choice):
            return [FAILED if p is None else Chosen(tuple(p), 1)]
        assert len(requests) == 2
        return [FAILED if gain is None else Scored(-10 + gain, 3, 1), Scored(-10, 3, 1)]

    (found,) = combined.rate([candidate], SETTINGS.replace(pmi_weight=weight), engine, ask)
    return found


@pytest.mark.parametrize("verbs", [{"choose"}, {"score"}, {"complete"}])
def test_an_engine_that_cannot_do_both(candidates: list[Candidate], verbs: set[str]) -> None:
    class Half:
        model, revision, chat, capabilities = "half", "r", False, frozenset(verbs)

    with pytest.raises(NotCapable, match="the rater 'combined' needs an engine that can choose and score"):
        rate(candidates, SETTINGS, Half(), lambda requests: [])  # type: ignore[arg-type]


def test_a_failure_of_either_is_one(engine: TransformersEngine, candidates: list[Candidate]) -> None:
    assert rating(engine, candidates[0], None, 1.0) == FAILED
    assert rating(engine, candidates[0], (0.5, 0.3, 0.2), None) == FAILED


def test_precision_has_no_threshold_here() -> None:
    with pytest.raises(RecipeError, match=r'precision is 0\.9 and rater is "combined", expected rater = "trained"'):
        SETTINGS.replace(precision=0.9)


@pytest.mark.parametrize(
    ("p", "gain", "weight", "wanted"),
    [
        # Odds of 1 to 1 with nothing gained; ln 3 twice is 9 to 1; half weight is 3 to 1; ln 3 lost is 1 to 3.
        ((0.5, 0.3, 0.2), 0.0, 2.0, (0.5, 0.3, 0.2)),
        ((0.5, 0.3, 0.2), math.log(3), 2.0, (0.9, 0.06, 0.04)),
        ((0.5, 0.3, 0.2), math.log(3), 1.0, (0.75, 0.15, 0.1)),
        ((0.5, 0.25, 0.25), -math.log(3), 1.0, (0.25, 0.375, 0.375)),
        # Odds of 1 to 4 times 4 are even.
        ((0.2, 0.0, 0.8), math.log(4), 1.0, (0.5, 0.0, 0.5)),
        ((0.2, 0.2, 0.6), 5.0, 0.0, (0.2, 0.2, 0.6)),
        ((1.0, 0.0, 0.0), 0.0, 2.0, (1.0, 0.0, 0.0)),
        ((0.0, 1.0, 0.0), 0.0, 2.0, (0.0, 1.0, 0.0)),
        ((0.5, 0.5, 0.0), 1e6, 2.0, (1.0, 0.0, 0.0)),
        ((0.5, 0.5, 0.0), -1e6, 2.0, (0.0, 1.0, 0.0)),
    ],
)
def test_log_odds_by_hand(
    engine: TransformersEngine,
    candidates: list[Candidate],
    p: tuple[float, ...],
    gain: float,
    weight: float,
    wanted: tuple[float, ...],
) -> None:
    found = rating(engine, candidates[0], p, gain, weight)
    assert not isinstance(found, Failed)
    assert (found.p_best, found.p_flawed, found.p_worst) == pytest.approx(wanted, abs=1e-9)
    assert found.score == found.p_best


def test_a_gain_that_is_no_number_gives_no_score(engine: TransformersEngine, candidates: list[Candidate]) -> None:
    found = rating(engine, candidates[0], (0.5, 0.3, 0.2), math.nan)
    assert not isinstance(found, Failed)
    assert math.isnan(found.score)


def test_it_is_both_raters_on_a_real_model(
    engine: TransformersEngine, candidates: list[Candidate], tmp_path: Path
) -> None:
    kinds: list[set[str]] = []
    with RequestCache(tmp_path / "a.sqlite", engine, {}) as ledger:

        def ask(requests: Sequence[Request]) -> list[Result]:
            kinds.append({required_capability(request) for request in requests})
            return ledger.ask(requests)

        found = combined.rate(candidates, SETTINGS, engine, ask)
        levels, gains = (module.rate(candidates, SETTINGS, engine, ledger.ask) for module in (trained, pmi))
    assert kinds == [{"choose"}, {"score"}]
    for level, gain, both in zip(levels, gains, found, strict=True):
        assert not isinstance(level, Failed)
        assert not isinstance(gain, Failed)
        assert not isinstance(both, Failed)
        odds = level.score / (1 - level.score) * math.exp(2 * gain.score)
        assert both.score == pytest.approx(odds / (1 + odds))


def test_unread_pairs_are_kept_by_their_number(engine: TransformersEngine, candidates: list[Candidate]) -> None:
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


def test_nothing_to_rate(engine: TransformersEngine) -> None:
    assert combined.rate([], SETTINGS, engine, lambda requests: []) == []
