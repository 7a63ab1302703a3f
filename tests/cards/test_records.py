"""The records that cards are made of: errors name the key that is wrong."""

from __future__ import annotations

import json

import pytest
from model_facts import evaluation, training, write

from x_instruction.cards.records import EVALUATION, TRAINING, read
from x_instruction.errors import CorpusError, RecipeError


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, training(), evaluation(), evaluation(language="ur", value=0.5))
    return tmp_path


def change(folder, name, **changes):
    table = json.loads((folder / name).read_text("utf-8"))
    for key, value in changes.items():
        if value is ...:
            del table[key]
        else:
            table[key] = value
    (folder / name).write_text(json.dumps(table), "utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenz": 3}, r"unknown key tokenz, did you mean 'tokens'\? \(known here: base_model, "),
        ({"tokens": ...}, "tokens is missing"),
        ({"tokens": 0}, "tokens is 0, expected a number above 0"),
        ({"tokens": "many"}, "tokens is 'many', expected an integer"),
        ({"tokens": True}, "tokens is true, expected an integer"),
        ({"seconds": float("nan")}, "NaN is not a JSON number"),
        ({"seconds": -1}, "seconds is -1"),
        ({"relation": "magic"}, "relation is 'magic', expected 'adapter', 'merge' or 'finetune'"),
        ({"languages": "th"}, "languages is 'th', expected a list"),
        ({"languages": []}, r"languages is \[\], expected at least 1 value"),
        ({"languages": ["xx-nonsense"]}, "xx-nonsense"),
        ({"hardware": "  "}, "hardware is empty"),
        ({"software": {"torch": 2}}, "software.torch is 2, expected a string"),
        ({"prompt": "Answer!"}, r"expected \{instruction\} in it"),
        ({"base_model": None}, "base_model is None, expected a string"),
    ],
)
def test_an_invalid_training_record_is_refused(folder, changes, message):
    change(folder, TRAINING, **changes)
    with pytest.raises(RecipeError, match=message):
        read(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "3", "[" * 100_000, "\ufeff{}"])
def test_a_file_that_is_not_a_record_is_refused(folder, text):
    (folder / TRAINING).write_text(text, "utf-8")
    with pytest.raises(RecipeError, match=r"training\.json"):
        read(folder)


def test_a_missing_training_record_names_the_command_that_writes_it(tmp_path):
    with pytest.raises(RecipeError, match="x-instruction train sft"):
        read(tmp_path)


def test_records_of_other_versions_are_refused(folder):
    change(folder, f"{EVALUATION}/results.json", schema_version="0.2.2")
    with pytest.raises(CorpusError, match=r"schema_version '0\.2\.2', expected '0\.3\.0'"):
        read(folder)
    (folder / "evaluation.json").write_text("[]", "utf-8")
    with pytest.raises(RecipeError, match=r"is of an earlier version, expected records in .*/evaluation"):
        read(folder)


def test_records_round_trip(folder):
    facts = read(folder)
    assert facts.training == training()
    assert [(figure.metric, figure.date) for figure in facts.figures] == [
        (evaluation(), "2026-11-20"),
        (evaluation(language="ur", value=0.5), "2026-11-20"),
    ]
    (folder / EVALUATION / "results.json").unlink()
    assert read(folder).evaluations == ()
