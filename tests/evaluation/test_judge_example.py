"""The example of docs/evaluation.md: its commands run, in order, and print what the page shows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from command_line import Say
from natural_pairs import Natural
from scripted_judges import OWN, JudgeServer, sound

PAGE = Path(__file__).parent.parent.parent / "docs" / "evaluation.md"


def steps() -> list[tuple[str, str]]:
    """Each command of the page's example, and the output that is shown below it."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8").split("\n## A judge")[1], re.DOTALL)
    lines = "".join(blocks).split("\n$ ")
    return [(command, shown.rstrip("\n")) for command, _, shown in (line.partition("\n") for line in lines[1:])]


def test_the_commands_of_the_documentation_print_its_output(
    natural: Natural, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("pairs.jsonl").write_text("".join(path.read_text("utf-8") for path in natural.paths), "utf-8")
    questions = [{"question_id": n, "text": f"Tell me about topic {n}."} for n in range(12)]
    Path("questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions), "utf-8")

    def answer(model: str, request: str) -> str:
        """The tuned model is right nearly always, the base model each third time and else about another topic."""
        number = re.search(r"topic (\d+)", request)
        if number is None or model == "judge":
            return OWN * 3 + request[::-1] + "."
        n = int(number[1])
        is_right = n % 3 == 0 if model == "base" else n != 5
        return natural.responses[request if is_right else request.replace(f"topic {n}.", f"topic {(n + 1) % 12}.")]

    models = ("judge", "tuned", "base")
    with JudgeServer(sound(natural.responses), answer=answer, models=models) as server:
        found = steps()
        assert len(found) == 4
        for command, shown in found:
            arguments = shlex.split(command.replace("$URL", server.url))
            code, printed, errors = say(*arguments[1:])
            assert code == 0, errors
            assert printed.rstrip("\n") == shown, printed
    assert Path("results/judge-tuned.json").exists()
