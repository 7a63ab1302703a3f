"""The rubric's five levels as probabilities, against plain forward passes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.engines import Failed, Request, Result
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.engines.truncation import LEFT_OUT, shorten
from x_instruction.errors import RecipeError
from x_instruction.prompts import read_text
from x_instruction.records import Candidate
from x_instruction.refine.prompted import rate

Likelihood = Callable[[str, str], tuple[float, int]]
NAMES = {"fi": "Finnish", "th": "Thai", "bn": "Bangla"}
SETTINGS = Refine(rater="prompted", model=Model(name="m"), response_tokens=40)


def test_a_prompt_with_an_unknown_slot_is_refused(
    engine: TransformersEngine, candidates: list[Candidate], tmp_path: Path
) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("{passage}{opening}", "utf-8")
    settings = Refine(rater="prompted", model=Model(name="m"), prompt=str(path))
    with pytest.raises(RecipeError, match=r"unknown slot \{opening\}"):
        rate(candidates, settings, engine, lambda requests: [])


def test_levels_equal_plain_forward_passes(
    engine: TransformersEngine, candidates: list[Candidate], likelihood: Likelihood, tmp_path: Path
) -> None:
    with RequestCache(tmp_path / "a.sqlite", engine, {}) as cache:
        found = rate(candidates, SETTINGS, engine, cache.ask)
    for candidate, rating in zip(candidates, found, strict=True):
        prompt = (
            read_text("rate-base")
            .rstrip("\n")
            .replace("{instruction_language}", "English")
            .replace("{instruction}", candidate.instruction)
            .replace("{language}", NAMES[candidate.language])
            .replace("{passage}", shorten(candidate.text, 40, engine.truncate, 1 / 3))
        )
        weights = torch.tensor([likelihood(prompt, f" {level}")[0] for level in range(1, 6)], dtype=torch.float64)
        p = torch.softmax(weights, 0).tolist()
        assert rating.score == pytest.approx(sum(level * p[level - 1] for level in range(1, 6)), abs=1e-3)
        assert rating.p_worst == pytest.approx(p[0] + p[1], abs=1e-4)
        assert rating.p_flawed == pytest.approx(p[2], abs=1e-4)
        assert rating.p_best == pytest.approx(p[3] + p[4], abs=1e-4)
        assert rating.p_worst + rating.p_flawed + rating.p_best == pytest.approx(1)
        assert 1 <= rating.score <= 5


def test_chat_models_get_a_chat_prompt(
    engine: TransformersEngine, candidates: list[Candidate], likelihood: Likelihood, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "chat"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    chat = TransformersEngine(Model(name=str(folder)))
    with RequestCache(tmp_path / "a.sqlite", chat, {}) as cache:
        (found,) = rate(candidates[3:4], SETTINGS, chat, cache.ask)
    user = (
        read_text("rate-chat")
        .removeprefix("[user]\n")
        .strip()
        .replace("{instruction_language}", "English")
        .replace("{instruction}", candidates[3].instruction)
        .replace("{language}", "Finnish")
        .replace("{passage}", shorten(candidates[3].text, 40, engine.truncate, 1 / 3))
    )
    prompt = f"user: {user}\n"
    weights = torch.tensor([likelihood(prompt, f"{level}")[0] for level in range(1, 6)], dtype=torch.float64)
    p = torch.softmax(weights, 0).tolist()
    assert found.score == pytest.approx(sum(level * p[level - 1] for level in range(1, 6)), abs=1e-3)


def test_start_and_end_of_a_response_are_shown(engine: TransformersEngine, candidates: list[Candidate]) -> None:
    asked: list[Request] = []

    def ask(requests: Sequence[Request]) -> list[Result]:
        asked.extend(requests)
        return [Failed("engine_timeout", "")] * len(requests)

    long = candidates[0]
    end = long.text[-12:]
    assert len(engine.truncate(long.text, 40)) < len(long.text)
    for share, ends in ((None, True), (0.5, True), (0.0, False)):
        asked.clear()
        rate([long], SETTINGS.replace(tail_share=share), engine, ask)
        prompt = str(asked[0].prompt)
        assert LEFT_OUT in prompt
        assert (end in prompt) == ends


def test_prompts_of_one_passage_share_their_prefix() -> None:
    """So the response, which is longer than the instruction, is read once."""
    text = read_text("rate-chat")
    assert text.index("{passage}") < text.index("{instruction}")
    assert len(text) - text.index("{instruction}") < 100


def test_thinking_is_turned_off() -> None:
    with pytest.raises(RecipeError, match=r"enable_thinking is true, expected false: raters read the probabilities"):
        Refine(rater="prompted", model=Model(name="m", enable_thinking=True))
