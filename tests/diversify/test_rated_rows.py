import math
import random

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from x_instruction.diversify.rated_rows import RatedRows, instruction_key


def plainly(records):
    """The record that each dropped one duplicates, by the rule: best score, then first by name."""
    ordered = sorted(range(len(records)), key=lambda n: (records[n].id, records[n].candidate))
    best = {}
    for number in ordered:
        key, score = instruction_key(records[number].instruction), records[number].score
        if math.isfinite(score) and (key not in best or score > records[best[key]].score):
            best[key] = number
    return [number for number in ordered if number in best.values()]


def test_duplicates_are_found_across_shards_as_within_one(rated):
    draw = random.Random(3)
    records = [
        rated(f"How do I cook {draw.randrange(200)}?", round(draw.random(), 1), id=f"{n:04}") for n in range(500)
    ]
    planted = [rated(f"  WHAT is\t{n % 40}? ", n % 7 / 7, id=f"p{draw.random()}") for n in range(200)]
    planted += [rated(f"what is {n % 40}?", n % 7 / 7, id=f"q{draw.random()}") for n in range(200)]
    records += planted
    draw.shuffle(records)
    rows = RatedRows.of(records)
    assert rows.source[rows.kept].tolist() == plainly(records)
    # 20 shards in another order have the same rows.
    shards = [records[start::20] for start in draw.sample(range(20), 20)]
    others = [record for shard in shards for record in shard]
    again = RatedRows.of(others)
    assert [others[n] for n in again.source[again.kept]] == [records[n] for n in rows.source[rows.kept]]
    assert list(again.duplicates()) == list(rows.duplicates())
    assert np.array_equal(again.keys, rows.keys)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(
        st.tuples(
            st.sampled_from(["a", "A ", "ß", "SS", "", "ä"]), st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf])
        )
    )
)
def test_deduplication_equals_a_naive_implementation(rated, drawn):
    records = [rated(text, score, id=f"{n * 7 % 11}-{n}") for n, (text, score) in enumerate(drawn)]
    rows = RatedRows.of(records)
    assert rows.source[rows.kept].tolist() == plainly(records)
    assert len(list(rows.duplicates())) == len(records) - len(rows.kept)
