import re

import pytest
import yaml

from x_instruction.builders.card import funnel
from x_instruction.builders.escaping import escape, model, plain
from x_instruction.builders.facts import SHOWN, TOLD_APART, Tally
from x_instruction.builders.layout import build
from x_instruction.builders.licenses import hub_license, license_metadata
from x_instruction.builders.reading import load

HOSTILE = (
    "<script>alert(1)</script> | a | b |\n\n---\nlicense: mit\n# Title ](http://x) `c` "
    "\u202ertl\u2066 \x00\x1b[31m {{ 7*7 }}"
)


def parts(folder):
    _, head, body = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(head), body


def test_hostile_text_changes_neither_the_yaml_nor_the_card(run, kit, folder):
    evil = {"source": HOSTILE, "license": HOSTILE, "url": HOSTILE, "document_id": HOSTILE, "instruction": HOSTILE}
    models = {"generator": HOSTILE, "generator_revision": HOSTILE, "rater": HOSTILE, "embedder": HOSTILE}
    rows = [kit.curated("ur", number, **evil, **models) for number in range(5)]
    kit.write(run, "ur", rows)
    kit.write(run, "sw", [kit.curated("sw", number, **evil, **models) for number in range(5)])
    build(run, kit.recipe(("ur", "sw"), pretty_name=HOSTILE), folder)
    head, body = parts(folder)
    assert head["license"] == "other"
    assert head["language"] == ["ur", "sw", "en"]
    assert "<script" not in body
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", (folder / "README.md").read_text("utf-8"))
    assert "{{ 7" not in body
    assert "](http" not in body
    for table in re.findall(r"(?:^\|.*\n)+", body, flags=re.M):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert [line for line in body.splitlines() if line.startswith("#")][1:] == [
        "## Load",
        "## Sources and licences",
        "## How it was made",
        "## Columns",
        "## Limits",
    ]
    # The rows themselves are untouched.
    assert load("ur", folder, split="train")["source"][0] == HOSTILE


def test_yaml_keeps_norwegian_a_language(run, kit, folder):
    build(run, kit.recipe(("no",)), folder)
    head, _ = parts(folder)
    assert head["language"] == ["no", "en"]
    assert sorted(config["config_name"] for config in head["configs"]) == ["all", "no"]
    assert load("Norwegian", folder, split="train").num_rows == 24


def test_the_funnel_sums_every_age_of_the_languages_in_the_set(run, kit, folder):
    kit.write_earlier(run, "sw")
    kit.write_earlier(run, "th")
    lines = funnel(run, {"sw": None})
    assert [(line["age"], line["rows_in"], line["kept"]) for line in lines] == [
        ("passage", 4, 1),
        ("candidate", 4, 1),
        ("rated", 4, 1),
        ("curated", 26, 24),
    ]
    assert lines[0]["dropped"] == {"passage_bad": 3}
    build(run, kit.recipe(("sw",)), folder)
    assert "| `sw` | passage | 4 | 1 | passage&#95;bad 3 |" in parts(folder)[1]


def test_the_card_shows_no_folder_of_the_machine(run, kit, folder):
    rows = [kit.curated("sw", n, generator="/home/someone/models/tiny", rater="pmi:/mnt/x/rater") for n in range(3)]
    kit.write(run, "sw", rows)
    build(run, kit.recipe(("sw",)), folder)
    _, body = parts(folder)
    assert "someone" not in body
    assert "| tiny |" in body


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("org/model", "org/model"),
        ("embedded", "embedded"),
        ("pmi:org/model", "pmi:org/model"),
        ("/a/b/model/", "model"),
        ("pmi:~/b/model", "pmi:model"),
        ("C:\\models\\tiny", "C:tiny"),
        ("a/b/c", "c"),
    ],
)
def test_model_names(name, shown):
    assert model(name) == shown


def test_plain_text_is_one_line_of_bounded_length():
    assert plain("a\n\n b\u2028c\x85d\u200bم\u200cن") == "a b c d م\u200cن"
    assert len(plain("x" * 10_000)) == 121
    assert escape("a|b*") == "a&#124;b&#42;"
    assert escape(3) == 3


@pytest.mark.parametrize(
    ("stated", "identifier"),
    [
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("cc-by-4.0", "cc-by-4.0"),
        ("ODC-By 1.0", "odc-by"),
        ("Apache_2.0", "apache-2.0"),
        ("unknown", "unknown"),
        ("", "unknown"),
        ("Gutenberg", None),
    ],
)
def test_licences_of_the_hub(stated, identifier):
    assert hub_license(stated) == identifier


def tally(*values):
    counted = Tally()
    for value in values:
        counted.add(value)
    return counted


def test_the_licence_of_the_set_is_that_of_its_rows():
    assert license_metadata(tally("CC BY 4.0", "cc-by-4.0")) == {"license": "cc-by-4.0"}
    mixed = license_metadata(tally("mit", "mit", "CC BY 4.0"))
    assert mixed == {
        "license": "other",
        "license_name": "mixed-see-column-license",
        "license_details": "mit; CC BY 4.0",
    }
    assert license_metadata(tally("Gutenberg"))["license_name"] == "as-the-source-states"


def test_a_licence_per_row_fills_neither_memory_nor_card():
    counted = tally(*(f"licence {number}" for number in range(TOLD_APART + 500)))
    assert len(counted.counts) == TOLD_APART
    assert len(counted.shown()) == SHOWN
    assert counted.hidden() == TOLD_APART + 500 - SHOWN
    twice = tally()
    twice.merge(counted)
    twice.merge(counted)
    assert twice.hidden() == 2 * (TOLD_APART + 500) - 2 * SHOWN
    assert license_metadata(counted)["license_details"].endswith("; and others (1490 rows)")
