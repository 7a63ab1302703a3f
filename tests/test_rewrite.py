"""Rewriting of responses: kept and refused rewrites, over HTTP and by the rules alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from engines.openai_server import OpenAIServer, reply

from x_instruction.cli import cli
from x_instruction.config.model import Model, Server
from x_instruction.config.rewrite import Rewriting
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import language
from x_instruction.rewrite import new_names, new_numbers, write
from x_instruction.seed.pairs import Pair, read_pairs

PAGE = (
    "Etusivu | Kauppa | Ota yhteyttä\n"
    "Sauna on suomalaisen kodin sydän. Vuonna 2019 maassa oli noin 3,2 miljoonaa saunaa, kertoo Helsingin yliopisto.\n"
    "Lue myös: kymmenen vinkkiä kesään"
)
GOOD = "Sauna on suomalaisen kodin sydän. Vuonna 2019 maassa oli noin 3,2 miljoonaa saunaa."
# The answer of the model for each instruction, with the outcome.
ANSWERS = {
    "Kept?": (GOOD, "rewritten", ""),
    "Thinks?": (f"<think>\nThe page says...\n</think>\n\n{GOOD}", "rewritten", ""),
    "Fenced?": (f"```text\n{GOOD}\n```", "rewritten", ""),
    "Same?": (PAGE, "unchanged", ""),
    "Inflected?": (f"{GOOD} Luvun kertoo yliopisto Helsingissä.", "rewritten", ""),
    "Number?": (GOOD.replace("2019", "2021"), "new_number", "2021"),
    "Name?": (f"{GOOD} Niin kertoo myös tutkija Virtanen.", "new_name", "Virtanen"),
    "English?": (
        "The sauna is the heart of a home in this country, and there are very many of them in all towns.",
        "wrong_language",
        "",
    ),
    "Sorry?": ("I'm sorry, but I can't help with that. Please give me another page instead.", "refusal", "I'm sorry"),
    "Short?": ("Sauna on hyvä.", "too_short", "of the natural text"),
    "Long?": (f"{GOOD} {GOOD} {GOOD} {GOOD}", "adds_text", "of the natural text"),
    "Empty?": ("<think>\nI should answer", "empty", ""),
    "Cut?": (GOOD, "cut_off", "saunaa."),
}


# Instructions of the requests to rewrite, without what the engine asks to find out about the server.
SENT: list[str] = []


def scripted(path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
    if not path.endswith("/chat/completions"):
        return None
    prompt = body["messages"][-1]["content"]
    found = next((name for name in ANSWERS if f"\n{name}\n" in prompt), None)
    if found is None:
        return None
    SENT.append(found)
    made = reply(path, body)
    made["choices"][0]["message"]["content"] = ANSWERS[found][0]
    if found == "Cut?":
        made["choices"][0]["finish_reason"] = "length"
    return 200, made


def pairs(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def pair(instruction: str, **more: Any) -> dict[str, Any]:
    return {"id": instruction, "instruction": instruction, "output": PAGE, "language": "fi", "license": "mit"} | more


def settings(url: str, **more: Any) -> Rewriting:
    model = Model(name="test/model", engine="openai", server=Server(url=url, retries=1))
    return Rewriting(model=model, **more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The rows of all answers, with the report and the dropped rows."""
    folder = tmp_path_factory.mktemp("rewrite")
    source = pairs(folder / "in.jsonl", *map(pair, ANSWERS), pair("None?", output=" "))
    with OpenAIServer(fault=scripted) as server:
        report = write([source], settings(server.url), folder / "out.jsonl")
        first = (folder / "out.jsonl").read_bytes()
        asked = len(SENT)
        write([source], settings(server.url), folder / "out.jsonl")
        again = (folder / "out.jsonl").read_bytes(), len(SENT)
    return {
        "report": report,
        "rows": {row["id"]: row for row in map(json.loads, first.decode().splitlines())},
        "dropped": {row["id"]: row for row in pq.read_table(folder / "out.dropped.parquet").to_pylist()},
        "first": (first, asked),
        "again": again,
        "file": folder / "out.jsonl",
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_each_rewrite_is_kept_or_refused_with_a_reason(made: dict[str, Any], name: str) -> None:
    answer, outcome, detail = ANSWERS[name]
    row = made["rows"][name]
    assert row["rewrite"] == outcome
    # The natural text is in its own column, whatever the outcome of the rewrite.
    assert row["natural_output"] == PAGE
    assert (row["license"], row["instruction"]) == ("mit", name)
    if outcome in ("rewritten", "unchanged"):
        assert row["output"] in answer
        assert "think" not in row["output"]
        assert row["rewriter"] == "test/model"
        assert name not in made["dropped"]
    else:
        assert row["output"] == PAGE
        assert row["rewriter"] == ""
        assert made["dropped"][name]["reason"] == outcome
        assert detail in made["dropped"][name]["detail"]


def test_the_report_counts_every_row(made: dict[str, Any]) -> None:
    report = made["report"]
    assert (report["rows_in"], report["kept"]) == (len(ANSWERS) + 1, len(ANSWERS))
    assert sum(report["outcomes"].values()) == len(ANSWERS)
    assert report["dropped"] == {"empty": 1}
    assert report["model"]["name"] == "test/model"


def test_a_second_run_sends_no_requests_and_gives_the_same_bytes(made: dict[str, Any]) -> None:
    assert made["again"] == made["first"]


def test_the_file_can_be_read_as_pairs(made: dict[str, Any]) -> None:
    found = [record for record in read_pairs(made["file"], 100_000) if isinstance(record, Pair)]
    assert {record.id: record.output for record in found}["Kept?"] == GOOD


def test_refused_rewrites_can_be_dropped(tmp_path: Path) -> None:
    source = pairs(tmp_path / "in.jsonl", pair("Kept?"), pair("Number?"))
    with OpenAIServer(fault=scripted) as server:
        write([source], settings(server.url, fallback="drop"), tmp_path / "out.jsonl")
        assert [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ["Kept?"]
        with pytest.raises(CorpusError, match=r"no rewrite is kept \(new_number 1\)"):
            write(
                [pairs(tmp_path / "bad.jsonl", pair("Number?"))],
                settings(server.url, fallback="drop"),
                tmp_path / "none.jsonl",
            )
        # Each check can be turned off, and a long text is not sent at all.
        write([source], settings(server.url, check_numbers=False), tmp_path / "all.jsonl")
        asked = len(SENT)
        write([source], settings(server.url, passage_tokens=5), tmp_path / "long.jsonl")
        assert len(SENT) == asked
    for name, outcomes in {"all": {"rewritten": 2}, "long": {"too_long": 2}}.items():
        assert json.loads((tmp_path / f"{name}.report.json").read_text())["outcomes"] == outcomes


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        ([pair("a", language=None)], {}, CorpusError, "names no language in the row a: add a column language"),
        ([pair("a", language="zzzz")], {}, CorpusError, "row a: .*zzzz"),
        ([pair("a", language="ti")], {}, RecipeError, "Tigrinya"),
        ([pair("a", output="")], {}, CorpusError, "no pair to rewrite in in.jsonl"),
        ([pair("a")], {"prompt": "answer"}, RecipeError, "prompt answer"),
        ([pair("a")], {"prompt": "nothing"}, RecipeError, "nothing"),
    ],
)
def test_bad_input_is_refused(
    tmp_path: Path, rows: list[dict[str, Any]], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    source, before = pairs(tmp_path / "in.jsonl", *rows), len(SENT)
    with OpenAIServer(fault=scripted) as server, pytest.raises(error, match=message):
        write([source], settings(server.url, **options), tmp_path / "out.jsonl")
    assert not SENT[before:]
    assert not (tmp_path / "out.jsonl").exists()


def test_base_models_and_other_files_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    source = pairs(tmp_path / "in.jsonl", pair("a"))
    base = Rewriting(model=Model(name=str(tiny_model)))
    with pytest.raises(RecipeError, match=r"rewrite-chat is a chat prompt, and .* has no chat template"):
        write([source], base, tmp_path / "out.jsonl")
    with pytest.raises(RecipeError, match=r"expected a name that ends in \.jsonl"):
        write([source], base, tmp_path / "out.csv")
    with pytest.raises(RecipeError, match="is also an input"):
        write([source], base, source)
    with pytest.raises(RecipeError, match=r'model\.engine is "batch"'):
        Rewriting(model=Model(name="m", engine="batch"))
    with pytest.raises(RecipeError, match=r"min_length is 0\.9, expected less than max_length, 0\.5"):
        Rewriting(model=Model(name="m"), min_length=0.9, max_length=0.5)


def test_the_command_writes_rewrites(tmp_path: Path) -> None:
    source = pairs(tmp_path / "in.jsonl", pair("Kept?"), pair("Name?"))
    with OpenAIServer(fault=scripted) as server:
        line = ["seeds", "rewrite", str(source), "--out", str(tmp_path / "out.jsonl"), "--set", "model.name=test/model"]
        done = CliRunner().invoke(
            cli, [*line, "--set", "model.engine=openai", "--set", f"model.server.url={server.url}"]
        )
    assert done.exit_code == 0, done.output
    assert "rewritten                        1" in done.output
    assert "new_name                         1" in done.output
    assert f"{tmp_path / 'out.jsonl'}: 2 of 2 rows" in done.output


@pytest.mark.parametrize(
    ("text", "known", "new"),
    [
        ("In 2019.", "2019", []),
        ("In 2020.", "2019", ["2020"]),
        # Digits of other scripts, and separators, are the same number.
        ("२०१९", "2019", []),
        ("1 000 and 1,000 and 1.000", "1000", []),
        ("1000", "1 000", []),
        ("On 5.3.2019", "5 March 2019, 3 pm", []),
        ("On 6.3.2019", "5 March 2019, 3 pm", ["6.3.2019"]),
        # Numbers of a list are no facts.
        ("1. First\n2. Second", "First and second", []),
    ],
)
def test_new_numbers_are_found(text: str, known: str, new: list[str]) -> None:
    assert new_numbers(text, known) == new


@pytest.mark.parametrize(
    ("tag", "text", "known", "new"),
    [
        ("fi", "Kaupunki on Helsingissä.", "Helsinki on kaupunki.", []),
        ("fi", "Kaupunki on Turku.", "Helsinki on kaupunki.", ["Turku"]),
        # The first word of a sentence or a quotation has a capital anyway.
        ("fi", "Talvi on pitkä. Kesä on lyhyt. Hän sanoi: “Sauna on lämmin.”", "x", []),
        ("fi", "Kaupunki on Ulmissa.", "Ulm", []),
        ("fi", "Kaupunki on Turku.", "Turha matka.", ["Turku"]),
        ("tr", "Şehir Ankara'da.", "Ankara", []),
        ("de", "Das Haus steht in Berlin.", "x", []),
        ("th", "ใช้ LibreOffice บน Linux", "LibreOffice", ["Linux"]),
        ("th", "ใช้โปรแกรม", "x", []),
        ("ru", "Город Москва большой.", "В Москве много людей.", []),
        ("ru", "Город Киров большой.", "В Москве много людей.", ["Киров"]),
    ],
)
def test_new_names_are_found(tag: str, text: str, known: str, new: list[str]) -> None:
    assert new_names(text, known, language(tag)) == new
