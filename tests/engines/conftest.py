"""The tiny model loaded once, and two ways to ask it: through the engine's batches, and one prompt at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny_model as tiny
import torch

from x_instruction.config.corpus import Corpus
from x_instruction.config.model import Model
from x_instruction.corpus.sources import Document, read
from x_instruction.engines import Engine, Request, Result
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.languages import language

if TYPE_CHECKING:
    from engines.tgi_double import Double


@pytest.fixture(scope="session")
def noisy_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with random weights: continuations of prompts differ, so errors of positions or masks show."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("noisy") / "noisy-model"
    shutil.copytree(tiny_model, folder)
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(tiny_model)
    config.initializer_range = 0.2
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def engine(noisy_model: Path) -> TransformersEngine:
    return TransformersEngine(Model(name=str(noisy_model)))


@pytest.fixture(scope="session")
def texts() -> dict[str, list[str]]:
    """Sample passages by language: Latin with diacritics, no spaces, combining marks."""
    return {
        tag: [found.text for found in read(Corpus(source="sample"), language(tag)) if isinstance(found, Document)]
        for tag in ("fi", "th", "bn")
    }


def in_batches(engine: Engine, requests: Sequence[Request]) -> list[Result]:
    found: dict[int, Result] = {}
    for batch in engine.plan(requests):
        for position, answer in engine.answer([requests[row] for row in batch.rows], batch.shared):
            assert batch.rows[position] not in found
            found[batch.rows[position]] = answer
    return [found[row] for row in range(len(requests))]


@pytest.fixture(scope="session")
def ask() -> Callable[[Engine, Sequence[Request]], list[Result]]:
    """Answers in the order of the requests, by the engine's own plan."""
    return in_batches


@pytest.fixture(scope="session")
def greedy(engine: TransformersEngine) -> Callable[[str, int], list[int]]:
    """New tokens of plain ``generate`` for a single prompt: every batch must equal it."""

    def write(prompt: str, tokens: int) -> list[int]:
        ids = engine.tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            out = engine.network.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens
            )
        written: list[int] = out[0, ids.shape[1] :].tolist()
        return written[: written.index(1)] if 1 in written else written

    return write


@pytest.fixture(scope="session")
def likelihood(engine: TransformersEngine) -> Callable[[str, str], tuple[float, int]]:
    return partial(tiny.likelihood, engine)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """A Text Generation Inference server that must find no invalid request; retries do not wait."""
    from engines.tgi_double import Double

    monkeypatch.setattr("x_instruction.engines.remote.http.FIRST_WAIT", 0.002)
    server = Double()
    yield server
    server.close()
    assert server.wrong == []
