"""Candidates in three scripts, and the tiny model to rate them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import tiny_model as tiny
from factories import candidate

from x_instruction.config.corpus import Corpus
from x_instruction.config.model import Model
from x_instruction.corpus.sources import Document, read
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.languages import language
from x_instruction.records import Candidate

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
                found.append(candidate(text, tag, instruction=instruction, candidate=number))
    return found


@pytest.fixture(scope="session")
def likelihood(engine: TransformersEngine) -> Callable[[str, str], tuple[float, int]]:
    return partial(tiny.likelihood, engine)
