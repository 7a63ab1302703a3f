"""The first part of X-Instruction: write an instruction for each passage (section 3.1).

The passage is natural text and becomes the response; a model writes an instruction that it could answer. Several
candidates are sampled per passage. Obviously bad ones are dropped with a reason, so that no rater sees them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from x_instruction.config.fields import asked_in
from x_instruction.config.generate import Generate
from x_instruction.corpus.characters import spaced
from x_instruction.corpus.segment import sentences
from x_instruction.engines import Ask, Completed, Completion, Engine, Failed, Prompt
from x_instruction.form import find_faults
from x_instruction.hashing import derive_seed
from x_instruction.languages import language
from x_instruction.prompts import Template
from x_instruction.prompts import instruction as prompts
from x_instruction.prompts.reading import Reading, read
from x_instruction.records import Candidate, Dropped, Passage, dropped, extend

# The length hint that ``_hinted`` appends. It is ignored when instructions are compared.
_HINT = re.compile(r" Answer in \d+ sentences?\.$")


def generate(
    passages: Sequence[Passage],
    settings: Generate,
    engine: Engine,
    ask: Ask,
    seed: int,
    round: int = 0,
    before: Sequence[Candidate] = (),
) -> Iterator[Candidate | Dropped]:
    """Candidates for passages of one language, in their order.

    Args:
        passages: passages of one language.
        settings: the section ``generate`` of the recipe.
        engine: provides the tokenizer and the name of the model; requests go through ``ask``.
        ask: returns one result per request.
        seed: seed of the recipe, from which the seed of each candidate is derived.
        round: round of refinement. Candidates are numbered continuously over rounds.
        before: candidates of earlier rounds for these passages; a duplicate of one is dropped.
    """
    if not passages:
        return
    into = language(asked_in(settings.instruction_language, passages[0].language))
    template = prompts.choose(settings.prompt, engine.chat)
    requests: list[Completion] = []
    candidates: list[tuple[Passage, int, str, str]] = []
    for passage in passages:
        truncated = engine.truncate(passage.text, settings.passage_tokens)
        source = language(passage.language)
        for turn in range(settings.candidates):
            number = round * settings.candidates + turn
            style = settings.styles[turn % len(settings.styles)]
            prompt, opening = prompts.ask(template, truncated, source, into, style, turn // len(settings.styles))
            requests.append(_completion(template, prompt, settings, derive_seed(seed, passage.id, number)))
            candidates.append((passage, number, style, opening))
    written: dict[str, set[str]] = {}
    for candidate in before:
        written.setdefault(candidate.id, set()).add(_HINT.sub("", candidate.instruction).casefold())
    results = ask(requests)
    readings = [
        read(result.text, style, into, template.chat, opening, result.finish_reason != "stop")
        if isinstance(result, Completed)
        else Reading("")
        for (_, _, style, opening), result in zip(candidates, results, strict=True)
    ]
    # Together, because a language identifier reads many texts in little more time than one.
    faults = find_faults(
        [(found.text, passage.text) for (passage, *_), found in zip(candidates, readings, strict=True)], settings, into
    )
    for (passage, number, style, _), result, found, fault in zip(candidates, results, readings, faults, strict=True):
        if isinstance(result, Failed):
            yield dropped(f"{passage.id}-{number}", result.reason, result.message)
            continue
        assert isinstance(result, Completed)
        text, reason = found.text, found.reason or fault
        earlier = written.setdefault(passage.id, set())
        if reason is None and text.casefold() in earlier:
            reason = "same_as_another"
        if reason is not None:
            yield dropped(f"{passage.id}-{number}", reason, text, result.text)
            continue
        earlier.add(text.casefold())
        text = _hinted(text, passage, settings.length_hint, derive_seed(seed, "length", passage.id, number))
        yield extend(
            passage,
            Candidate,
            instruction=text,
            instruction_language=into.tag,
            style=style,
            candidate=number,
            round=round,
            finish_reason=result.finish_reason,
            generator=engine.model,
            generator_revision=engine.revision,
            generator_prompt=template.digest,
        )


def _hinted(text: str, passage: Passage, share: float, draw: int) -> str:
    """The instruction, for a share of the candidates with the length of the response (LongForm, arXiv 2304.08460)."""
    if draw % 10_000 >= share * 10_000 or not text.endswith((".", "?", "!")):
        return text
    number = len(sentences(passage.text, spaced(language(passage.language))))
    return f"{text} Answer in {number} sentence{'s' if number != 1 else ''}."


def _completion(template: Template, prompt: Prompt, settings: Generate, seed: int) -> Completion:
    return Completion(
        prompt=prompt,
        max_tokens=prompts.max_tokens(template, settings.max_tokens) + settings.thinking_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        stop=prompts.stops(template),
        seed=seed,
    )
