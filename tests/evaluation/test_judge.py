"""Systems that a judge compares, from files to records, over a real server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Say
from natural_pairs import Natural
from scripted_judges import JudgeServer, always_first, always_longest, garbage, rows, sound

from x_instruction.evaluation.judge.results import choose
from x_instruction.evaluation.record import read_instances, read_record

QUESTIONS = 8


@pytest.fixture
def answered(natural: Natural, tmp_path: Path) -> Path:
    """Three systems in two languages: natural responses, responses of other pages, and those of the other language."""
    folder = tmp_path / "answers"
    requests = {tag: [r for r in natural.responses if r.endswith(f"{name}.")] for tag, name in NAMES.items()}
    for tag, other in (("fi", "sw"), ("sw", "fi")):
        good = [natural.responses[request] for request in requests[tag]]
        foreign = [natural.responses[request] for request in requests[other]]
        systems = {"good": good, "shifted": good[1:] + good[:1], "foreign": foreign}
        lines = [
            {"question_id": n, "text": f"Tell me about topic {n}.", "category": "x", "language": "en"}
            for n in range(QUESTIONS)
        ]
        write(folder / tag / "question.jsonl", lines)
        for name, texts in systems.items():
            lines = [{"question_id": n, "category": "x", "output": texts[n]} for n in range(QUESTIONS)]
            write(folder / tag / f"answer.{tag}.{name}.eval.jsonl", lines[::-1])
    return folder


NAMES = {"fi": "Finnish", "sw": "Swahili"}


def write(path: Path, lines: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def served(server: JudgeServer, *more: str) -> list[str]:
    sets = ["engine=openai", f"server.url={server.url}", *more]
    return [part for each in sets for part in ("--set", each)]


def table(text: str) -> dict[tuple[str, str, str, str], dict[str, float]]:
    return {(row["language"], row["a"], row["b"], row["aspect"]): row for row in json.loads(text)}


def test_a_reliable_judge_finds_the_better_system(natural: Natural, answered: Path, tmp_path: Path, say: Say) -> None:
    out = tmp_path / "out"
    with JudgeServer(sound(natural.responses)) as server:
        passport = tmp_path / "passport"
        data = [*natural.paths, "--out", passport, *served(server)]
        assert say("eval", "judge-passport", "judge", *data)[0] == 0
        arguments = ["eval", "judge", "judge", answered, "--out", out, "--passport", passport, *served(server)]
        code, shown, _ = say(*arguments, "--json")
        assert code == 0
        # Three pairs of systems, two orders, two languages.
        asked = 3 * 2 * 2 * QUESTIONS
        assert len([text for text in server.judged if "Reply A" in text]) >= asked
        before = len(server.judged)
        assert say(*arguments)[0] == 0
        assert len(server.judged) == before
    found = table(shown)
    assert {key[0] for key in found} == {"fi", "sw", "all"}
    good = found["all", "good", "shifted", "overall"]
    assert (good["win"], good["tie"], good["loss"], good["n"]) == (1.0, 0.0, 0.0, 2 * QUESTIONS)
    assert good["verdict"] == "verdicts count"
    # The judge thinks that these two are equal; the gate does not.
    gated = found["sw", "foreign", "shifted", "overall"]
    assert (gated["score_without_gate"], gated["loss"]) == (0.5, 1.0)
    assert gated["equal_length"] == 0.5
    record = read_record(out / "judge-good.json")
    metrics = {metric.id: metric for metric in record.metrics}
    assert metrics["judge/sw/win_rate/against=shifted"].value == 1.0
    assert metrics["judge/all/bradley_terry"].value > 1
    assert record.metrics[0].judging is not None
    assert record.metrics[0].judging.judge.name == "judge"
    instances = [row for row in read_instances(record) if row.metric == "judge/sw/score/against=shifted"]
    assert len(instances) == QUESTIONS
    assert {row.score for row in instances} == {1.0}
    assert metrics["judge/sw/score/against=shifted"].value == 1.0


def test_judgements_are_written_in_the_layout_of_the_paper(
    natural: Natural, answered: Path, tmp_path: Path, say: Say
) -> None:
    out = tmp_path / "out"
    arguments = ["eval", "judge", "judge", answered, "--protocol", "x-instruction", "--baseline", "shifted"]
    with JudgeServer(sound(natural.responses)) as server:
        code, shown, _ = say(*arguments, "--out", out, *served(server), "--json")
    assert code == 0
    written = rows(out / "judgement.fi.good.vs.shifted.jsonl")
    assert [row["question_id"] for row in written] == [str(n) for n in range(QUESTIONS)]
    assert {(row["score_1"], row["score_2"]) for row in written} == {(8, 2)}
    assert {(row["score_1"], row["score_2"]) for row in rows(out / "judgement.fi.shifted.vs.good.jsonl")} == {(2, 8)}
    # The files of the published code: without our columns, -1 for what was not parsed, two lines before the rows.
    published = tmp_path / "published"
    published.mkdir()
    for path in out.glob("judgement.*"):
        lines = [{key: row[key] for key in ("question_id", "score_1", "score_2")} for row in rows(path)]
        lines[0] |= {"score_1": -1, "score_2": -1} if ".good." in path.name else {}
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (published / path.name).write_text(f"Namespace(debug=True)\nprompt\n{text}", "utf-8")
    code, counted, _ = say(*arguments, "--out", tmp_path / "counted", "--judgements", published, "--json")
    assert code == 0
    ours, theirs = table(shown), table(counted)
    assert ours.keys() == theirs.keys()
    pair = ("fi", "good", "shifted", "overall")
    assert (theirs[pair]["no_answer"], theirs[pair]["n"], theirs[pair]["win"]) == (1, QUESTIONS - 1, 1.0)
    write(published / "judgement.fi.good.vs.shifted.jsonl", [{"question_id": "0", "score_1": 11, "score_2": 2}])
    code, _, errors = say(*arguments, "--out", tmp_path / "new", "--judgements", published)
    assert code == 1
    assert "row 1: a score is 11, expected an integer from 0 to 10" in errors
    write(published / "judgement.fi.good.vs.shifted.jsonl", [{"question_id": "0", "score_1": 1, "score_2": 2}])
    assert (
        "has no question_id 1: judge all questions again"
        in say(*arguments, "--out", tmp_path / "new", "--judgements", published)[2]
    )


def test_existing_judgements_count_only_where_the_passport_allows(
    natural: Natural, answered: Path, tmp_path: Path, say: Say
) -> None:
    """The passport covers Finnish only, so no judgement counts in Swahili or overall."""
    with JudgeServer(sound(natural.responses)) as server:
        passport = ["eval", "judge-passport", "judge", *natural.paths, "--out", tmp_path / "passport"]
        assert say(*passport, "--languages", "fi", "--limit", "10", "--no-own", *served(server))[0] == 0
        arguments = ["eval", "judge", "judge", answered]
        code, shown, _ = say(*arguments, "--out", tmp_path / "a", *served(server))
        assert code == 0
        assert shown.count("no verdict") == 3 * 3 + 3, "each strength, and each language"
        counted = [*arguments, "--judgements", tmp_path / "a", "--passport", tmp_path / "passport"]
        asked = len(server.judged)
        code, shown, _ = say(*counted, "--out", tmp_path / "b", *served(server), "--json")
        assert (code, len(server.judged)) == (0, asked)
    unmeasured = "judge-passport.json has not measured this language"
    assert {key[0]: row["verdict"] for key, row in table(shown).items()} == {
        "fi": "verdicts count",
        "sw": f"no verdict: {unmeasured}",
        "all": f"no verdict: sw: {unmeasured}",
    }
    record = read_record(tmp_path / "b/judge-good.json")
    notes = {metric.id: metric.notes for metric in record.metrics}
    assert (
        notes["judge/all/bradley_terry"] == notes["judge/all/score/against=shifted"] == f"no verdict: sw: {unmeasured}"
    )
    ungated = "both orders agree, without a gate by language"
    gated = "both orders agree; only an answer in the right language wins"
    of_fi = {name.split("/")[2]: text for name, text in notes.items() if name.startswith("judge/fi/")}
    assert of_fi == {
        "win_rate": gated,
        "tie_rate": gated,
        "loss_rate": gated,
        "score": gated,
        "score_without_gate": ungated,
        "length_controlled_win_rate": "mean preference of both orders, without a gate by language",
        "answered": "",
        "bradley_terry": gated,
    }
    assert record.metrics[0].judging is not None
    assert record.metrics[0].judging.judge.name == "judge"
    # Other judgements, or no passport, are other settings.
    for changed in (counted[:-2], [*counted, "--no-gate"]):
        code, _, errors = say(*changed, "--out", tmp_path / "b", "--set", "engine=openai")
        assert code == 1
        assert "pass --overwrite to replace it" in errors
    path = tmp_path / "a/judgement.fi.good.vs.shifted.jsonl"
    write(path, [row | {"preference": 0.4} for row in rows(path)])
    assert "(judgements was" in say(*counted, "--out", tmp_path / "b", "--set", "engine=openai")[2]


def test_position_bias_is_reported(answered: Path, tmp_path: Path, say: Say) -> None:
    with JudgeServer(always_first) as server:
        code, shown, _ = say("eval", "judge", "judge", answered, "--out", tmp_path / "a", *served(server), "--json")
    assert code == 0
    for row in table(shown).values():
        assert (row["position_bias"], row["consistency"], row["score_without_gate"]) == (1.0, 0.0, 0.5)
        assert row["verdict"] == "no verdict: no passport"
    with JudgeServer(always_longest) as server:
        code, shown, _ = say("eval", "judge", "judge", answered, "--out", tmp_path / "b", *served(server), "--json")
    by_length = table(shown)["fi", "good", "shifted", "overall"]
    assert by_length["position_bias"] == 0.0


def test_unreadable_answers_are_counted(answered: Path, tmp_path: Path, say: Say) -> None:
    with JudgeServer(garbage) as server:
        arguments = ["eval", "judge", "judge", answered, "--out", tmp_path / "a", "--protocol", "x-instruction"]
        code, shown, _ = say(*arguments, *served(server))
    assert code == 0
    assert shown.splitlines()[1].split()[:9] == ["fi", "foreign", "against", "good", "0", "-", "-", "-", "-"]
    written = rows(tmp_path / "a/judgement.fi.foreign.vs.good.jsonl")
    assert {(row["score_1"], row["failure"]) for row in written} == {(None, "not_parsed")}
    assert "it depends" in written[0]["text"]
    record = read_record(tmp_path / "a/judge-good.json")
    metrics = {metric.id: metric.value for metric in record.metrics}
    assert set(metrics.values()) == {0.0}
    # The instances show the judge's raw answer.
    failed = [row for row in read_instances(record) if row.metric == "judge/fi/answered/against=foreign"]
    assert len(failed) == QUESTIONS
    assert {(row.score, row.correct, row.error) for row in failed} == {(0.0, False, "not_parsed")}
    assert "judge/fi/answered/against=foreign" in metrics


def test_a_rubric_is_reported_by_aspect(natural: Natural, answered: Path, tmp_path: Path, say: Say) -> None:
    with JudgeServer(sound(natural.responses)) as server:
        arguments = ["eval", "judge", "judge", answered, "--out", tmp_path / "a", "--protocol", "rubric"]
        options = ["--aspects", "fluency,culture", "--languages", "fi", "--baseline", "shifted", "--limit", "4"]
        code, shown, _ = say(*arguments, *options, *served(server), "--json")
    assert code == 0
    found = table(shown)
    assert {key[3] for key in found} == {"overall", "fluency", "culture"}
    assert found["fi", "good", "shifted", "fluency"]["n"] == 4
    metrics = read_record(tmp_path / "a/judge-good.json").metrics
    assert "culture" in {metric.parameters.get("aspect") for metric in metrics}


def test_a_killed_judge_continues_without_asking_twice(natural: Natural, answered: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    running: list[subprocess.Popen[bytes]] = []
    rated = sound(natural.responses)

    def until_killed(request: str, first: str, second: str) -> float | str:
        if len(server.judged) == 40:
            running[0].kill()
        return rated(request, first, second)

    with JudgeServer(until_killed, latency=0.05) as server:
        command = [sys.executable, "-m", "x_instruction", "eval", "judge", "judge", answered, "--out", out]
        command += ["--baseline", "shifted", *served(server, "server.concurrency=2")]
        running.append(subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL))
        assert running[0].wait(120) == -signal.SIGKILL
        assert 40 <= len(server.judged) < 64
        assert not list(out.glob("judge-*.json"))
        assert subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, check=False).returncode == 0
        assert len(set(server.judged)) == 2 * 2 * 2 * QUESTIONS
        # A kill loses at most a second of answers, of which there are 20 a second, and those on their way.
        assert len(server.judged) - len(set(server.judged)) <= 22
    assert len(list(out.glob("judge-*.json"))) == 3


def test_a_budget_stops_the_judge_and_keeps_answers(natural: Natural, answered: Path, tmp_path: Path, say: Say) -> None:
    with JudgeServer(sound(natural.responses)) as server:
        arguments = ["eval", "judge", "judge", answered, "--out", tmp_path / "a"]
        priced = served(server, "server.concurrency=1", "server.prompt_price=10000.0")
        code, _, errors = say(*arguments, *priced, "--budget", "10")
        assert code == 1
        assert "the budget of 10 is reached" in errors
        spent = len(server.judged)
        assert 10 <= spent < 20
        code, _, errors = say(*arguments, *priced, "--budget", "1000")
        assert code == 0
        assert len(server.judged) == 96
        assert "spent 96.0000" in errors


def test_results_of_other_settings_are_not_overwritten(
    natural: Natural, answered: Path, tmp_path: Path, say: Say
) -> None:
    with JudgeServer(sound(natural.responses)) as server:
        arguments = ["eval", "judge", "judge", answered, "--out", tmp_path / "a", "--limit", "2", *served(server)]
        assert say(*arguments)[0] == 0
        before = (tmp_path / "a/judge-good.json").read_bytes()
        asked = len(server.judged)
        code, _, errors = say(*arguments, "--protocol", "x-instruction")
        assert code == 1
        assert "protocol was choice, is x-instruction" in errors
        assert (tmp_path / "a/judge-good.json").read_bytes() == before
        assert len(server.judged) == asked
        assert say(*arguments, "--protocol", "x-instruction", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--baseline", "best"], "--baseline is 'best', expected one of foreign, good, shifted"),
        (["--passport", "nowhere.json"], "cannot read nowhere.json"),
        (["--aspects", "fluency"], "--aspects is for --protocol rubric"),
        (["--budget", "-1"], "--budget is -1, expected an amount above 0"),
        (["--set", "engine=batch"], 'engine is "batch", expected an engine that answers at once'),
        (["--languages", "th"], "has no questions in th, only in fi, sw"),
    ],
)
def test_bad_input_is_refused(
    options: list[str], message: str, natural: Natural, answered: Path, tmp_path: Path, say: Say
) -> None:
    with JudgeServer(sound(natural.responses)) as server:
        code, _, errors = say("eval", "judge", "judge", answered, "--out", tmp_path / "a", *served(server), *options)
        assert code == 1
        assert message in errors
        assert server.judged == []


def test_no_record_is_written_if_every_answer_failed(answered: Path, tmp_path: Path, say: Say) -> None:
    for path in answered.glob("*/answer.*.good.*"):
        write(path, [row | {"output": "", "error": "engine_refused: no"} for row in rows(path)])
    arguments = ["eval", "judge", "judge", answered, "--out", tmp_path / "a", "--set", "engine=openai"]
    for path in answered.glob("*/answer.*.foreign.*"):
        path.unlink()
    code, _, errors = say(*arguments)
    assert code == 1
    assert "no question has answers of two systems: run the command `eval answers` again" in errors
    assert not (tmp_path / "a").exists()


def test_two_systems_are_required(answered: Path, tmp_path: Path, say: Say) -> None:
    for path in [*answered.glob("*/answer.*.good.*"), *answered.glob("*/answer.*.shifted.*")]:
        path.unlink()
    code, _, errors = say("eval", "judge", "judge", answered, "--out", tmp_path / "a", "--set", "engine=openai")
    assert code == 1
    assert "there are answers of foreign, expected at least two systems" in errors


def test_one_of_several_samples_is_chosen() -> None:
    samples = ("bb", "a", "ccc", "d", "eee")
    assert [choose(samples, pick) for pick in ("shortest", "longest", "first")] == ["a", "ccc", "bb"]
