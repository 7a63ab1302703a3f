"""Three levels as probabilities, against plain forward passes; training rows equal later prompts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.engines import Choice, Failed, Request, Result
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import EngineError, RecipeError
from x_instruction.prompts import read_text
from x_instruction.records import Candidate
from x_instruction.refine import trained
from x_instruction.refine.calibration import Calibration
from x_instruction.refine.labels import LEVELS
from x_instruction.refine.trained import question, rate

Likelihood = Callable[[str, str], tuple[float, int]]
NAMES = {"fi": "Finnish", "th": "Thai", "bn": "Bangla"}
SETTINGS = Refine(rater="trained", model=Model(name="m"), response_tokens=40)


class Characters:
    """A reader whose tokens are characters."""

    def __init__(self, chat: bool = False) -> None:
        self.chat = chat

    def truncate(self, text: str, tokens: int) -> str:
        return text[:tokens]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{passage}{opening}", r"unknown slot \{opening\}"), ("{instruction}", r"no slot \{passage\}")],
)
def test_a_prompt_with_unknown_slots_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text(text, "utf-8")
    settings = SETTINGS.replace(prompt=str(path))
    with pytest.raises(RecipeError, match=message):
        question("Sauna.", "fi", "Why?", "en", settings, Characters())


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(RecipeError, match="zzzz"):
        question("Sauna.", "zzzz", "Why?", "en", SETTINGS, Characters())


def test_a_damaged_calibration_is_reported(
    engine: TransformersEngine, candidates: list[Candidate], tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "calibration.json").write_text("{")
    settings = SETTINGS.replace(model=Model(name="m", adapter=str(tmp_path)))
    with pytest.raises(EngineError, match="is not a calibration"):
        rate(candidates, settings, engine, lambda requests: [])


def test_a_failed_answer_stays_a_failure(engine: TransformersEngine, candidates: list[Candidate]) -> None:
    failed = Failed("engine_timeout", "too late")
    assert rate(candidates[:1], SETTINGS, engine, lambda requests: [failed]) == [failed]
    assert rate([], SETTINGS, engine, lambda requests: []) == []


def test_the_question_by_hand() -> None:
    settings = SETTINGS.replace(response_tokens=5)
    asked = question("Sauna {instruction}", "fi", "What is {passage}?", "en", settings, Characters())
    whole = (
        read_text("rate-trained")
        .rstrip("\n")
        .replace("{passage}", "Sauna […]")
        .replace("{language}", "Finnish")
        .replace("{instruction}", "What is {passage}?")
        .replace("{instruction_language}", "English")
    )
    # What a slot is filled with is not looked at for slots again.
    assert "What is {passage}?" in whole
    assert asked == Choice(
        whole,
        (" yes", " partly", " no"),
    )
    assert len(asked.answers) == len(LEVELS)
    # All of it is shown, so there is no sign of a cut.
    assert "Finnish text:\nSauna\n" in str(question("Sauna", "fi", "Why?", "en", settings, Characters()).prompt)


def test_the_question_to_a_chat_model_by_hand() -> None:
    asked = question("Sauna", "fi", "Why?", "en", SETTINGS, Characters(chat=True))
    system = read_text("rate-trained-chat").split("[system]\n")[1].split("\n[user]")[0]
    user = "Reply (Finnish): Sauna\n\nRequest (English): Why?\n\nDoes the reply answer the request?"
    assert asked == Choice((("system", system), ("user", user)), ("yes", "partly", "no"))


def test_levels_equal_plain_forward_passes(
    engine: TransformersEngine, candidates: list[Candidate], likelihood: Likelihood, tmp_path: Path
) -> None:
    with RequestCache(tmp_path / "a.sqlite", engine, {}) as cache:
        found = rate(candidates, SETTINGS, engine, cache.ask)
    for candidate, rating in zip(candidates, found, strict=True):
        prompt = (
            read_text("rate-trained")
            .rstrip("\n")
            .replace("{instruction_language}", "English")
            .replace("{instruction}", candidate.instruction)
            .replace("{language}", NAMES[candidate.language])
            .replace("{passage}", engine.truncate(candidate.text, 40).rstrip() + " […]")
        )
        weights = [likelihood(prompt, answer)[0] for answer in (" yes", " partly", " no")]
        p = torch.softmax(torch.tensor(weights, dtype=torch.float64), 0).tolist()
        assert not isinstance(rating, Failed)
        assert [rating.p_best, rating.p_flawed, rating.p_worst] == pytest.approx(p, abs=1e-4)
        assert rating.score == rating.p_best


def test_training_and_rating_use_the_same_prompt(engine: TransformersEngine, candidates: list[Candidate]) -> None:
    asked: list[Request] = []

    def ask(requests: list[Request]) -> list[Result]:
        asked.extend(requests)
        return [Failed("engine_timeout", "")] * len(requests)

    rate(candidates, SETTINGS, engine, ask)  # type: ignore[arg-type]
    assert asked == [
        question(c.text, c.language, c.instruction, c.instruction_language, SETTINGS, engine) for c in candidates
    ]


def test_probabilities_are_calibrated(
    engine: TransformersEngine, candidates: list[Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(requests: list[Request]) -> list[Result]:
        return [result for request in requests for _, result in engine.answer([request])]

    plain = rate(candidates[:2], SETTINGS, engine, ask)  # type: ignore[arg-type]
    known = Calibration(3.0)
    (tmp_path / "adapter_config.json").write_text("{}")
    known.write(tmp_path)
    settings = SETTINGS.replace(model=Model(name="m", adapter=str(tmp_path)))
    warm = rate(candidates[:2], settings, engine, ask)  # type: ignore[arg-type]
    for before, after in zip(plain, warm, strict=True):
        assert not isinstance(before, Failed)
        assert not isinstance(after, Failed)
        expected = np.cbrt([before.p_best, before.p_flawed, before.p_worst])
        assert [after.p_best, after.p_flawed, after.p_worst] == pytest.approx((expected / expected.sum()).tolist())
        assert after.score == after.p_best != before.p_best


def test_chat_models_get_a_chat_prompt(
    candidates: list[Candidate], likelihood: Likelihood, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "chat"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    chat = TransformersEngine(Model(name=str(folder)))
    with RequestCache(tmp_path / "a.sqlite", chat, {}) as cache:
        (found,) = rate(candidates[3:4], SETTINGS, chat, cache.ask)
    asked = question(candidates[3].text, "fi", candidates[3].instruction, "en", SETTINGS, chat)
    assert not isinstance(asked.prompt, str)
    prompt = "".join(f"{role}: {content}\n" for role, content in asked.prompt)
    weights = [likelihood(prompt, answer)[0] for answer in ("yes", "partly", "no")]
    assert not isinstance(found, Failed)
    assert found.score == pytest.approx(
        torch.softmax(torch.tensor(weights, dtype=torch.float64), 0)[0].item(), abs=1e-4
    )


@pytest.mark.model
@pytest.mark.parametrize("name", ["embedded", "embedded-smollm2"])
def test_each_answer_is_one_token(name: str) -> None:
    from transformers import AutoTokenizer

    from x_instruction.engines.models import locate

    tokenizer = AutoTokenizer.from_pretrained(locate(name).folder)
    for answer in trained.ANSWERS:
        assert len(tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]) == 1
