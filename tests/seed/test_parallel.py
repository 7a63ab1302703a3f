import json

import pytest
import real_texts

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


def test_a_page_gives_a_pair(tmp_path):
    (pair,) = read(tmp_path, [page("a")])
    assert "Choose a password" in pair.instruction
    assert "Long ones are better." in pair.instruction
    assert (pair.output, pair.language, pair.source, pair.license) == ("Tumia nywila ndefu.", "sw", "docs", "CC0-1.0")


def test_unusable_pages_are_dropped(tmp_path):
    rows = [
        page("ok"),
        page("same", text="Use long passwords. Always."),
        page("article", title_en="Article 7", summary_en=""),
        page("named", title_en="Preamble of rights", summary_en=""),
        page("summed", title_en="Article 7"),
        page("bare", title_en="Article 7", summary_en="", text_en=""),
        page("word", title_en="Article 7", summary_en="", text_en="7."),
        {"text": "x"},
        page("odd", summary_en=["x"]),
    ]
    made = {m.id: m.reason if isinstance(m, Dropped) else "pair" for m in read(tmp_path, rows)}
    assert made == {
        "ok": "pair",
        "same": "untranslated",
        "article": "pair",
        "named": "pair",
        "summed": "pair",
        "bare": "no_topic",
        "word": "no_topic",
        "pages.jsonl:8": "wrong_shape",
        "pages.jsonl:9": "wrong_shape",
    }


def test_titles_are_english(tmp_path):
    assert [m.reason for m in read(tmp_path, [page("a")], instruction_language="sw")] == ["other_language"]


def test_another_shape_is_reported(tmp_path):
    with pytest.raises(CorpusError, match="row 1: expected columns text and title_en, there are 'instruction'"):
        read(tmp_path, [{"instruction": "x"}])


def test_instructions_vary_by_page_and_are_deterministic():
    made = [instruction(f"Title {i}", "Summary") for i in range(60)]
    assert made == [instruction(f"Title {i}", "Summary") for i in range(60)]
    assert len({text.split()[0] for text in made}) >= 5
    assert all("Summary." in text for text in made)
    assert "{" not in "".join(made)
    assert instruction("A {brace} here", "And {there}.")


@pytest.mark.parametrize(
    ("title", "summary", "english", "expected"),
    [
        # A title without a topic: the first sentence with words.
        ("Article 7", "", "1. Everyone has duties. No State may deny them.", "“Everyone has duties.”"),
        ("Article 7", "", f"{'All people, ' * 30}are free.", "All people…”"),
        ("Article 7", "", "word " * 90, "word word…”"),
        # The title or the summary names the topic.
        ("Preamble of rights", "", "Everyone has duties.", "“Preamble of rights”"),
        ("Article 7", "On duties", "Everyone has duties.", "On duties."),
        # A summary would answer a question.
        ("Why is it slow?", "Too many programs run.", "", "Why is it slow?"),
    ],
)
def test_the_instruction_names_the_topic(title, summary, english, expected):
    made = instruction(title, summary, english)
    assert expected in made
    assert len(made) < 300
    assert "Too many" not in made


@real_texts.needs_real_texts
def test_every_article_of_the_declaration_gives_a_pair():
    made = list(read_parallel(real_texts.DATA / "parallel" / "sw.jsonl", 1_000_000, "sw"))
    articles = [record for record in made if record.id.startswith("udhr-")]
    assert len(articles) == 31
    assert not [record for record in articles if isinstance(record, Dropped)]
    # No instruction that only gives a number, and none twice.
    assert not [pair for pair in articles if "Article" in pair.instruction]
    assert len({pair.instruction for pair in articles}) == 31
