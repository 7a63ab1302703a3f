"""Comparison of raters: their settings, and figures by hand."""

from __future__ import annotations

import json
import math

import pytest

from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.config.training import TrainConfig
from x_instruction.errors import RecipeError
from x_instruction.records import Rated, dropped, extend
from x_instruction.refine.compare import KEEP_ALL, RaterMetrics, candidate, rater_metrics, settings_for
from x_instruction.refine.labels import Example

SETTINGS = Refine(
    rater="trained",
    model=Model(name="m", adapter="own"),
    prompt="rate-trained",
    min_score=0.6,
    response_tokens=40,
    train=TrainConfig(),
)
PLAIN = SETTINGS.replace(min_score=0.0)


def example(id: str, level: str, tag: str = "fi") -> Example:
    return Example(
        id=id,
        document=id,
        language=tag,
        instruction_language="en",
        instruction=f"Why {id}?",
        text="Sauna on lämmin.",
        level=level,
        strategy="",
    )


def rated(pair: Example, score: float, p_best: float | None = None) -> Rated:
    return extend(
        candidate(pair, 0),
        Rated,
        rater="r",
        rater_revision="r",
        score=score,
        p_best=p_best,
        p_flawed=None,
        p_worst=None,
    )


def measured(settings: Refine, *rows: tuple[str, float, float | None]) -> RaterMetrics:
    pairs = [example(str(number), level) for number, (level, _, _) in enumerate(rows)]
    records = [rated(pair, score, p) for pair, (_, score, p) in zip(pairs, rows, strict=True)]
    (found,) = rater_metrics(pairs, records, settings, 0)
    return found


def test_a_precision_needs_a_calibration() -> None:
    settings = PLAIN.replace(precision=0.9, model=Model(name="m"))
    with pytest.raises(RecipeError, match=r"no calibration.json beside m"):
        rater_metrics([], [], settings, 0)


def test_each_rater_gets_its_own_settings() -> None:
    own = settings_for(SETTINGS, "trained")
    assert own == SETTINGS.replace(train=None)
    assert settings_for(SETTINGS, "trained", "other").model.adapter == "other"
    for name in ("pmi", "prompted"):
        found = settings_for(SETTINGS, name, "other")
        assert (found.rater, found.model, found.prompt, found.min_score) == (name, Model(name="m"), "auto", KEEP_ALL)
    # What a model was tuned to read is read by both that ask it.
    both = settings_for(SETTINGS, "combined", "other")
    assert (both.model.adapter, both.prompt, both.min_score) == ("other", "rate-trained", KEEP_ALL)
    own = settings_for(SETTINGS.replace(rater="prompted", prompt="rate-base", train=None), "combined")
    assert own.prompt == "auto"


def test_figures_by_hand() -> None:
    found = measured(
        PLAIN, ("best", 0.9, 0.9), ("best", 0.4, 0.4), ("flawed", 0.7, 0.7), ("flawed", 0.2, 0.2), ("worst", 0.1, 0.1)
    )
    # Best above worst in both couples; above the rest in all but the one of 0.4 and 0.7.
    assert found.best_worst == (1.0, 1.0, 1.0)
    assert found.best_rest[0] == pytest.approx(5 / 6)
    assert found.best_rest[1] < 5 / 6 < found.best_rest[2]
    assert (found.by, found.threshold) == ("p_best", 0.5)
    assert (found.precision, found.recall) == (0.5, 0.5)
    assert found.calibration_error == pytest.approx((0.1 + 0.6 + 0.7 + 0.2 + 0.1) / 5)
    assert (found.rater, found.language, found.pairs, found.failed) == ("trained", "fi", 5, 0)


def test_thresholds_are_compared_on_the_right_scale() -> None:
    rows = (("best", 4.0, 0.4), ("worst", -1.0, 0.3))
    # The rater's own threshold is of its score; without one probability decides, and without that a gain.
    own = measured(PLAIN.replace(rater="prompted", min_score=3.5, train=None), *rows)
    assert (own.by, own.threshold, own.precision, own.recall) == ("score", 3.5, 1.0, 1.0)
    half = measured(settings_for(PLAIN.replace(rater="pmi", train=None), "trained"), *rows)
    assert (half.by, half.threshold, half.recall) == ("p_best", 0.5, 0.0)
    assert math.isnan(half.precision)
    gain = measured(PLAIN, *((level, score, None) for level, score, _ in rows))
    assert (gain.by, gain.threshold, gain.precision, gain.recall) == ("score", 0.0, 1.0, 1.0)
    assert math.isnan(gain.calibration_error)


def test_failures_and_missing_levels_are_handled() -> None:
    pairs = [example("a", "best"), example("b", "best"), example("c", "flawed")]
    gone = dropped("a", "engine_timeout")
    (found,) = rater_metrics(pairs, [gone, rated(pairs[1], math.nan), rated(pairs[2], 0.1)], PLAIN, 0)
    assert (found.pairs, found.failed) == (2, 1)
    # A pair with a NaN score counts as the worst.
    assert found.best_rest[0] == 0.0
    assert math.isnan(found.best_worst[0])
    table = found.plain()
    assert table["best_worst"] == {"value": None, "low": None, "high": None}
    assert table["best_rest"]["value"] == 0.0
    assert json.loads(json.dumps(table, allow_nan=False))["pairs"] == 2
    (nothing,) = rater_metrics(pairs[:1], [gone], PLAIN, 0)
    assert (nothing.pairs, nothing.failed) == (0, 1)


def test_figures_are_given_by_language_and_overall() -> None:
    pairs = [example("a", "best"), example("b", "worst"), example("c", "best", "th"), example("d", "worst", "th")]
    scores = [0.9, 0.5, 0.1, 0.0]
    found = rater_metrics(pairs, [rated(p, s, s) for p, s in zip(pairs, scores, strict=True)], PLAIN, 0)
    assert [(f.language, f.pairs, f.best_worst[0]) for f in found] == [("fi", 2, 1.0), ("th", 2, 1.0), ("all", 4, 0.75)]


def test_a_labelled_pair_becomes_a_candidate() -> None:
    pair = example("a", "best")
    found = candidate(pair, 3)
    assert (found.text, found.language, found.instruction, found.instruction_language, found.candidate) == (
        pair.text,
        "fi",
        "Why a?",
        "en",
        3,
    )
