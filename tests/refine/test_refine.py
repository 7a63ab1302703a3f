"""Which pairs are kept, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import factories
import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.config.model import Model, Server
from x_instruction.config.refine import UNASKED, Refine
from x_instruction.config.training import TrainConfig
from x_instruction.engines import Request, Result
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.errors import NotCapable, RecipeError
from x_instruction.records import Candidate, Dropped, Rated, as_row
from x_instruction.refine import RATERS, check, keep, rate, refine, threshold
from x_instruction.refine.calibration import Calibration

SETTINGS = Refine(rater="pmi", model=Model(name="m"), min_score=0.0, keep=1)
NAN, INF = float("nan"), float("inf")


def rated(number: int, score: float, id: str = "fi-1") -> Rated:
    return factories.rated(
        "Sauna on lämmin.", "fi", id=id, instruction=f"Instruction {number}?", candidate=number, score=score
    )


def outcomes(scores: Sequence[float], **changes: object) -> list[str]:
    """Reason, or ``kept``, per candidate of one passage."""
    settings = SETTINGS.replace(**changes)  # type: ignore[arg-type]
    found = keep([rated(number, score) for number, score in enumerate(scores)], settings)
    return [outcome.reason if isinstance(outcome, Dropped) else "kept" for outcome in found]


class Mute:
    """An engine that can do nothing."""

    model, revision, chat = "mute", "r", False
    capabilities: frozenset[str] = frozenset({"complete"})


@pytest.mark.parametrize(("rater", "verb"), [("pmi", "score"), ("prompted", "choose")])
def test_an_engine_that_cannot_score_or_choose_is_refused(candidates: list[Candidate], rater: str, verb: str) -> None:
    def ask(requests: Sequence[Request]) -> list[Result]:
        raise AssertionError("asked all the same")

    settings = SETTINGS.replace(rater=rater)  # type: ignore[arg-type]
    with pytest.raises(NotCapable, match=rf"the rater '{rater}' needs an engine that can {verb}, this one cannot"):
        rate(candidates, settings, Mute(), ask)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scores", "changes", "expected"),
    [
        ([], {}, []),
        ([NAN], {}, ["no_score"]),
        ([INF, -INF, 1.0], {}, ["no_score", "no_score", "kept"]),
        ([NAN, 1.0, NAN, 2.0], {}, ["no_score", "not_best", "no_score", "kept"]),
        ([NAN, 1.0, 0.5], {"keep": 2}, ["no_score", "kept", "kept"]),
        ([1.0, 3.0, 2.0], {}, ["not_best", "kept", "not_best"]),
        ([1.0, 3.0, 2.0], {"keep": 2}, ["not_best", "kept", "kept"]),
        ([1.0, 3.0, 2.0], {"keep": 9}, ["kept", "kept", "kept"]),
        ([2.0, 2.0, 2.0], {}, ["kept", "not_best", "not_best"]),
        ([2.0, 2.0, 2.0], {"keep": 2}, ["kept", "kept", "not_best"]),
        ([-1.0, -2.0], {}, ["below_threshold", "below_threshold"]),
        ([0.0], {}, ["kept"]),
        ([4.0, 3.5, 1.0], {"min_score": 3.5, "keep": 2}, ["kept", "kept", "below_threshold"]),
        ([-5.0, -1.0], {"min_score": -INF}, ["not_best", "kept"]),
    ],
)
def test_keep_by_hand(scores: list[float], changes: dict[str, object], expected: list[str]) -> None:
    assert outcomes(scores, **changes) == expected


def calibrated(folder: Path) -> Refine:
    """Settings of a rater whose validation pairs were half good from 0.3 on, and all good from 0.8 on."""
    (folder / "adapter_config.json").write_text("{}")
    Calibration(1.0, ((0.3, 0.5, 1.0), (0.8, 1.0, 0.6))).write(folder)
    model = Model(name="m", adapter=str(folder))
    return Refine(rater="trained", model=model, min_score=0.1, precision=0.9, keep=9)


def test_an_untrained_rater_is_refused(tmp_path: Path) -> None:
    untuned = Refine(rater="trained", model=Model(name="embedded"))
    # The other raters that may use an adapter do without.
    check(untuned.replace(rater="combined"))
    with pytest.raises(
        RecipeError,
        match=r"the rater 'trained' needs a model that was trained to answer with levels, which embedded does not",
    ):
        check(untuned)
    check(untuned.replace(train=TrainConfig()))
    check(untuned.replace(model=Model(name="served", engine="tgi", server=Server(url="http://127.0.0.1:1"))))
    # All weights of a model may have been tuned, and then it has no adapter.
    whole = untuned.replace(model=Model(name=str(tmp_path)))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RecipeError, match="does not seem to be"):
        check(whole)
    Calibration(1.0).write(tmp_path)
    check(whole)


def test_a_precision_without_a_calibration_is_refused(tmp_path: Path, candidates: list[Candidate]) -> None:
    def ask(requests: Sequence[Request]) -> list[Result]:
        raise AssertionError("asked all the same")

    settings = calibrated(tmp_path).replace(model=Model(name="m"))
    with pytest.raises(RecipeError, match=r"no calibration\.json beside m: train the rater"):
        refine(candidates, settings, Mute(), ask)  # type: ignore[arg-type]


def test_a_precision_sets_the_threshold(tmp_path: Path) -> None:
    settings = calibrated(tmp_path)
    assert threshold(settings) == 0.8
    assert threshold(settings.replace(precision=0.5)) == 0.3
    assert threshold(settings.replace(precision=None)) == 0.1
    assert threshold(settings.replace(precision=None, rater="none")) == -INF
    found = keep([rated(number, score) for number, score in enumerate((0.79, 0.8, 0.9))], settings)
    assert [outcome.reason if isinstance(outcome, Dropped) else "kept" for outcome in found] == [
        "below_threshold",
        "kept",
        "kept",
    ]


def test_candidates_compete_only_within_their_passage() -> None:
    records = [rated(0, 1.0, "fi-1"), rated(0, 9.0, "fi-2"), rated(1, 2.0, "fi-1"), rated(1, 8.0, "fi-2")]
    found = list(keep(records, SETTINGS))
    assert [o for o in found if isinstance(o, Rated)] == [records[1], records[2]]
    assert [o.id for o in found if isinstance(o, Dropped)] == ["fi-1-0", "fi-2-1"]


def test_ties_go_to_the_first_candidate_in_any_order() -> None:
    records = [rated(2, 1.0), rated(0, 1.0), rated(1, 1.0)]
    assert [o.candidate for o in keep(records, SETTINGS) if isinstance(o, Rated)] == [0]


def test_a_dropped_pair_records_its_score_and_instruction() -> None:
    (found,) = keep([rated(3, -0.12345)], SETTINGS)
    assert found == Dropped(id="fi-1-3", reason="below_threshold", detail="-0.123", text="Instruction 3?")


@given(st.lists(st.floats(-9, 9) | st.sampled_from([NAN, INF, -INF, 0.0]), max_size=8), st.integers(1, 4))
def test_the_best_candidates_above_the_threshold_are_kept(scores: list[float], number: int) -> None:
    found = outcomes(scores, keep=number)
    assert len(found) == len(scores)
    good = sorted((s for s in scores if math.isfinite(s) and s >= 0), reverse=True)[:number]
    assert sorted((s for s, o in zip(scores, found, strict=True) if o == "kept"), reverse=True) == good
    assert [o == "no_score" for o in found] == [not math.isfinite(s) for s in scores]


@pytest.mark.parametrize("rater", RATERS)
def test_a_rated_record_has_the_candidate_and_its_rating(
    engine: TransformersEngine, candidates: list[Candidate], rater: str
) -> None:
    def ask(requests: Sequence[Request]) -> list[Result]:
        return [result for request in requests for _, result in engine.answer([request])]

    settings = SETTINGS.replace(rater=rater, response_tokens=16, min_score=-INF)  # type: ignore[arg-type]
    found = rate(candidates[:3], settings, engine, ask)
    for candidate, record in zip(candidates, found, strict=False):
        assert as_row(candidate).items() <= as_row(record).items()
        named = (rater, "") if rater in UNASKED else (f"{rater}:{engine.model}", engine.revision)
        assert (record.rater, record.rater_revision) == named
        assert (record.p_best is None) == (rater not in ("trained", "prompted", "combined"))
    assert len([o for o in refine(candidates[:3], settings, engine, ask) if isinstance(o, Rated)]) == 1
    assert list(refine([], settings, engine, ask)) == []
