"""Candidates in three scripts, and the tiny model to rate them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from x_instruction.config.corpus import Corpus
from x_instruction.config.model import Model
from x_instruction.corpus.sources import Document, read
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.languages import language
from x_instruction.records import Candidate, text_digest

INSTRUCTIONS = ("How do tides work?", "Explain how to cook rice.", "Why?")


@pytest.fixture(scope="session")
def engine(tiny_model: Path) -> TransformersEngine:
    return TransformersEngine(Model(name=str(tiny_model), batch_size=7))


@pytest.fixture(scope="session")
def candidates() -> list[Candidate]:
    """Two passages a language, three instructions each."""
    found = []
    for tag in ("fi", "th", "bn"):
        texts = [d.text for d in read(Corpus(source="sample"), language(tag)) if isinstance(d, Document)][:2]
        for text in texts:
            for number, instruction in enumerate(INSTRUCTIONS):
                found.append(
                    Candidate(
                        id=f"{tag}-{text_digest(text)[:16]}",
                        language=tag,
                        text=text,
                        document_id="d",
                        segment=0,
                        source="sample",
                        url="",
                        license="Apache-2.0",
                        text_hash=text_digest(text),
                        identified=tag,
                        identified_confidence=1.0,
                        instruction=instruction,
                        instruction_language="en",
                        style="question",
                        candidate=number,
                        round=0,
                        finish_reason="stop",
                        generator="g",
                        generator_revision="r",
                        generator_prompt="p",
                    )
                )
    return found


@pytest.fixture(scope="session")
def likelihood(engine: TransformersEngine) -> Callable[[str, str], tuple[float, int]]:
    """Log-likelihood of a continuation by one plain forward pass, and its number of tokens."""

    def score(prompt: str, continuation: str) -> tuple[float, int]:
        start = engine.tokenizer(prompt)["input_ids"]
        end = engine.tokenizer(continuation, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = engine.network(torch.tensor([start + end])).logits[0].double()
        steps = torch.log_softmax(logits, -1)[len(start) - 1 : -1]
        return float(steps[torch.arange(len(end)), torch.tensor(end)].sum()), len(end)

    return score
