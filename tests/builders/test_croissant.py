"""``croissant.json``: valid, truthful, and enough for its own library to load rows from the folder."""

import json

import datasets
import pytest

from x_instruction.builders.layout import build
from x_instruction.builders.schema import COLUMNS
from x_instruction.cards.croissant import CROISSANT

# rdflib and pandas change under mlcroissant 1.1.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning"),
]
HOSTILE = '"\\ \u202e </script> {"@id": "x"}\n'


@pytest.fixture
def whole(run, split_recipe, folder):
    build(run, split_recipe, folder)
    return folder


def opened(folder, caplog):
    mlcroissant = pytest.importorskip("mlcroissant")
    found = mlcroissant.Dataset(jsonld=str(folder / CROISSANT))
    # A folder does not know when it will be published; nothing else is missing.
    warned = [record.getMessage() for record in caplog.records if "datePublished" not in record.getMessage()]
    assert warned == []
    assert not found.metadata.ctx.issues.errors
    return found


def test_it_is_valid_and_has_a_record_set_for_every_config(whole, kit, caplog):
    found = opened(whole, caplog)
    assert {one.uuid for one in found.metadata.record_sets} == {*kit.languages, "all"}
    assert found.metadata.data_biases
    assert found.metadata.personal_sensitive_information
    assert found.metadata.data_limitations
    assert found.metadata.data_preprocessing_protocol
    assert found.metadata.data_use_cases
    assert "synthetic" in found.metadata.data_annotation_protocol[0]


def test_rows_equal_those_loaded_by_datasets(whole, caplog):
    expected = datasets.load_dataset(str(whole), "ur")
    rows = list(opened(whole, caplog).records("ur"))
    assert len(rows) == sum(map(len, expected.values()))
    by_id = {row["id"]: (split, row) for split, data in expected.items() for row in data}
    for row in rows:
        text = {key.partition("/")[2]: v.decode() if isinstance(v, bytes) else v for key, v in row.items()}
        split, same = by_id[text["id"]]
        assert text.pop("split") == split
        assert text == same
        assert list(text) == [column.name for column in COLUMNS]


def test_all_holds_every_row(whole, kit, caplog):
    assert len(list(opened(whole, caplog).records("all"))) == 24 * len(kit.languages)


def test_metadata_comes_from_the_run(whole):
    table = json.loads((whole / CROISSANT).read_text("utf-8"))
    assert table["rai:dataPreprocessingProtocol"][0] == "sw, corpus: 26 in, 24 kept, dropped: passage_bad 2"
    assert table["rai:machineAnnotationTools"][0].startswith("org/generator, revision abc")
    assert table["license"] == "cc-by-sa-4.0"
    assert table["inLanguage"] == ["sw", "th", "ur", "no"]
    assert f"{24 * 4} instruction-response pairs in Swahili" in table["description"]
    assert "None" not in json.dumps(table)


def test_unrated_data_is_not_described_as_rated(run, kit, folder):
    unrated = {"rater": "none", "rater_revision": ""}
    asked = kit.recipe(("sw", "ur"))
    kit.write(run, "ur", [kit.curated("ur", number, **unrated) for number in range(5)])
    kit.write(run, "sw", [kit.curated("sw", number) for number in range(5)])
    build(run, asked, folder)
    table = json.loads((folder / CROISSANT).read_text("utf-8"))
    assert "its response, and pmi:org/rater rated some. No person" in table["rai:dataAnnotationProtocol"]
    kit.write(run, "sw", [kit.curated("sw", number, **unrated) for number in range(5)])
    build(run, asked.replace(refine=asked.refine.replace(rater="none")), folder)
    table = json.loads((folder / CROISSANT).read_text("utf-8"))
    assert "its response, and no rater scored it. No person" in table["rai:dataAnnotationProtocol"]
    assert not [tool for tool in table["rai:machineAnnotationTools"] if tool.startswith("none")]
    card = (folder / "README.md").read_text("utf-8")
    assert "The pairs were not rated, and the first pair of each passage was kept." in card
    assert "| rated pairs |" not in card


def test_hostile_names_are_escaped(run, kit, folder, caplog):
    evil = dict.fromkeys(("source", "license", "generator", "generator_revision", "rater"), HOSTILE)
    kit.write(run, "ur", [kit.curated("ur", number, **evil) for number in range(5)])
    build(run, kit.recipe(("ur",), pretty_name=f"x{HOSTILE}"), folder)
    assert len(list(opened(folder, caplog).records("ur"))) == 5
    assert "\u202e" not in (folder / CROISSANT).read_text("utf-8")
