from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from x_instruction.errors import CorpusError
from x_instruction.mixing.allocation import Allocation, AllocationGroup, apportion, eligible, exact, fill, split_evenly
from x_instruction.mixing.pool import hash64, mix_hash

# Draws from ten items, each once, up to three times and with replacement.
ONCE = [[8, 7, 5], [2, 0, 4], [3, 1]]
THRICE = [[8, 4, 0, 7, 2, 5, 6, 8, 1, 4, 0, 7], [9, 9, 6, 3, 5, 2, 9, 0, 6, 7], [3, 1]]
REPLACED = [[1, 4, 3, 6, 4, 4, 5, 3, 6, 2, 8, 4], [1, 1, 5, 5]]


@pytest.mark.parametrize(
    ("total", "weights", "counts"),
    [
        (10, [1, 1, 1], [4, 3, 3]),
        (7, [5, 3, 2], [4, 2, 1]),  # 3.5, 2.1, 1.4: the one left goes to .5
        (8, [5, 3, 2], [4, 2, 2]),  # 4.0, 2.4, 1.6
        (40, [1] * 11, [4] * 7 + [3] * 4),
        (0, [1, 2], [0, 0]),
        (5, [], []),
        (5, [0, 0], [0, 0]),
        (3, [exact(0.1), exact(0.2)], [1, 2]),
    ],
)
def test_largest_remainders(total, weights, counts):
    assert apportion(total, weights) == counts


@settings(deadline=None)
@given(total=st.integers(0, 10_000), weights=st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_apportioned_numbers_add_up_and_are_within_one(total, weights):
    counts = apportion(total, weights)
    if sum(weights):
        assert sum(counts) == total
        for count, weight in zip(counts, weights, strict=True):
            assert abs(count - Fraction(total * weight, sum(weights))) < 1


def test_numbers_are_split_evenly():
    assert split_evenly(3_000, 7) == [429] * 4 + [428] * 3


def test_shares_are_exact_decimals():
    assert exact(0.1) == Fraction(1, 10)
    assert exact(1e-7) == Fraction(1, 10_000_000)
    # As floats, the second would have the larger remainder.
    assert apportion(10, [exact(0.15), exact(0.85)]) == [2, 8]


def cell(ask, answer, count, **values):
    return Allocation(shape="s", prompt_language=ask, language=answer, count=count, **values)


def test_an_item_is_used_once_unless_more_is_allowed(stock, parallel):
    items = stock(parallel(6, "en", "sw"))
    cells = [cell("en", "en", 4), cell("sw", "sw", 2)]
    taken = np.concatenate(fill("m", AllocationGroup(cells), items, 1))
    assert sorted(taken) == list(range(6))
    thrice = np.concatenate(fill("m", AllocationGroup([cell("en", "en", 10), cell("sw", "sw", 8)], uses=3), items, 1))
    assert np.bincount(thrice).tolist() == [3] * 6


def test_items_are_reserved_for_cells_that_need_them(stock, pair):
    # Three answers in Swahili, asked in English, Swahili or both: every one is needed, and only one way fits.
    pairs = [pair("a"), pair("b"), pair("b", "sw"), pair("c", "sw"), pair("d", "sw")]
    for seed in range(20):
        english, swahili = fill("m", AllocationGroup([cell("en", "sw", 2), cell("sw", "sw", 2)]), stock(pairs), seed)
        assert sorted(english) == [0, 1]
        assert sorted(swahili) == [2, 3]


@pytest.mark.parametrize(
    ("allocation", "items"),
    [
        (("en", "en"), "bcde"),
        (("en", "sw"), "ade"),
        (("sw", "en"), "bd"),
        (("fi", "en"), ""),
        (("en", "en", {"required_languages": ("sw",)}), "d"),
        (("en", "en", {"required_languages": ("sw", "en")}), "d"),
        (("en", "en", {"required_languages": ("en", "sw")}), "d"),
        (("en", "en", {"required_languages": ("en",)}), "bcde"),
        (("en", "en", {"parallel_language": "sw"}), "bd"),
        (("en", "en", {"kind": "seed"}), "e"),
        (("en", "sw", {"kind": "web"}), "ad"),
        # The completion is the instruction in that language.
        (("en", "sw", {"completion": "instruction"}), "bd"),
    ],
)
def test_eligible_items_of_an_allocation(stock, pair, allocation, items):
    pairs = [pair("a"), pair("b", "sw", "en"), pair("b", "en", "en"), pair("c", "en", "en")]
    pairs += [pair("d", ask, answer) for ask in ("en", "sw") for answer in ("en", "sw")]
    pool = stock(pairs, [pair("e", "en", "en"), pair("e", "en", "sw")])
    ask, answer, *more = allocation
    found = eligible(pool, cell(ask, answer, 1, **(more[0] if more else {})))
    assert "".join(sorted(pool.id(item)[1] for item in np.flatnonzero(found))) == items


def test_draws_do_not_change_between_versions(stock, parallel, pair):
    """A mix is made again from ids, seed and recipe. Another order of draws would be another data set."""
    pool = stock([*parallel(8, "en", "sw"), pair("q", "en", "sw"), pair("r", "sw", "en")])
    few = [cell("en", "sw", 3), cell("sw", "en", 3, parallel_language="en"), cell("en", "en", 2)]

    def drawn(cells, uses, seed=5):
        return [items.tolist() for items in fill("m", AllocationGroup(cells, uses), pool, seed)]

    assert drawn(few, 1) == ONCE
    assert drawn(few, 1, seed=6) != ONCE
    assert drawn([cell("en", "sw", 12), cell("sw", "en", 10), cell("en", "en", 2)], 3) == THRICE
    assert drawn([cell("en", "sw", 12), cell("sw", "sw", 4)], None) == REPLACED


def test_the_scarcest_allocation_chooses_first(stock, parallel, pair):
    # Both need the one item in Finnish, of which there is one more use.
    pool = stock([*parallel(1, "fi", "en"), pair("x", "en", "en")])
    english, finnish = fill("m", AllocationGroup([cell("en", "en", 1), cell("fi", "fi", 1)]), pool, 1)
    assert (english.tolist(), finnish.tolist()) == ([1], [0])
    with pytest.raises(CorpusError, match=r"needs 2 rows of s \(en to en\) and the data has 1"):
        fill("m", AllocationGroup([cell("en", "en", 2), cell("fi", "fi", 1)]), pool, 1)


def test_too_few_items_name_the_cell(stock, parallel):
    items = stock(parallel(3, "en", "sw"))
    with pytest.raises(CorpusError, match=r"m: the recipe needs 4 rows of s \(sw to en\) and the data has 3: add data"):
        fill("m", AllocationGroup([cell("sw", "en", 4)]), items, 1)
    with pytest.raises(CorpusError, match="the data has 0: add data"):
        fill("m", AllocationGroup([cell("fi", "en", 4)], uses=None), items, 1)


def test_with_replacement_every_item_is_equally_likely(stock, parallel):
    (drawn,) = fill("m", AllocationGroup([cell("en", "sw", 20_000)], uses=None), stock(parallel(10, "en", "sw")), 3)
    # 2,000 each are expected; the standard deviation is 42.
    assert np.abs(np.bincount(drawn) - 2_000).max() < 200


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.integers(1, 12),
    shares=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    uses=st.sampled_from([1, 3, None]),
    seed=st.integers(0, 9),
)
def test_counts_are_exact_whatever_the_order(stock, parallel, number, shares, uses, seed):
    tags = ["en", "sw", "fi", "th"][: len(shares)]
    counts = apportion(number * (uses or 4), shares)
    pairs = parallel(number, "en", "sw", "fi", "th")
    cells = [cell("en", tag, count) for tag, count in zip(tags, counts, strict=True)]
    one, other = stock(pairs), stock(pairs[::-1])
    filled = fill("m", AllocationGroup(cells, uses=uses), one, seed)
    assert [len(items) for items in filled] == counts
    again = fill("m", AllocationGroup(cells, uses=uses), other, seed)
    assert all((a == b).all() for a, b in zip(filled, again, strict=True))


def test_hashes_are_the_same_on_every_machine():
    assert hash64(1, "web", "a") == 14720174438452705418
    assert mix_hash(np.arange(2, dtype=np.uint64), 1, "x").tolist() == [14688059385793933832, 11725397116700771704]
    assert len(set(mix_hash(np.arange(1_000, dtype=np.uint64), 1).tolist())) == 1_000
    assert (mix_hash(np.arange(4, dtype=np.uint64), 1) != mix_hash(np.arange(4, dtype=np.uint64), 2)).all()
