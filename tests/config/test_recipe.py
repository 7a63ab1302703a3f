"""Recipes: valid and invalid keys and values, and that they round-trip."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from x_instruction.config import mixing  # noqa: F401 - its sections have renamed keys
from x_instruction.config.corpus import Corpus, Filters
from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe, dumps, load, loads, names, of_run
from x_instruction.config.refine import Refine
from x_instruction.config.renamed import RENAMED_KEYS
from x_instruction.config.section import Section, flatten, portable, toml_value, without_folder
from x_instruction.config.training import TrainConfig
from x_instruction.errors import RecipeError, UnknownLanguage
from x_instruction.hashing import digest

SMALL = """
name = "small"
languages = ["swh_Latn", "Finnish", "sw"]
[corpus]
source = "sample"
[generate.model]
name = "org/writer"
[refine]
rater = "pmi"
[refine.model]
name = "org/rater"
[diversify]
embedder = "org/encoder"
"""


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Recipe]:
    """Loads the smallest recipe, some of its lines replaced, with overrides."""

    def read(replace: str = "", by: str = "", **overrides: str) -> Recipe:
        assert replace in SMALL
        path = tmp_path / "small.toml"
        path.write_text(SMALL.replace(replace, by, 1) if replace else SMALL, "utf-8")
        return load(path, {key.replace("__", "."): toml_value(value) for key, value in overrides.items()})

    return read


# Bad input


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError,
        match=r"cannot read recipe .*nowhere.toml: No such file.*one of adapters, demo, eight-gpus, english-pages",
    ):
        load(tmp_path / "nowhere.toml")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Is a directory"):
        load(tmp_path)


def test_invalid_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("name = \nseed = 1", "utf-8")
    with pytest.raises(RecipeError, match=r"bad.toml is not valid TOML: .*line 1"):
        load(path)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(b"name = '\xff\xfe'")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load(path)


def test_an_empty_file_names_the_required_keys(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.write_text("", "utf-8")
    with pytest.raises(RecipeError, match="name is missing and has no default"):
        load(path)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "generate__candidate",
            r"unknown key generate.candidate, did you mean 'candidates'\? \(known here: model",
        ),
        ("corpus__filters__min_char", r"unknown key corpus.filters.min_char, did you mean 'min_chars'\?"),
        ("langauges", r"unknown key langauges, did you mean 'languages'\?"),
        ("generate__model__zzz", r"unknown key generate.model.zzz \(known here: name, engine, revision"),
    ],
)
def test_an_unknown_key_lists_the_known_ones(small: Callable[..., Recipe], key: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        small(**{key: "1"})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "3", "name is 3, expected a string"),
        ("name", "'../../x'", r"name is '\.\./\.\./x', expected letters, digits and \. _ -, at most 96 and no path"),
        ("name", "'.x'", r"name is '\.x', expected letters"),
        ("name", "''", r"name is '', expected letters"),
        ("seed", "true", "seed is true, expected an integer"),
        ("seed", "1.5", "seed is 1.5, expected an integer"),
        ("languages", "'sw'", "languages is 'sw', expected a list"),
        ("languages", "[1]", r"languages\[0\] is 1, expected a string"),
        ("corpus", "3", r"corpus is 3, expected a section \[corpus\]"),
        ("corpus__source", "web", "corpus.source is 'web', expected 'sample', 'files' or 'hub'"),
        ("corpus__documents", "'many'", "corpus.documents is 'many', expected an integer"),
        ("generate__temperature", "'hot'", "generate.temperature is 'hot', expected a number"),
        ("generate__temperature", "true", "generate.temperature is true, expected a number"),
        ("generate__model__dtype", "int3", "generate.model.dtype is 'int3', expected 'auto', 'float32'"),
        ("corpus__filters__language_check", "1", "corpus.filters.language_check is 1, expected true or false"),
        ("refine__rater", "llm", "refine.rater is 'llm', expected 'trained', 'pmi'"),
    ],
)
def test_wrong_types_are_refused(small: Callable[..., Recipe], key: str, value: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        small(**{key: value})


@pytest.mark.parametrize("line", ['name = "small"', 'source = "sample"', 'name = "org/writer"', 'rater = "pmi"'])
def test_required_keys_are_reported(small: Callable[..., Recipe], line: str) -> None:
    with pytest.raises(RecipeError, match=rf"{line.split(' ')[0]} is missing and has no default"):
        small(line)


def test_required_sections_are_reported(small: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match="diversify is missing"):
        small('[diversify]\nembedder = "org/encoder"')


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("generate__candidates", "0", "generate.candidates is 0, expected a number above 0"),
        ("generate__max_tokens", "-1", "generate.max_tokens is -1, expected a number above 0"),
        ("generate__top_p", "1.1", "generate.top_p is 1.1, expected at most 1"),
        ("generate__top_k", "-5", "generate.top_k is -5, expected 0 or more"),
        ("generate__temperature", "-0.1", "generate.temperature is -0.1, expected 0 or more"),
        ("generate__temperature", "nan", "generate.temperature is nan, expected a finite number"),
        ("generate__temperature", "inf", "generate.temperature is inf, expected a finite number"),
        ("generate__styles", "[]", r"generate.styles is \[\], expected at least 1"),
        ("generate__min_chars", "700", "generate.min_chars is 700, expected at most max_chars, which is 600"),
        ("generate__model__batch_size", "0", "generate.model.batch_size is 0"),
        ("generate__instruction_language", "xx", "generate.instruction_language: unknown language 'xx'"),
        ("corpus__filters__min_confidence", "60", "corpus.filters.min_confidence is 60, expected at most 1"),
        (
            "corpus__filters__min_chars",
            "3000",
            "corpus.filters.min_chars is 3000, expected at most max_chars, which is 2500",
        ),
        ("corpus__shard_size", "0", "corpus.shard_size is 0"),
        ("corpus__documents", "0", "corpus.documents is 0"),
        ("corpus__source", "files", 'corpus.paths is empty and source is "files"'),
        ("corpus__source", "hub", 'corpus.dataset is not set and source is "hub"'),
        ("refine__keep", "0", "refine.keep is 0"),
        ("refine__min_score", "nan", "refine.min_score is nan, expected a number"),
        ("diversify__clusters", "0", "diversify.clusters is 0"),
        ("publish__test", "1.0", "publish.test is 1 and validation is 0, expected a sum below 1"),
        ("languages", "[]", r"languages is \[\], expected at least 1"),
    ],
)
def test_values_out_of_range_are_refused(small: Callable[..., Recipe], key: str, value: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        small(**{key: value})


def test_an_unknown_language_raises_its_own_error_with_a_suggestion(small: Callable[..., Recipe]) -> None:
    with pytest.raises(UnknownLanguage, match=r"unknown language 'swahli', did you mean 'sw'\?"):
        small(languages='["fi", "swahli"]')


@pytest.mark.parametrize("key", ["name__x", "corpus__source__x", "languages__0"])
def test_an_override_inside_a_value_is_refused(small: Callable[..., Recipe], key: str) -> None:
    with pytest.raises(RecipeError, match=r"cannot set .*: \w+ is a value, not a section"):
        small(**{key: "1"})


@pytest.mark.parametrize("key", ["", ".", "corpus.", ".corpus"])
def test_an_override_without_a_key_is_refused(small: Callable[..., Recipe], key: str) -> None:
    with pytest.raises(RecipeError, match="unknown key"):
        small(**{key: "1"})


# Good input


def test_the_smallest_recipe_gets_every_default(small: Callable[..., Recipe]) -> None:
    found = small()
    assert found.languages == ("sw", "fi")
    assert found.generate.model == Model(name="org/writer")
    assert found.corpus.filters == Filters()
    assert found.seed == 240519744


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("generate__candidates", "8", 8),
        ("generate__temperature", "1", 1.0),
        ("generate__model__name", "org/other", "org/other"),
        ("generate__model__name", '"org/quoted"', "org/quoted"),
        ("generate__styles", '["search"]', ("search",)),
        ("generate__instruction_language", "swh_Latn", "sw"),
        ("corpus__filters__language_check", "false", False),
        ("corpus__license", "CC BY 4.0", "CC BY 4.0"),
        ("corpus__documents", "1_000", 1000),
        ("refine__min_score", "-inf", float("-inf")),
        ("publish__pretty_name", "Two words = fine", "Two words = fine"),
    ],
)
def test_overrides_are_parsed_by_the_type_of_the_key(
    small: Callable[..., Recipe], key: str, value: str, expected: Any
) -> None:
    found: Any = small(**{key: value})
    for part in key.split("__"):
        found = getattr(found, part)
    assert found == expected
    assert type(found) is type(expected)


def test_overrides_change_nothing_else(small: Callable[..., Recipe]) -> None:
    changed = small(generate__candidates="8", generate__model__threads="2")
    before, after = flatten(small()), flatten(changed)
    assert {key for key in before if before[key] != after[key]} == {"generate.candidates", "generate.model.threads"}


def test_an_override_may_add_a_section(small: Callable[..., Recipe]) -> None:
    assert small(publish__test="0.1").publish.test == 0.1


def test_every_included_recipe_is_listed() -> None:
    assert {"demo", "eight-gpus", "files", "muri", "one-gpu", "x-instruction"} <= set(names())


def test_only_recipes_with_the_embedded_generator_use_the_combined_rater() -> None:
    """The included weights were fitted to candidates of the embedded model, so other recipes use another rater."""
    raters = {name: load(name).refine for name in names()}
    combined = {name for name, refine in raters.items() if refine.rater == "combined" and not refine.weights}
    assert combined == {"demo", "english-pages", "files", "translated-pages"}
    for name in ("x-instruction", "one-gpu", "eight-gpus", "muri"):
        found = load(name)
        assert found.generate.model.name == raters[name].rater_model.name
        assert {model.engine for model in found.models} == {"vllm"}


@pytest.mark.parametrize("name", names())
def test_included_recipes_round_trip(name: str) -> None:
    found = load(name)
    assert found.name == name
    assert loads(dumps(found)) == found
    assert dumps(loads(dumps(found))) == dumps(found)


@pytest.mark.parametrize("name", names())
def test_dumps_writes_every_key(name: str) -> None:
    def keys(kind: Section, prefix: str = "") -> set[str]:
        found = set()
        for name in type(kind).model_fields:
            value = getattr(kind, name)
            found |= keys(value, f"{prefix}{name}.") if isinstance(value, Section) else {f"{prefix}{name}"}
        return found

    written = set(flatten(json.loads(dumps(load(name))))) - {"checksum"}
    assert written == keys(load(name)) == set(flatten(load(name)))


def test_dumps_keeps_non_latin_text(small: Callable[..., Recipe]) -> None:
    found = small(publish__pretty_name="คำสั่ง বাংলা")
    assert "คำสั่ง বাংলা" in dumps(found)
    assert loads(dumps(found)) == found


def test_flatten_gives_dotted_keys(small: Callable[..., Recipe]) -> None:
    flat = flatten(small())
    assert flat["languages"] == ["sw", "fi"]
    assert flat["corpus.filters.min_chars"] == 200
    assert flat["corpus.documents"] is None
    assert not any(isinstance(value, dict | tuple) for value in flat.values())
    assert flatten({"a": {"b": {"c": (1, 2)}}, "d": 3}, "x.") == {"x.a.b.c": [1, 2], "x.d": 3}


def test_the_digest_is_stable() -> None:
    assert digest({"a": 1, "b": [True, None, "น้ำ"]}) == digest({"b": [True, None, "น้ำ"], "a": 1})
    # Seeds, caches and settings of finished runs depend on this value.
    assert digest({"a": 1, "b": 2}) == "43258cff783fe7036d8a43033f830adf"
    assert len({digest(value) for value in ({"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": [1]}, {"b": 1}, [["a", 1]])}) == 6


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(), VALUES, max_size=5), st.randoms())
def test_the_digest_ignores_the_order_of_keys(value: dict[str, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/me/model", "model"),
        ("/data/me/model/", "model"),
        ("~/corpora/*.jsonl", "*.jsonl"),
        ("../mine/prompt.txt", "prompt.txt"),
        ("./prompt.txt", "prompt.txt"),
        (".cache/lid.bin", "lid.bin"),
        ("C:\\models\\tiny", "tiny"),
        ("file:///data/rows.jsonl", "rows.jsonl"),
        ("org/model", "org/model"),
        ("seeds/{tag}.jsonl", "seeds/{tag}.jsonl"),
        ("... and/or", "... and/or"),
        ("answer", "answer"),
        ("", ""),
    ],
)
def test_without_folder_keeps_the_last_part_of_a_local_path(text: str, expected: str) -> None:
    assert without_folder(text) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://me:secret@host/x.jsonl", "https://host/x.jsonl"),
        ("https://host/x.jsonl?signature=secret", "https://host/x.jsonl"),
        ("https://me@host/{tag}/*.jsonl?a=b@c", "https://host/{tag}/*.jsonl"),
        ("s3://key:secret@bucket/x", "s3://bucket/x"),
        ("simplecache::s3://key:secret@bucket/x", "simplecache::s3://bucket/x"),
        ("zip://*.jsonl::https://me:secret@host/x.zip?t=secret", "zip://*.jsonl::https://host/x.zip"),
        ("hf://datasets/org/name/x.parquet", "hf://datasets/org/name/x.parquet"),
        ("corpus-?/x@y.jsonl", "corpus-?/x@y.jsonl"),
        ("s3://bucket/part-?.jsonl", "s3://bucket/part-?.jsonl"),
    ],
)
def test_published_settings_have_no_password_of_an_address(address: str, expected: str) -> None:
    settings = portable(Corpus(source="files", paths=(address,)))
    assert settings["paths"] == [expected]
    assert "secret" not in str(settings)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("generate__tune__rank", "8", r"generate\.tune was renamed to generate\.train"),
        ("refine__builders", "['pair']", r"refine\.builders was renamed to refine\.label_strategies"),
        ("refine__development", "0.2", r"refine\.development was renamed to refine\.validation"),
        ("refine__train__end_share", "0.2", r"train\.end_share was renamed to refine\.train\.min_lr_ratio"),
        ("refine__train__sampling", "in_order", r"sampling is 'in_order', which was renamed to 'sequential'"),
        ("refine__label_strategies", "['pair', 'weaker']", r"is 'weaker', which was renamed to 'weak-instruction'"),
        ("generate__model__server__patience", "9", r"patience was renamed to generate\.model\.server\.outage_timeout"),
        ("generate__prompt", "tuned-auto", r"generate\.prompt is 'tuned-auto', which was renamed to 'trained-auto'"),
        ("corpus__filters__language", "false", r"language was renamed to corpus\.filters\.language_check"),
    ],
)
def test_an_old_key_is_refused_with_the_new_one(
    small: Callable[..., Recipe], key: str, value: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        small(**{key: value})


def test_the_new_names_of_old_keys_exist() -> None:
    """Every new key that an error names is a key of its section."""
    kinds = {kind.__name__: kind for kind in Section.__subclasses__()}
    kinds |= {kind.__name__: kind for parent in list(kinds.values()) for kind in parent.__subclasses__()}
    for name, keys in RENAMED_KEYS.items():
        assert set(keys.values()) <= kinds[name].model_fields.keys()
        assert keys.keys().isdisjoint(kinds[name].model_fields)


# What a recipe may be read from


def test_a_dict_is_loaded_and_not_changed() -> None:
    table = tomllib.loads(SMALL)
    before = copy.deepcopy(table)
    found = load(table, {"generate.candidates": 8, "publish.test": 0.1})
    assert table == before
    assert (found.generate.candidates, found.publish.test) == (8, 0.1)
    assert load(load(table).model_dump()) == load(table)


def test_a_recipe_object_is_loaded(small: Callable[..., Recipe]) -> None:
    recipe = small()
    assert load(recipe) is recipe
    changed = load(recipe, {"generate.train.rank": 8, "seeds.paths": ["seeds.jsonl"]})
    assert changed.generate.train == TrainConfig(rank=8)
    assert changed.replace(generate=recipe.generate, seeds=recipe.seeds) == recipe


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "the recipe is 3, expected a path, a name, a dict or a recipe"),
        ({"name": 3}, "name is 3, expected a string"),
        ({}, "name is missing and has no default"),
    ],
)
def test_other_types_are_refused(source: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load(source)


def test_sections_made_in_python_are_validated() -> None:
    with pytest.raises(RecipeError, match=r"^batch_size is 0, expected a number above 0$"):
        Model(name="m", batch_size=0)
    with pytest.raises(RecipeError, match=r"^server\.retries is -1, expected 0 or more$"):
        Model(name="m", server={"retries": -1})
    with pytest.raises(RecipeError, match=r"^unknown key thread, did you mean 'threads'\?"):
        Model(name="m").replace(thread=2)


def test_every_rater_but_none_needs_a_model() -> None:
    writer = Model(name="org/writer")
    table = tomllib.loads(SMALL)
    table["refine"] = {"rater": "none"}
    whole = load(table)
    assert whole.models == (writer,)
    rater = Model(name="org/rater")
    assert whole.replace(refine=Refine(rater="none", model=rater)).models == (writer,)
    assert whole.replace(refine=Refine(rater="pmi", model=rater)).models == (writer, rater)
    with pytest.raises(RecipeError, match='model is missing, expected the model that the rater "pmi" asks'):
        Refine(rater="pmi")
    with pytest.raises(RecipeError, match=r"refine\.model is missing"):
        _ = whole.refine.rater_model


def test_a_recipe_of_a_run_that_was_changed_is_named() -> None:
    settings = load("demo")
    text = dumps(settings)
    assert loads(text) == of_run("runs/demo", text.encode()) == settings
    with pytest.raises(RecipeError, match=r"runs/demo/recipe.json is damaged .*: run the recipe again.*its checksum"):
        of_run("runs/demo", text.replace('"seed": 240519744', '"seed": 240519745').encode())
    # Earlier versions wrote no checksum.
    table = {name: value for name, value in json.loads(text).items() if name != "checksum"}
    assert loads(json.dumps(table)) == settings
    for data, said in ((None, "it has no recipe.json"), (b"{", "damaged"), (b"\xff", "damaged"), (b"[]", "an object")):
        with pytest.raises(RecipeError, match=said):
            of_run("runs/demo", data)
