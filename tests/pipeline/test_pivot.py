"""The route over another language: passages are translated, instructions written and translated back (MURI)."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from engines.openai_server import MODEL, OpenAIServer, reply, write_recipe

from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe, load
from x_instruction.errors import RecipeError, RunChanged
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.plan import Plan
from x_instruction.pipeline.progress import NullProgress
from x_instruction.pipeline.rounds import stages
from x_instruction.records import Candidate
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

ENGLISH = "The sauna is warm, and people rest there for an hour after work."
BACK = {
    "Finnish": "Miksi ihmiset käyvät saunassa työpäivän jälkeen vuonna {}?",
    "Thai": "ทำไมผู้คนจึงไปซาวน่าหลังเลิกงานในปี {}",
}
_TASK = re.compile(r"You translate from (\w+) into (\w+)\.")


SERVED = {"name": MODEL, "engine": "openai"}


class Translating:
    """Answers of a model that also translates; ``bad`` is its answer for the first passage."""

    def __init__(self, bad: tuple[int, str] | None = None) -> None:
        self.bad = bad
        self.read: Counter[str] = Counter()
        self.written_from: list[str] = []
        self._first = ""

    def __call__(self, path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        if not path.endswith("completions") or body.get("logprobs"):
            return None
        prompt = "\n".join(message["content"] for message in body["messages"])
        task = _TASK.search(prompt)
        if task is None and prompt.endswith("Say yes."):
            # A probe of the engine.
            return None
        if task is None:
            self.read["write"] += 1
            self.written_from.append(prompt)
            return None
        source, into = task.groups()
        self.read[f"{source}-{into}"] += 1
        text = body["messages"][-1]["content"]
        if into == "English":
            self._first = self._first or text
            if self.bad and text == self._first:
                status, content = self.bad
                return (status, {"error": {"message": content}}) if status != 200 else (200, answer(body, content))
            return 200, answer(body, ENGLISH)
        year = re.search(r"\d{4}", text)
        assert year, text
        return 200, answer(body, BACK[into].format(year[0]))


def answer(body: dict[str, Any], text: str) -> dict[str, Any]:
    made = reply("/v1/chat/completions", body)
    made["choices"][0]["message"]["content"] = text
    return made


def recipe(tmp_path: Path, url: str, **more: Any) -> Recipe:
    settings = {"generate.route": "translate", "generate.instruction_language": "same", "corpus.passages": 5}
    return load(write_recipe(tmp_path / "recipe.toml", url), settings | more)


def go(settings: Recipe, root: Path, **more: Any) -> RunFolder:
    return execute(settings, root, 1, False, "candidate", NullProgress(), **more)


def candidates(run: RunFolder, tag: str) -> list[Candidate]:
    return [record for record in run.read(StageKey("candidate").shard(tag, 0)) if isinstance(record, Candidate)]


def test_passages_are_translated_and_instructions_translated_back(tmp_path: Path) -> None:
    model = Translating()
    with OpenAIServer(fault=model) as server:
        settings = recipe(tmp_path, server.url)
        run = go(settings, tmp_path / "run")
        for tag, name in (("fi", "Finnish"), ("th", "Thai")):
            found = candidates(run, tag)
            assert len(found) > 5
            start, end = BACK[name].split("{}")
            assert all(c.instruction.startswith(start) and c.instruction.endswith(end) for c in found)
            assert {c.instruction_language for c in found} == {tag}
            # The response is the natural text.
            assert "sauna is warm" not in "".join(c.text for c in found)
        # The writer reads the translation, in English, and no passage.
        assert len(model.written_from) == 20
        assert all(ENGLISH in text and "Finnish" not in text and "Thai" not in text for text in model.written_from)
        assert model.read["write"] == 20
        assert model.read["English-Finnish"] == len(candidates(run, "fi"))
        # With every answer in the request cache, nothing is asked again, and the bytes are the same.
        asked = model.read.total()
        shutil.rmtree(tmp_path / "run" / "candidate")
        before = candidate_bytes(tmp_path / "run")
        go(settings, tmp_path / "run")
        assert (model.read.total(), before) == (asked, {})
        go(settings, tmp_path / "fresh")
        assert candidate_bytes(tmp_path / "run") == candidate_bytes(tmp_path / "fresh")
        with pytest.raises(RunChanged, match=r"generate\.route was 'translate', is 'direct'"):
            go(recipe(tmp_path, server.url, **{"generate.route": "direct"}), tmp_path / "run")


def candidate_bytes(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob("candidate/**/*.parquet"))}


def test_english_instructions_are_not_translated_back(tmp_path: Path) -> None:
    model = Translating()
    with OpenAIServer(fault=model) as server:
        run = go(recipe(tmp_path, server.url, **{"generate.instruction_language": "en"}), tmp_path / "run")
    assert {c.instruction_language for c in candidates(run, "fi")} == {"en"}
    assert set(model.read) == {"write", "Finnish-English", "Thai-English"}


def test_the_included_recipe_of_this_route_runs(tmp_path: Path) -> None:
    """The recipe that ships, on another corpus and a scripted server."""
    model = Translating()
    with OpenAIServer(fault=model) as server:
        served = {
            f"{section}.model.{key}": value for section in ("generate", "refine") for key, value in SERVED.items()
        }
        served |= {f"{section}.model.server.url": server.url for section in ("generate", "refine")}
        corpus = {"corpus.source": "sample", "corpus.passages": 5, "corpus.decontaminate": []}
        settings = load("muri", corpus | served | {"languages": ["fi"], "refine.min_score": 1.0})
        plan = Plan(RunFolder(tmp_path / "run"), settings)
        assert [str(task.key) for stage in stages(settings) for task in plan.tasks(stage)] == ["passage/fi/00000"]
        run = execute(settings, tmp_path / "run", 1, False, "rated", NullProgress())
    rated = [record for report in run.reports(StageKey("rated")) for record in run.read(report.key)]
    assert len(rated) == len({record.id for record in rated}) >= 3
    assert {c.instruction_language for c in candidates(run, "fi")} == {"fi"}
    assert model.read["write"] == 10
    assert all(ENGLISH in prompt for prompt in model.written_from)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [((200, " "), "not_translated"), ((400, "no"), "engine_refused")],
)
def test_an_untranslated_passage_is_dropped(tmp_path: Path, bad: tuple[int, str], reason: str) -> None:
    model = Translating(bad)
    with OpenAIServer(fault=model) as server:
        settings = recipe(tmp_path, server.url, languages=["fi"])
        run = go(settings, tmp_path / "run")
        report = run.report(StageKey("candidate").shard("fi", 0))
        # Both candidates of the passage, and no other.
        assert report.dropped[reason] == 2
        assert report.kept + sum(report.dropped.values()) == 10
        if reason == "engine_refused":
            model.bad = None
            run = go(settings, tmp_path / "run", retry_failed=True)
            assert reason not in run.report(StageKey("candidate").shard("fi", 0)).dropped


def test_an_instruction_in_another_language_is_dropped(tmp_path: Path) -> None:
    def unable(path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        messages = str(body.get("messages", ""))
        if "from English into Finnish" in messages:
            return 200, answer(body, body["messages"][-1]["content"])
        return Translating()(path, body)

    with OpenAIServer(fault=unable) as server:
        run = go(recipe(tmp_path, server.url, languages=["fi"]), tmp_path / "run")
    report = run.report(StageKey("candidate").shard("fi", 0))
    assert (report.kept, report.dropped["wrong_language"]) == (0, 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": Model(name="m", engine="batch")}, r'route is "translate" and model\.engine is "batch"'),
        ({"train": {"steps": 1}}, r'route is "translate" and \[generate\.train\] is set'),
        ({"pivot": "xx-none"}, "pivot"),
    ],
)
def test_incompatible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Generate(**({"model": Model(name="m"), "route": "translate"} | changes))
