"""Temperature and thresholds, by hand and against a naive search."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from cached_models import cached
from hypothesis import given, settings
from hypothesis import strategies as st

from x_instruction.config.model import Model, Server
from x_instruction.errors import CorpusError, EngineError, RecipeError
from x_instruction.refine import calibration
from x_instruction.refine.calibration import Calibration, fit, read

FLAT = [[1 / 3, 1 / 3, 1 / 3]]
SURE = [[0.8, 0.1, 0.1]]


@pytest.mark.parametrize(
    ("probabilities", "levels", "error", "message"),
    [
        ([], [], CorpusError, "no validation pairs"),
        (FLAT * 2, [1, 2], CorpusError, "no validation pair has the level"),
        (FLAT, [0, 1], EngineError, r"probabilities of shape \(1, 3\) and levels of \(2,\), expected"),
        ([[0.5, 0.5]], [0], EngineError, r"shape \(1, 2\)"),
        (FLAT, [[0]], EngineError, r"levels of \(1, 1\)"),
        ([[math.nan, 0.5, 0.5]], [0], EngineError, "are invalid: train it again"),
        ([[math.inf, 0.5, 0.5]], [0], EngineError, "are invalid: train it again"),
        ([[-0.1, 0.6, 0.5]], [0], EngineError, "are invalid: train it again"),
        ([[0.5, 0.5, 0.5]], [0], EngineError, "are invalid: train it again"),
        (FLAT * 2, [0, 3], EngineError, r"levels are \[0, 3\], expected 0"),
        (FLAT * 2, [0, -1], EngineError, r"levels are \[-1, 0\], expected 0"),
    ],
)
def test_invalid_validation_pairs_are_refused(
    probabilities: list[list[float]], levels: list[int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(probabilities, levels)


def test_an_unreached_precision_is_reported() -> None:
    known = Calibration(1.0, ((0.2, 0.5, 1.0), (0.6, 0.8, 0.7), (0.9, 0.8, 0.4)))
    with pytest.raises(
        RecipeError, match=r"precision of 0.9 on .* the best was 0.800 at 0.600 \(recall 0.700\): lower"
    ):
        known.threshold(0.9)
    with pytest.raises(RecipeError, match="on its validation pairs, there are none"):
        Calibration(1.0).threshold(0.5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"temperature": 1}',
        '{"temperature": "warm", "curve": []}',
        '{"temperature": NaN, "curve": []}',
        '{"temperature": 0, "curve": []}',
        '{"temperature": 1e9, "curve": []}',
        '{"temperature": 1, "curve": [[1, 2]]}',
        '{"temperature": 1, "curve": [[0.5, NaN, 1]]}',
        '{"temperature": 1, "curve": 3}',
    ],
)
def test_a_damaged_file_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(EngineError, match=r"calibration\.json"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("right", "temperature"),
    # p_best = r / (r + 2) with r = 8^(1 / T), the ratio of the first probability to the others: half of the pairs best
    # wants r = 2, two thirds r = 4, four fifths leave 8 as it is, a third wants no difference at all, all the coldest.
    [(0.5, 3.0), (2 / 3, 1.5), (0.8, 1.0), (1 / 3, 20.0), (1.0, 0.05)],
)
def test_fitted_temperature_by_hand(right: float, temperature: float) -> None:
    best = round(60 * right)
    levels = [0] * best + [1, 2] * ((60 - best) // 2)
    assert fit(SURE * len(levels), levels).temperature == pytest.approx(temperature, rel=1e-6)


def test_applied_temperature_by_hand() -> None:
    # Roots of 0.64, 0.16 and 0.04 are 0.8, 0.4 and 0.2, of a sum of 1.4.
    row = np.array([0.64, 0.16, 0.04]) / 0.84
    assert Calibration(2.0).apply([row]).tolist()[0] == pytest.approx([0.8 / 1.4, 0.4 / 1.4, 0.2 / 1.4])
    assert Calibration(1.0).apply([row]).tolist()[0] == pytest.approx(row.tolist())


def test_certainty_stays_finite() -> None:
    found = Calibration(0.05).apply([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert found.ravel().tolist() == pytest.approx([1, 0, 0, 0, 0, 1])
    assert math.isfinite(fit([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [0, 1]).temperature)


def test_curve_by_hand() -> None:
    scores = [0.9, 0.7, 0.7, 0.4, 0.2]
    levels = [0, 0, 1, 2, 0]
    known = fit([[s, (1 - s) / 2, (1 - s) / 2] for s in scores], levels)
    calibrated = known.apply([[s, (1 - s) / 2, (1 - s) / 2] for s in (0.2, 0.4, 0.7, 0.9)])[:, 0]
    expected = [(3 / 5, 3 / 3), (2 / 4, 2 / 3), (2 / 3, 2 / 3), (1 / 1, 1 / 3)]
    assert [point[0] for point in known.curve] == calibrated.tolist()
    assert [point[1] for point in known.curve] == pytest.approx([precision for precision, _ in expected])
    assert [point[2] for point in known.curve] == pytest.approx([recall for _, recall in expected])
    assert known.threshold(0.55) == calibrated[0]
    assert known.threshold(0.65) == calibrated[2]
    assert known.threshold(1.0) == calibrated[3]


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_the_fitted_temperature_is_optimal(seed: int, pairs: int) -> None:
    random = np.random.default_rng(seed)
    p = random.dirichlet((0.3, 0.3, 0.3), pairs)
    levels = random.integers(0, 3, pairs)
    levels[0] = 0

    def loss(temperature: float) -> float:
        total = 0.0
        for row, level in zip(p.tolist(), levels.tolist(), strict=True):
            weights = [max(share, 1e-12) ** (1 / temperature) for share in row]
            total -= math.log(max(weights[level] / sum(weights), 1e-300))
        return total / pairs

    found = fit(p, levels).temperature
    assert loss(found) <= min(loss(t) for t in np.geomspace(0.05, 20, 200)) + 1e-9


@pytest.mark.parametrize("prior", [None, 0.1, 0.9])
def test_calibrations_round_trip(tmp_path: Path, prior: float | None) -> None:
    known = fit(SURE * 4, [0, 0, 1, 2], prior)
    assert (known.prior, known.shift != 0) == (prior, prior is not None)
    known.write(tmp_path)
    assert read(tmp_path) == known
    assert sorted(json.loads((tmp_path / "calibration.json").read_text())) == ["curve", "prior", "shift", "temperature"]


def test_a_file_without_a_prior_is_read(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text('{"temperature": 2, "curve": [[0.5, 1, 0.25]]}')
    assert read(tmp_path) == Calibration(2.0, ((0.5, 1.0, 0.25),), None, 0.0)


@pytest.mark.parametrize(("temperature", "sound"), [(0.05, True), (20.0, True), (0.02, False), (50.0, False)])
def test_temperatures_that_a_fit_cannot_find_are_refused(tmp_path: Path, temperature: float, sound: bool) -> None:
    known = Calibration(temperature)
    known.write(tmp_path)
    if sound:
        assert read(tmp_path) == known
        return
    with pytest.raises(EngineError, match=f"has the temperature {temperature:g}, expected 0.05 to 20"):
        read(tmp_path)


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Calibration(1.0, shift=math.nan).write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_calibration_does_not_depend_on_the_float_type() -> None:
    row = np.array([[0.9, 0.06, 0.04]], dtype=np.float32)
    assert Calibration(3.0).apply(row).tolist() == Calibration(3.0).apply(row.astype(np.float64)).tolist()


def test_the_calibration_of_a_model_is_found(tmp_path: Path) -> None:
    known = Calibration(2.0, ((0.5, 1.0, 1.0),))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    adapter = str(tmp_path / "adapter")
    assert calibration.of(Model(name="m", adapter=adapter)) is None
    known.write(tmp_path / "adapter")
    assert calibration.of(Model(name="m", adapter=adapter)) == known
    assert calibration.of(Model(name="m")) is None
    assert calibration.of(Model(name="embedded")) is None
    with pytest.raises(EngineError, match="none-such does not exist"):
        calibration.of(Model(name="m", adapter="./none-such"))
    # A server has the files; of an adapter only its name is known here.
    server = Server(url="http://localhost:1")
    assert calibration.of(Model(name="m", engine="tgi", adapter=adapter, server=server)) is None
    # All weights were tuned.
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/config.json").write_text("{}")
    known.write(tmp_path / "whole")
    assert calibration.of(Model(name=str(tmp_path / "whole"))) == known


def test_a_calibration_is_read_from_a_revision_on_the_hub(hub_cache: Path) -> None:
    first, second = Calibration(2.0), Calibration(3.0)
    first.write(cached(hub_cache, "org/rater", "main"))
    second.write(cached(hub_cache, "org/rater", "v2"))
    assert calibration.of(Model(name="org/rater")) == first
    assert calibration.of(Model(name="org/rater", revision="v2")) == second


def test_a_prior_changes_probabilities_and_not_their_order() -> None:
    """Half of the pairs are good, and a tenth of the candidates is expected to be."""
    p = [[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.3, 0.4, 0.3], [0.2, 0.5, 0.3], [0.7, 0.2, 0.1]] * 4
    levels = [0, 0, 0, 1, 2, 1] * 4
    even, few = fit(p, levels), fit(p, levels, 0.1)
    assert few.temperature == even.temperature
    assert (few.prior, even.prior) == (0.1, None)
    assert few.shift == pytest.approx(math.log(0.1 / 0.9))
    # Odds of 9 to 1 become even.
    nine = Calibration(1.0, prior=0.1, shift=math.log(1 / 9)).apply([[0.9, 0.06, 0.04]])[0].tolist()
    assert nine == pytest.approx([0.5, 0.3, 0.2])
    # All kept: half of these pairs are good, a tenth of such candidates.
    assert even.curve[0][1:] == pytest.approx((0.5, 1.0))
    assert few.curve[0][1:] == pytest.approx((0.1, 1.0))
    assert [recall for _, _, recall in few.curve] == pytest.approx([recall for _, _, recall in even.curve])
    # 3 of 4 above 0.6 are good at even odds; of candidates 3 for each 9.
    assert few.curve[2][1] == pytest.approx(0.25)


def test_a_prior_is_corrected_by_the_share_of_good_pairs() -> None:
    """A quarter of these pairs is good, and a tenth of the candidates."""
    p = [[0.9, 0.05, 0.05], [0.6, 0.2, 0.2], [0.3, 0.4, 0.3], [0.2, 0.5, 0.3]] * 4
    known = fit(p, [0, 1, 2, 1] * 4, 0.1)
    assert known.shift == pytest.approx(math.log(0.1 / 0.9) - math.log(0.25 / 0.75))
    assert known.temperature != pytest.approx(1.0, abs=0.05)
    # Thresholds are probabilities as ``apply`` returns them.
    assert [point[0] for point in known.curve] == pytest.approx(sorted(known.apply(p[:4])[:, 0].tolist()))
    assert known.curve[0][1:] == pytest.approx((0.1, 1.0))


def test_the_ends_of_a_prior() -> None:
    certain = fit(SURE * 4, [0, 0, 1, 2], 1.0)
    assert certain.prior == 1.0
    assert 20 < certain.shift < 40
    # Pairs that are all good say nothing about others.
    all_good = fit(SURE * 2, [0, 0], 0.5)
    assert (all_good.prior, all_good.shift) == (None, 0.0)
