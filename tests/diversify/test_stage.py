import dataclasses
import math
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from x_instruction.config.diversify import Diversify
from x_instruction.diversify import SELECTORS, diversify, selector
from x_instruction.errors import EngineError, RecipeError
from x_instruction.records import Curated, Dropped, Rated
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import StageKey

NOUNS = ["bread", "rain", "football", "malaria", "school", "music", "taxes", "goats"]


def section(**values):
    return Diversify(embedder="words", **values)


def many(rated, n=60, language="sw"):
    return [
        rated(f"How do I explain {NOUNS[i % 8]} to guest {i}?", score=math.sin(i), language=language) for i in range(n)
    ]


def split(made):
    made = list(made)
    return [r for r in made if isinstance(r, Curated)], [r for r in made if isinstance(r, Dropped)]


def test_every_record_is_chosen_or_dropped(rated, encoder):
    records = many(rated)
    chosen, dropped = split(diversify(records, section(quota=20, clusters=8), 1, encoder))
    assert [record.rank for record in chosen] == list(range(20))
    assert {record.reason for record in dropped} == {"over_quota"}
    names = [f"{r.id}-{r.candidate}" for r in chosen] + [r.id for r in dropped]
    assert sorted(names) == sorted(f"{r.id}-{r.candidate}" for r in records)
    first_turn = chosen[: len({record.cluster for record in chosen})]
    assert [record.cluster for record in first_turn] == list(range(len(first_turn)))


def test_a_chosen_record_gains_its_cluster_and_rank(rated, encoder):
    (record,), _ = split(diversify([rated("What is rain?", 2.5)], section(), 1, encoder))
    added = {"cluster": 0, "rank": 0, "selector": "kmeans", "embedder": "words", "embedder_revision": "1"}
    assert {name: getattr(record, name) for name in added} == added
    for field in dataclasses.fields(Rated):
        assert getattr(record, field.name) == getattr(rated("What is rain?", 2.5), field.name)


def test_no_records_give_none(encoder):
    assert list(diversify([], section(), 1, encoder)) == []


def test_the_best_scored_of_equal_instructions_is_kept(rated, encoder):
    records = [
        rated("What is rain?", 1.0, id="a"),
        rated("what  is\nRAIN? ", 3.0, id="b"),
        rated("What is rain?", 3.0, id="c"),
        rated("What is snow?", 0.0, id="d"),
        rated("What is rain?", 0.5, language="tr", id="e"),
    ]
    chosen, dropped = split(diversify(records, section(), 1, encoder))
    assert {record.id for record in chosen} == {"sw-b", "sw-d", "tr-e"}
    assert [(r.id, r.reason, r.detail) for r in dropped] == [
        ("sw-a-0", "duplicate_instruction", "1.000, same as sw-b-0 with 3.000"),
        ("sw-c-0", "duplicate_instruction", "3.000, same as sw-b-0 with 3.000"),
    ]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_record_without_a_score_is_dropped_alone(rated, encoder, score):
    records = [rated("What is rain?", score, id="a"), rated("What is rain?", -4.0, id="b"), rated("Why snow?", 1.0)]
    chosen, dropped = split(diversify(records, section(), 1, encoder))
    assert {record.instruction for record in chosen} == {"What is rain?", "Why snow?"}
    assert [(r.id, r.reason) for r in dropped] == [("sw-a-0", "no_score")]


def test_records_without_a_score_are_dropped(rated, encoder):
    chosen, dropped = split(diversify([rated("What is rain?", math.nan)], section(), 1, encoder))
    assert chosen == []
    assert [r.reason for r in dropped] == ["no_score"]


def test_the_quota_applies_to_each_language_independently(rated, encoder):
    swahili, turkish = many(rated), many(rated, 40, "tr")
    settings = section(quota=15)
    together, _ = split(diversify(turkish + swahili, settings, 1, encoder))
    alone, _ = split(diversify(swahili, settings, 1, encoder))
    assert [record.language for record in together] == ["sw"] * 15 + ["tr"] * 15
    assert together[:15] == alone


def test_the_order_of_the_input_does_not_matter(rated, encoder, tmp_path):
    records = many(rated) + many(rated, 20, "tr") + [rated("What is rain?", 0.0, id=i) for i in "abc"]
    shuffled = random.Random(7).sample(records, len(records))
    digests = []
    for name, given_records in (("one", records), ("again", records), ("shuffled", shuffled)):
        made = diversify(given_records, section(quota=25), 3, encoder)
        digests.append(RunFolder(tmp_path / name).write(ShardReport(StageKey("curated").shard("sw", 0)), made).digest)
        digests.append((tmp_path / name / "curated/sw/00000.dropped.parquet").read_bytes())
    assert digests[:2] == digests[2:4] == digests[4:]


def test_two_candidates_of_one_passage_are_distinguished(rated, encoder):
    records = [rated("What is rain?", id="a", candidate=1), rated("What is snow?", id="a", candidate=0)]
    _, dropped = split(diversify(records, section(quota=1), 1, encoder))
    assert dropped[0].id in ("sw-a-0", "sw-a-1")
    assert list(diversify(records, section(), 1, encoder)) == list(diversify(records[::-1], section(), 1, encoder))


def test_progress_is_reported(rated, encoder):
    done = []
    list(diversify(many(rated), section(), 1, encoder, seen=done.append))
    assert done == [60]


def test_an_encoder_that_returns_nan_is_reported(rated, encoder):
    encoder.encode = lambda texts, seen: np.full((len(texts), 2), np.nan, dtype=np.float32)
    with pytest.raises(EngineError, match="not numbers for 1 of 1 instructions, the first 'What is rain"):
        list(diversify([rated("What is rain?")], section(), 1, encoder))


def test_every_selector_loads():
    assert all(callable(selector(name)) for name in SELECTORS)


def test_an_unknown_selector_is_named():
    with pytest.raises(RecipeError, match=r"unknown selector 'k-means', did you mean 'kmeans'\? \(known: kmeans"):
        selector("k-means")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.tuples(st.sampled_from(NOUNS), st.integers(0, 9), st.floats(allow_nan=True)), max_size=40),
    quota=st.integers(1, 50),
    clusters=st.none() | st.integers(1, 12),
)
def test_the_quota_is_exact_for_any_records(rated, encoder, words, quota, clusters):
    records = [rated(f"Why {noun} {n}?", score, id=str(i)) for i, (noun, n, score) in enumerate(words)]
    chosen, dropped = split(diversify(records, section(quota=quota, clusters=clusters), 1, encoder))
    finite = {record.instruction for record in records if math.isfinite(record.score)}
    assert len(chosen) == min(quota, len(finite))
    assert len(chosen) + len(dropped) == len(records)
