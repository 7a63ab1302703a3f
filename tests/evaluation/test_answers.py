"""Questions, and the answers of models to them: from any file, resumed, and joined by id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Say
from local_hub_fixture import RunningHub
from real_texts import DATA, needs_real_texts
from scripted_judges import OWN, JudgeServer, OpenAIServer, noise, rows

from x_instruction.errors import CorpusError, RecipeError
from x_instruction.evaluation.answers import (
    Question,
    Sampling,
    answer_path,
    asked,
    question_path,
    read_folder,
    read_questions,
    system_name,
    system_report,
)
from x_instruction.languages import language

EN, SW, FI = language("en"), language("sw"), language("fi")


def write(path: Path, *lines: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text("".join(f"{line}\n" for line in text), "utf-8")
    return path


# Rows of question sets as they are published, and the question that each one is.
LAYOUTS = [
    ({"question_id": 81, "category": "writing", "text": "Compose."}, Question(81, "Compose.", "en", "writing")),
    ({"question_id": 1, "category": "generic", "turns": ["First.", "Second."]}, Question(1, "First.", "en", "generic")),
    (
        {"id": 7, "inputs": "Explain.", "targets": "...", "language": "eng", "script": "Latn"},
        Question(7, "Explain.", "en"),
    ),
    ({"idx": 3, "Skill": "Math", "Difficulty": 2, "Instruction": "Add."}, Question(3, "Add.", "en", "Math")),
    ({"instruction": "Say."}, Question(1, "Say.", "en")),
]


@pytest.mark.parametrize(("row", "question"), LAYOUTS)
def test_questions_are_read_from_every_layout(row: dict[str, object], question: Question, tmp_path: Path) -> None:
    assert read_questions(str(write(tmp_path / "q.jsonl", row)), EN) == [question]


def test_rows_of_other_languages_are_skipped(tmp_path: Path) -> None:
    path = write(
        tmp_path / "q.jsonl",
        {"id": 1, "inputs": "Miksi?", "language": "fin"},
        {"id": 1, "inputs": "Kwa nini?", "language": "swh"},
        {"id": 1, "inputs": "?", "language": "qqq"},
    )
    assert read_questions(str(path), SW) == [Question(1, "Kwa nini?", "sw")]
    with pytest.raises(CorpusError, match=r"has only questions in fi, qqq, sw, expected some in Thai \(th\)"):
        read_questions(str(path), language("th"))


def test_a_placeholder_in_the_path_selects_the_language(tmp_path: Path) -> None:
    write(tmp_path / "q.sw.jsonl", {"text": "Kwa nini?"})
    assert read_questions(f"{tmp_path}/q.{{tag}}.jsonl", SW) == [Question(1, "Kwa nini?", "sw")]
    with pytest.raises(CorpusError, match=r"cannot read .*q\.fi\.jsonl"):
        read_questions(f"{tmp_path}/q.{{tag}}.jsonl", FI)


@needs_real_texts
@pytest.mark.parametrize("tag", ["en", "hi", "id"])
def test_the_vicuna_questions_are_read(tag: str) -> None:
    questions = read_questions(f"{DATA}/eval/vicuna/question.{{tag}}.jsonl", language(tag))
    assert len(questions) == len({question.id for question in questions}) == 80
    assert {question.language for question in questions} == {tag}


def test_questions_of_a_data_set_on_the_hub(local_hub: RunningHub) -> None:
    repo = local_hub.create("questions/suite")
    rows = [
        {"id": n, "inputs": f"Kwa nini {n}?", "targets": "", "language": tag} for n, tag in enumerate(["swh", "fin"])
    ]
    card = "---\nconfigs:\n- config_name: translated\n  data_files:\n  - split: test\n    path: rows.jsonl\n---\n"
    content = "".join(json.dumps(row) + "\n" for row in rows)
    local_hub.commit(repo, {"README.md": card.encode(), "rows.jsonl": content.encode()})
    read = """
        import sys
        from x_instruction.evaluation.answers import read_questions
        from x_instruction.languages import language
        print(read_questions(sys.argv[1], language("sw")))
    """
    for name in (repo, f"{repo}:translated", f"{repo}:translated:test"):
        assert (
            local_hub.python(read, name).strip() == "[Question(id=0, text='Kwa nini 0?', language='sw', category='')]"
        )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"id": 1, "text": "a"}, {"id": 1, "text": "b"}], "row 2: question_id 1 occurs twice, expected unique ids"),
        ([{"id": 1, "text": ""}], "row 1 has no question: expected text in one of text, turns"),
        ([{"id": [1], "text": "a"}], r"row 1: question_id is \[1\], expected a number or text"),
        (['{"id": 1,'], "row 1: "),
    ],
)
def test_invalid_questions_are_refused(lines: list[object], message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message):
        read_questions(str(write(tmp_path / "q.jsonl", *lines)), EN)


def test_a_cross_lingual_question_names_the_language_of_the_answer() -> None:
    assert asked(Question(1, "Why?", "en"), SW) == "Why? Answer in Swahili."
    assert asked(Question(1, "Why?", "en"), SW, "[{tag}]") == "Why? [sw]"
    assert asked(Question(1, "Kwa nini?", "sw"), SW) == "Kwa nini?"
    assert (system_name("org/Model-7B"), system_name("runs/demo/")) == ("Model-7B", "demo")
    with pytest.raises(RecipeError, match="pass --system NAME"):
        system_name("../")
    with pytest.raises(RecipeError, match="3 samples at temperature 0 are equal"):
        Sampling(samples=3, temperature=0).check()


@pytest.fixture
def questions(tmp_path: Path) -> str:
    for tag, text in (("en", "Why {}?"), ("sw", "Kwa nini {}?"), ("fi", "Miksi {}?")):
        write(tmp_path / f"q.{tag}.jsonl", *({"question_id": n, "text": text.format(n)} for n in range(5)))
    return f"{tmp_path}/q.{{tag}}.jsonl"


def test_answers_are_written_in_both_directions(questions: str, tmp_path: Path, say: Say) -> None:
    out = tmp_path / "answers"
    with JudgeServer(noise) as server:
        sets = ["--set", "engine=openai", "--set", f"server.url={server.url}"]
        arguments = ["eval", "answers", "judge", questions, "--languages", "sw,fi", "--out", out, "--direction", "both"]
        code, shown, _ = say(*arguments, "--samples", 3, *sets)
        assert code == 0
        assert len(shown.splitlines()) == 5
        assert rows(question_path(out / "cross", "sw"))[0] == {
            "question_id": 0,
            "text": "Why 0?",
            "category": "",
            "language": "en",
        }
        written = rows(answer_path(out / "cross", "sw", "judge"))
        assert list(written[0]) == ["question_id", "category", "output-1", "output-2", "output-3"]
        assert written[4]["output-1"] == OWN + "Why 4? Answer in Swahili."[::-1]
        assert rows(answer_path(out / "same", "fi", "judge"))[1]["output-2"] == OWN + "Miksi 1?"[::-1]
        report = json.loads((out / "cross/sw/answer.sw.judge.report.json").read_text())
        assert (report["questions"], report["requests_sent"], report["settings"]["samples"]) == (5, 15, 3)
        # A complete file is not made again, and other settings do not replace it.
        sent = server.answered
        assert say(*arguments, "--samples", 3, *sets)[0] == 0
        assert server.answered == sent
        code, _, errors = say(*arguments, "--samples", 2, *sets)
        assert code == 1
        assert "(samples was 3, is 2): pass --overwrite" in errors
        write(tmp_path / "q.en.jsonl", {"question_id": 1, "text": "Other?"})
        code, _, errors = say(*arguments, "--samples", 3, "--system", "b", *sets)
        assert code == 1
        assert "(questions was 5 questions, is 1 others)" in errors
    (answers, other) = read_folder(out / "cross")
    assert (answers.tag, other.tag) == ("fi", "sw")
    assert len(answers.systems["judge"].answers["0"]) == 3


def test_failed_questions_are_asked_again(questions: str, tmp_path: Path, say: Say) -> None:
    out = tmp_path / "answers"
    refused, asked = ["Why 3?"], []

    def fault(path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        text = json.dumps(body)
        if "Answer in Swahili." in text:
            asked.append(text)
        return (400, {"error": {"message": "no"}}) if any(each in text for each in refused) else None

    with OpenAIServer(fault, models=("judge",)) as server:
        arguments = ["eval", "answers", "judge", questions, "--languages", "sw", "--out", out]
        arguments += ["--set", "engine=openai", "--set", f"server.url={server.url}"]
        code, shown, _ = say(*arguments)
        assert (code, len(asked)) == (0, 5)
        assert "engine_refused 1" in shown
        assert rows(answer_path(out, "sw", "judge"))[3]["error"].startswith("engine_refused")
        refused.clear()
        for _ in range(2):
            assert say(*arguments)[0] == 0
            assert len(asked) == 6
            assert "error" not in rows(answer_path(out, "sw", "judge"))[3]
        code, _, errors = say(*arguments, "--direction", "same")
        assert code == 1
        assert "(language of the questions was en, is sw): pass --overwrite to replace it, or choose another" in errors


def test_the_layout_of_the_paper_is_read_past_two_lines_of_debug_output(tmp_path: Path) -> None:
    write(tmp_path / "fi/question.jsonl", {"question_id": 1, "text": "Miksi?", "category": "generic"})
    write(
        tmp_path / "fi/answer.fi.aug.eval.jsonl",
        "args: Namespace(debug=True)",
        "prompt: ...",
        {"question_id": 1, "category": "generic", "output-1": "Siksi\u2028.", "output-2": "b", "output-3": "c"},
    )
    write(tmp_path / "fi/answer.fi.bx.eval.jsonl", {"question_id": 1, "category": "generic", "output": "Ei."})
    (answers,) = read_folder(tmp_path)
    assert answers.questions == (Question(1, "Miksi?", "fi", "generic"),)
    assert answers.systems["aug"].answers == {"1": ("Siksi\u2028.", "b", "c")}
    assert answers.systems["bx"].answers == {"1": ("Ei.",)}


def test_a_failed_request_is_not_an_answer(tmp_path: Path) -> None:
    write(tmp_path / "fi/question.jsonl", *({"question_id": n, "text": f"Miksi {n}?"} for n in (1, 2)))
    write(
        tmp_path / "fi/answer.fi.a.eval.jsonl",
        {"question_id": 1, "output": "", "error": "engine_too_long: 9000 tokens"},
        {"question_id": 2, "output": ""},
    )
    (answers,) = read_folder(tmp_path)
    assert answers.systems["a"].failed == {"1"}
    assert answers.systems["a"].answers == {"2": ("",)}


A = {"question_id": 1, "output": "a"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([A], "has answers to 1 of 2 questions (none to question_id 2): finish it with the command that wrote it"),
        ([A, A], "row 2: question_id 1 occurs twice, expected one row for each question"),
        ([A, {"question_id": 3, "output": "c"}], "row 2: question.jsonl has no question_id 3"),
        ([{"output": "a"}], "row 1 has no question_id"),
        ([{"question_id": 1}], "row 1 has no answer: expected text in output, or in output-1, output-2 and so on"),
        ([{"question_id": 1, "output": None}], "row 1 has no answer"),
        ([A, {"question_id": 2, "output-1": "a", "output-2": "b"}], "has different numbers of samples"),
        ([A, '{"question_id": 2, "out'], "row 2 is not JSON"),
        ([A, "[1]"], "row 2 is [1], expected an object"),
    ],
)
def test_invalid_answer_files_are_refused(lines: list[object], message: str, tmp_path: Path, say: Say) -> None:
    write(tmp_path / "fi/question.jsonl", *({"question_id": n, "text": f"Miksi {n}?"} for n in (1, 2)))
    write(tmp_path / "fi/answer.fi.a.eval.jsonl", *lines)
    code, _, errors = say("eval", "judge", "m", tmp_path, "--out", tmp_path / "out", "--set", "engine=openai")
    assert code == 1
    assert message in errors
    assert "fi/answer.fi.a.eval.jsonl" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000])
def test_a_damaged_report_of_a_system_is_named(tmp_path: Path, text: str) -> None:
    answers = tmp_path / "answer.fi.mine.eval.jsonl"
    assert system_report(answers) is None
    (tmp_path / "answer.fi.mine.report.json").write_text(text, "utf-8")
    with pytest.raises(CorpusError, match=r"answer\.fi\.mine\.report\.json is damaged \(.+\): remove it"):
        system_report(answers)


def test_missing_languages_and_systems_are_reported(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no <language>/question\.jsonl"):
        read_folder(tmp_path)
    for tag in ("fi", "sw"):
        write(tmp_path / f"{tag}/question.jsonl", {"question_id": 1, "text": "?"})
    write(tmp_path / "fi/answer.fi.a.eval.jsonl", A)
    with pytest.raises(CorpusError, match=r"a has no answers in sw .*--languages"):
        read_folder(tmp_path)
    assert [answers.tag for answers in read_folder(tmp_path, ["fi"])] == ["fi"]
    with pytest.raises(CorpusError, match="has no questions in th, only in fi, sw"):
        read_folder(tmp_path, ["th"])
    write(tmp_path / "sw/answer.fi.a.eval.jsonl", A)
    with pytest.raises(CorpusError, match=r"expected a name such as answer\.sw\.SYSTEM\.eval\.jsonl"):
        read_folder(tmp_path)


def test_a_budget_needs_prices_and_stops_the_command(questions: str, tmp_path: Path, say: Say) -> None:
    out = tmp_path / "answers"
    with JudgeServer(noise) as server:
        arguments = ["eval", "answers", "judge", questions, "--languages", "sw", "--out", out, "--budget", "0.0002"]
        sets = ["--set", "engine=openai", "--set", f"server.url={server.url}", "--set", "server.concurrency=1"]
        assert "--budget needs prices" in say(*arguments, *sets)[2]
        priced = [*sets, "--set", "server.prompt_price=1.0"]
        code, _, errors = say(*arguments, *priced)
        assert code == 1
        assert "the budget of 0.0002 is reached" in errors
        assert not answer_path(out, "sw", "judge").exists()
        assert say(*arguments[:-1], "1", *priced)[0] == 0
        assert len(rows(answer_path(out, "sw", "judge"))) == 5
