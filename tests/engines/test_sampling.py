"""Draws compared with the exact truncated softmax, and stops in texts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.engines import Completion
from x_instruction.engines.local.sampling import SeededSampling
from x_instruction.engines.truncation import cut_at_stop

SCORES = [1.0, 0.5, -0.3, 2.0, -4.0, 0.9]
DRAWS = 20_000


def exact(temperature: float, top_k: int, top_p: float) -> list[float]:
    """By hand: softmax of the k largest, the smallest set of them that reaches top_p, normalised."""
    kept = sorted(range(len(SCORES)), key=lambda n: -SCORES[n])[: top_k or None]
    weights = {n: math.exp(SCORES[n] / temperature) for n in kept}
    total = sum(weights.values())
    chosen, reached = {}, 0.0
    for n in kept:
        if reached >= top_p:
            break
        chosen[n] = weights[n]
        reached += weights[n] / total
    whole = sum(chosen.values())
    return [chosen.get(n, 0.0) / whole for n in range(len(SCORES))]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (3, 1.0), (0, 0.8), (4, 0.7), (100, 0.99), (1, 1.0), (0, 0.0)])
def test_draws_follow_the_truncated_softmax(temperature: float, top_k: int, top_p: float) -> None:
    request = Completion("", 1, temperature=temperature, top_k=top_k, top_p=top_p, seed=11)
    sampling = SeededSampling([request])
    counts = [0] * len(SCORES)
    scores = torch.tensor([SCORES])
    for _ in range(2_000):
        counts[int(sampling(torch.empty(0), scores).argmax())] += 1
    expected = exact(temperature, top_k, top_p) if top_p else [0, 0, 0, 1, 0, 0]
    for count, share in zip(counts, expected, strict=True):
        # Five standard deviations; the seed is fixed, so the result is deterministic.
        assert abs(count - 2_000 * share) <= 5 * math.sqrt(2_000 * share * (1 - share))


def test_first_draws_over_seeds_follow_the_softmax() -> None:
    requests = [Completion("", 1, temperature=1.0, seed=seed) for seed in range(DRAWS)]
    drawn = SeededSampling(requests)(torch.empty(0), torch.tensor([SCORES]).repeat(DRAWS, 1)).argmax(-1)
    for n, share in enumerate(exact(1.0, 0, 1.0)):
        assert abs(int((drawn == n).sum()) - DRAWS * share) <= 5 * math.sqrt(DRAWS * share * (1 - share))


def test_exactly_one_token_is_left() -> None:
    requests = [Completion("", 1, temperature=0.7, top_k=4, seed=seed) for seed in range(8)]
    out = SeededSampling(requests)(torch.empty(0), torch.tensor([SCORES]).repeat(8, 1))
    assert (torch.isfinite(out).sum(-1) == 1).all()


def test_temperature_zero_changes_nothing() -> None:
    scores = torch.tensor([SCORES])
    assert SeededSampling([Completion("", 1, seed=4)])(torch.empty(0), scores) is scores


def test_draws_do_not_depend_on_other_rows() -> None:
    def drawn(seeds: list[int]) -> dict[int, list[int]]:
        sampling = SeededSampling([Completion("", 1, temperature=1.0, seed=seed) for seed in seeds])
        steps = [sampling(torch.empty(0), torch.tensor([SCORES]).repeat(len(seeds), 1)) for _ in range(30)]
        return {seed: [int(step[row].argmax()) for step in steps] for row, seed in enumerate(seeds)}

    alone = drawn([7])[7]
    assert drawn([1, 7])[7] == drawn([7, 2, 3])[7] == alone
    assert drawn([8])[8] != alone


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("", (), ("", False)),
        ("abc", (), ("abc", False)),
        ("abc", ("x",), ("abc", False)),
        ("abc", ("a",), ("", True)),
        ("abcb", ("b",), ("a", True)),
        ("abc", ("c", "b"), ("a", True)),
        ("น้ำ\nขึ้น", ("\n",), ("น้ำ", True)),
    ],
)
def test_texts_are_cut_at_stops(text: str, stops: tuple[str, ...], expected: tuple[str, bool]) -> None:
    assert cut_at_stop(text, stops) == expected


@given(st.text("abc"), st.lists(st.text("abc", min_size=1), max_size=3))
def test_no_stop_is_left_in_a_cut_text(text: str, stops: list[str]) -> None:
    found, stopped = cut_at_stop(text, tuple(stops))
    assert text.startswith(found)
    assert stopped == any(stop in text for stop in stops)
    assert not any(stop in found for stop in stops)
