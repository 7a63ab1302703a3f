"""The records that cards are made of: whatever is wrong with one is said by name."""

from __future__ import annotations

import dataclasses
import json

import pytest
from model_facts import evaluation, training

from x_instruction.cards.records import EVALUATION, TRAINING, Facts, read, write
from x_instruction.errors import RecipeError


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, Facts(training(), (evaluation(), evaluation(language="ur", value=0.5))))
    return tmp_path


def change(folder, name, **changes):
    table = json.loads((folder / name).read_text("utf-8"))
    row = table[1] if isinstance(table, list) else table
    for key, value in changes.items():
        if value is ...:
            del row[key]
        else:
            row[key] = value
    (folder / name).write_text(json.dumps(table), "utf-8")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokenz": 3}, r"unknown key 'tokenz' \(known: base_model, "),
        ({"tokens": ...}, "lacks tokens"),
        ({"tokens": 0}, "tokens is 0, wanted more than 0"),
        ({"tokens": "many"}, "tokens is 'many', wanted int"),
        ({"tokens": True}, "tokens is True, wanted int"),
        ({"seconds": float("nan")}, "NaN is no number of JSON"),
        ({"seconds": -1}, "seconds is -1"),
        ({"relation": "magic"}, "relation is 'magic', wanted one of adapter, merge, finetune"),
        ({"languages": "th"}, "languages is 'th', wanted a list"),
        ({"languages": []}, "languages is empty"),
        ({"languages": ["xx-nonsense"]}, "xx-nonsense"),
        ({"hardware": "  "}, "hardware is empty"),
        ({"software": {"torch": 2}}, "software is .*, wanted an object"),
        ({"prompt": "Answer!"}, r"wanted \{instruction\} in it"),
        ({"base_model": None}, "base_model is None, wanted str"),
    ],
)
def test_a_bad_training_record_is_refused_by_name(folder, changes, said):
    change(folder, TRAINING, **changes)
    with pytest.raises(RecipeError, match=said):
        read(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": "good"}, "figure 2: value is 'good', wanted float"),
        ({"date": "yesterday"}, "figure 2: date is 'yesterday', wanted a day"),
        ({"rows": 0}, "rows is 0"),
        ({"metric": ...}, "figure 2 lacks metric"),
        ({"dataset": "mine", "benchmark_task": "default"}, "wanted a data set's id on the Hub"),
    ],
)
def test_a_bad_figure_is_refused_by_its_number(folder, changes, said):
    change(folder, EVALUATION, **changes)
    with pytest.raises(RecipeError, match=said):
        read(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "3", "[" * 100_000, "\ufeff{}"])
def test_what_is_no_record_is_said(folder, text):
    (folder / TRAINING).write_text(text, "utf-8")
    with pytest.raises(RecipeError, match=r"training\.json"):
        read(folder)


def test_no_training_record_says_what_makes_one(tmp_path):
    with pytest.raises(RecipeError, match="x-instruction train sft"):
        read(tmp_path)


def test_an_evaluation_is_a_list(folder):
    (folder / EVALUATION).write_text("{}", "utf-8")
    with pytest.raises(RecipeError, match="holds an object, wanted a list"):
        read(folder)


def test_records_read_back_as_they_were_written(folder):
    facts = read(folder)
    assert facts == Facts(training(), (evaluation(), evaluation(language="ur", value=0.5)))
    (folder / EVALUATION).unlink()
    assert read(folder) == dataclasses.replace(facts, evaluations=())
