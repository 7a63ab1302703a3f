import json
import math

import numpy as np
import pytest

from x_instruction.config.diversify import Diversify
from x_instruction.diversify import diversify
from x_instruction.diversify.render import render
from x_instruction.diversify.report import compare, describe
from x_instruction.records import Curated

SETTINGS = Diversify(embedder="words", quota=12, clusters=6)
TEXTS = ["Write a poem.", "Write a story.", "What is rain?", "Hello"]


def test_figures_match_a_worked_example():
    report = describe(TEXTS, np.array([[1.0, 0], [1, 0], [0, 1], [0, 2]]), [0, 0, 0, 1])
    assert report.instructions == 4
    assert report.mean_words == 10 / 4
    assert report.mean_chars == sum(map(len, TEXTS)) / 4
    assert report.distinct_1 == 8 / 10
    assert report.distinct_2 == 5 / 6
    assert report.distinct_3 == 3 / 3
    assert report.with_verb == 3 / 4
    assert [(verb.verb, verb.count, verb.nouns) for verb in report.verbs] == [
        ("write", 2, (("poem", 1), ("story", 1))),
        ("what", 1, (("rain", 1),)),
    ]
    assert report.clusters == 2
    assert report.entropy == pytest.approx(0.5623351)
    assert report.entropy_share == pytest.approx(0.5623351 / math.log(2))
    assert report.largest_cluster == 0.75
    assert report.mean_cosine == pytest.approx(2 / 6)


def test_entropy_is_relative_to_the_number_of_clusters():
    assert describe(TEXTS, clusters=[0, 0, 1, 1]).entropy_share == pytest.approx(1)
    assert describe(TEXTS, clusters=[0, 0, 1, 1], of=4).entropy_share == pytest.approx(0.5)
    assert describe(TEXTS, clusters=[0, 0, 0, 0]).entropy_share == 0


def test_figures_without_input_are_none():
    report = describe(TEXTS)
    assert report.clusters is report.entropy is report.largest_cluster is report.mean_cosine is None
    empty = describe([])
    assert {value for name, value in empty.as_dict().items() if name not in ("instructions", "verbs")} == {None}
    assert empty.verbs == ()


@pytest.mark.parametrize("given", [{"embeddings": np.ones((3, 2))}, {"clusters": [0]}])
def test_inputs_of_different_lengths_are_refused(given):
    with pytest.raises(ValueError, match="for 4 instructions"):
        describe(TEXTS, **given)


def test_a_report_is_json():
    plain = describe(TEXTS, np.ones((4, 2)), [0, 0, 1, 1]).as_dict()
    assert json.loads(json.dumps(plain)) == plain


def lopsided(rated):
    """Forty similar instructions, two for each of five topics, one duplicate and one without a score."""
    common = [rated(f"Why does the heavy rain fall in month {i}?", score=1 + i / 100) for i in range(40)]
    rare = [
        rated(f"{verb} about {noun} {noun} {noun} now", score=i / 10)
        for noun in ("bread", "goats", "taxes", "music", "malaria")
        for i, verb in enumerate(("Tell", "Teach"))
    ]
    doubled = rated("why does the heavy rain FALL in month 3?", id="double")
    return [*common, *rare, doubled, rated("Why hail?", score=math.nan)]


def drawn(rated, encoder):
    records = lopsided(rated)
    made = list(diversify(records, SETTINGS, 1, encoder))
    return records, [record for record in made if isinstance(record, Curated)]


def test_the_selection_is_more_varied_than_its_input_and_a_random_draw(rated, encoder):
    comparison = compare(*drawn(rated, encoder), SETTINGS, 1, encoder)
    before, chance, after = comparison.before, comparison.chance, comparison.after
    assert (before.instructions, chance.instructions, after.instructions) == (51, 12, 12)
    for other in (before, chance):
        assert after.entropy_share > other.entropy_share
        assert after.mean_cosine < other.mean_cosine
        assert after.largest_cluster < other.largest_cluster
        assert after.distinct_2 > other.distinct_2


def test_the_clusters_are_those_of_the_stage(rated, encoder):
    records, curated = drawn(rated, encoder)
    after = compare(records, curated, SETTINGS, 1, encoder).after
    sizes = np.bincount([record.cluster for record in curated])
    assert after.clusters == len({record.cluster for record in curated})
    assert after.largest_cluster == sizes.max() / 12


def test_a_comparison_is_deterministic_and_independent_of_order(rated, encoder):
    records, curated = drawn(rated, encoder)
    once = compare(records, curated, SETTINGS, 1, encoder)
    assert once == compare(records, curated, SETTINGS, 1, encoder)
    assert once.as_dict() == json.loads(json.dumps(once.as_dict()))
    assert once == compare(records[::-1], curated, SETTINGS, 1, encoder)


def test_empty_sets_can_be_compared(rated, encoder):
    assert compare([], [], SETTINGS, 1, encoder).after == describe([])
    assert compare([rated("Why hail?", math.nan)], [], SETTINGS, 1, encoder).before.instructions == 0
    assert compare([rated("Why hail?")], [], SETTINGS, 1, encoder).after.instructions == 0


def test_selected_records_that_are_not_in_the_input_are_refused(rated, encoder):
    records, curated = drawn(rated, encoder)
    with pytest.raises(ValueError, match="records of sw, tr: expected one language"):
        compare([*records, rated("Why?", language="tr")], curated, SETTINGS, 1, encoder)
    with pytest.raises(ValueError, match="curated records are not among the rated"):
        compare(records[-3:], curated, SETTINGS, 1, encoder)


def test_a_report_reads_as_a_table():
    assert render(describe(TEXTS, clusters=[0, 0, 0, 1])).splitlines() == [
        "instructions                   4",
        "words, mean                2.500",
        "characters, mean          11.250",
        "distinct-1                 0.800",
        "distinct-2                 0.833",
        "distinct-3                 1.000",
        "cosine of pairs, mean          -",
        "clusters                       2",
        "cluster entropy, nats      0.562",
        "cluster entropy, of even   0.811",
        "share of largest cluster   0.750",
        "share with verb and noun   0.750",
        "",
        "verbs and their nouns",
        "  write  2  poem 1, story 1",
        "  what   1  rain 1",
    ]


def test_a_comparison_reads_as_a_table(rated, encoder):
    lines = render(compare(*drawn(rated, encoder), SETTINGS, 1, encoder)).splitlines()
    assert lines[0].split() == ["before", "chance", "after"]
    assert lines[1].split() == ["instructions", "51", "12", "12"]
    assert len({len(line) for line in lines[:13]}) == 1
    assert "verbs and their nouns, before" in lines
    assert "verbs and their nouns, after" in lines
    assert render(describe(["Hello"])).endswith("verbs and their nouns: none found")
