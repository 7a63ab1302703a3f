"""One instruction for a passage of the sample corpus, to see how a model answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from x_instruction.config.generate import Generate
from x_instruction.engines import Completed, Engine, Failed, Request, Result
from x_instruction.generate import generate
from x_instruction.languages import language
from x_instruction.prompts import instruction as prompts
from x_instruction.records import Candidate, Passage, text_digest


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """An answer to one request, as it came and as it was read.

    Args:
        prompt: name of the prompt.
        language: name of the passage's language.
        answer: what the model wrote, or why it did not.
        instruction: what was read from it.
        reason: why it is dropped, or None.
    """

    prompt: str
    language: str
    answer: str
    instruction: str
    reason: str | None


def try_sample(settings: Generate, engine: Engine, tag: str, seed: int) -> SampleAnswer:
    """Ask for one instruction for a passage of the sample corpus.

    Args:
        settings: the section ``generate`` of the recipe.
        engine: answers.
        tag: language of the passage; Swahili if there is no sample of it.
        seed: seed of the recipe.
    """
    samples = resources.files("x_instruction.corpus.sample")
    tag = tag if samples.joinpath(f"{tag}.jsonl").is_file() else "sw"
    text = json.loads(samples.joinpath(f"{tag}.jsonl").read_text("utf-8").splitlines()[0])["text"]
    passage = Passage(
        id=f"{tag}-sample",
        language=tag,
        text=text,
        document_id="sample",
        segment=0,
        source="sample",
        url="",
        license="",
        text_hash=text_digest(text),
        identified=tag,
        identified_confidence=1.0,
    )
    answers: list[str] = []

    def ask(requests: Sequence[Request]) -> list[Result]:
        engine.plan(requests)
        results = [result for _, result in engine.answer(requests)]
        for result in results:
            assert isinstance(result, Completed | Failed)
            answers.append(result.text if isinstance(result, Completed) else result.message)
        return results

    (outcome,) = generate([passage], settings.replace(candidates=1, span=None), engine, ask, seed)
    name, source = prompts.choose(settings.prompt, engine.chat).name, language(tag).name
    if isinstance(outcome, Candidate):
        return SampleAnswer(name, source, answers[0], outcome.instruction, None)
    return SampleAnswer(name, source, answers[0], outcome.detail, outcome.reason)
