import json

import pytest

from x_instruction.errors import CorpusError
from x_instruction.records import Dropped
from x_instruction.seed.parallel import instruction, read_parallel


def page(id, **values):
    return {
        "id": id,
        "title_en": "Choose a password",
        "summary_en": "Long ones are better",
        "text_en": "Use long  passwords.\nAlways.",
        "text": "Tumia nywila ndefu.",
        "lang": "sw",
        "source": "docs",
        "license": "CC0-1.0",
    } | values


def read(tmp_path, rows, **values):
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return list(read_parallel(path, 10_000, "sw", **values))


def test_a_page_is_a_pair(tmp_path):
    (pair,) = read(tmp_path, [page("a")])
    assert "Choose a password" in pair.instruction
    assert "Long ones are better." in pair.instruction
    assert (pair.output, pair.language, pair.source, pair.license) == ("Tumia nywila ndefu.", "sw", "docs", "CC0-1.0")


def test_what_is_no_pair(tmp_path):
    rows = [
        page("ok"),
        page("same", text="Use long passwords. Always."),
        page("article", title_en="Article 7", summary_en=""),
        page("named", title_en="Preamble of rights", summary_en=""),
        page("summed", title_en="Article 7"),
        {"text": "x"},
        page("odd", summary_en=["x"]),
    ]
    made = {m.id: m.reason if isinstance(m, Dropped) else "pair" for m in read(tmp_path, rows)}
    assert made == {
        "ok": "pair",
        "same": "untranslated",
        "article": "no_topic",
        "named": "pair",
        "summed": "pair",
        "pages.jsonl:6": "wrong_shape",
        "pages.jsonl:7": "wrong_shape",
    }


def test_titles_are_english(tmp_path):
    assert [m.reason for m in read(tmp_path, [page("a")], instruction_language="sw")] == ["other_language"]


def test_another_shape_is_named(tmp_path):
    with pytest.raises(CorpusError, match="row 1: expected columns text and title_en, there are 'instruction'"):
        read(tmp_path, [{"instruction": "x"}])


def test_instructions_vary_and_are_the_same_for_the_same_page():
    made = [instruction(f"Title {i}", "Summary") for i in range(60)]
    assert made == [instruction(f"Title {i}", "Summary") for i in range(60)]
    assert len({text.split()[0] for text in made}) == 3
    assert all("Summary." in text for text in made)
    assert "{" not in "".join(made)
    assert instruction("A {brace} here", "And {there}.")
