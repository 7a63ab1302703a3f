import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from x_instruction.config.diversify import Diversify
from x_instruction.diversify import SELECTORS, Draw, diversify, selector
from x_instruction.diversify.caps import Cap, Tally, domain, first, most
from x_instruction.errors import RecipeError
from x_instruction.records import Curated, Dropped


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1])
@pytest.mark.parametrize("key", ["max_per_domain", "max_per_verb"])
def test_a_cap_must_be_a_share_above_zero(key, value):
    with pytest.raises(RecipeError, match=f"{key} is {value}"):
        Diversify(embedder="words", **{key: value})


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_relevance_must_be_a_share(value):
    with pytest.raises(RecipeError, match=f"relevance is {value}"):
        Diversify(embedder="words", relevance=value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://www.Example.org:8080/a?b#c", "example.org"),
        ("http://sw.wikipedia.org/wiki/Mvua", "sw.wikipedia.org"),
        ("http://user:secret@example.org./", "example.org"),
        ("http://[::1]/", "::1"),
        ("http://[broken", None),
        ("example.org/page", None),
        ("file:///tmp/x", None),
        ("", None),
    ],
)
def test_domains_are_read_from_addresses(url, host):
    assert domain(url) == host


@pytest.mark.parametrize(
    ("share", "quota", "rows"), [(0.29, 100, 29), (0.05, 32_000, 1_600), (0.1, 8, 1), (0.3, 8, 2), (1.0, 8, 8)]
)
def test_a_share_is_converted_to_rows(share, quota, rows):
    assert most(share, quota) == rows


def test_a_tally_counts_rows_by_group():
    caps = [Cap("domain_cap", ["a", "a", "b", None, "a"], 2), Cap("verb_cap", ["x", "y", "x", "x", "y"], 1)]
    tally = Tally(5, caps)
    tally.take(0)  # verb x has reached its cap of 1: rows 2 and 3 are closed
    assert tally.open.tolist() == [False, True, False, False, True]
    tally.take(1)  # domain a has reached its cap of 2 and verb y its cap of 1
    assert not tally.open.any()
    assert [tally.full(row) for row in range(2, 5)] == [
        ("verb_cap", "x has its 1"),
        ("verb_cap", "x has its 1"),
        ("domain_cap", "a has its 2"),
    ]
    assert first([4, 3, 2, 1, 0], 9, caps, 5) == [4, 3]


def records(rated):
    return [
        rated(f"{verb} a poem about topic {i}.", score=i, url=f"https://{host}/{i}")
        for i, (verb, host) in enumerate(
            [("Write", "news.example")] * 6 + [("Explain", "www.wiki.example")] * 3 + [("Describe", "blog.example")]
        )
    ] + [rated("Hello", score=-1)]


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_a_cap_holds_for_every_selector(rated, encoder, name):
    section = Diversify(embedder="words", selector=name, quota=10, max_per_domain=0.2, max_per_verb=0.3)
    made = list(diversify(records(rated), section, 1, encoder))
    chosen = [r for r in made if isinstance(r, Curated)]
    assert {r.selector for r in chosen} == {name}
    hosts = [domain(r.url) for r in chosen]
    assert (hosts.count("news.example"), hosts.count("wiki.example"), hosts.count("blog.example")) == (2, 2, 1)
    assert hosts.count(None) == 1
    dropped = [r for r in made if isinstance(r, Dropped)]
    assert [r.reason for r in dropped] == ["domain_cap"] * 5
    assert {r.detail.split(", ")[1] for r in dropped} == {"news.example has its 2", "wiki.example has its 2"}


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_a_verb_cap_holds_for_every_selector(rated, encoder, name):
    section = Diversify(embedder="words", selector=name, quota=10, max_per_verb=0.3)
    made = list(diversify(records(rated), section, 1, encoder))
    verbs = [r.instruction.split()[0] for r in made if isinstance(r, Curated)]
    assert sorted(verbs) == ["Describe", *["Explain"] * 3, "Hello", *["Write"] * 3]
    assert {r.reason for r in made if isinstance(r, Dropped)} == {"verb_cap"}


def test_a_cap_as_large_as_the_quota_names_the_quota(rated, encoder):
    section = Diversify(embedder="words", quota=2, max_per_domain=1.0)
    made = list(diversify(records(rated), section, 1, encoder))
    assert {r.reason for r in made if isinstance(r, Dropped)} == {"over_quota"}


groups = st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=30)


@pytest.mark.parametrize("name", sorted(SELECTORS))
@settings(max_examples=40, deadline=None)
@given(groups=groups, most=st.integers(1, 4), quota=st.integers(1, 40), seed=st.integers(0, 5))
def test_selectors_draw_as_many_rows_as_caps_and_quota_allow(name, groups, most, quota, seed):
    rows = np.random.default_rng(seed).normal(size=(len(groups), 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cap = Cap("domain_cap", groups, most)
    chosen = selector(name)(rows, np.arange(len(groups)) % 3.0, Draw(quota, None, seed, caps=(cap,)))
    possible = groups.count(None) + sum(min(most, groups.count(group)) for group in "abc")
    assert len(chosen) == min(quota, possible)
    assert len({choice.row for choice in chosen}) == len(chosen)
    taken = [groups[choice.row] for choice in chosen]
    assert all(taken.count(group) <= most for group in "abc")
