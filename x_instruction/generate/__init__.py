"""The first part of X-Instruction: write an instruction for each passage (section 3.1).

The passage is natural text and becomes the response; a model writes an instruction that it could answer. Several
candidates are sampled per passage. Obviously bad ones are dropped with a reason, so that no rater sees them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from x_instruction.config.fields import asked_in
from x_instruction.config.generate import Generate
from x_instruction.corpus.characters import spaced
from x_instruction.corpus.segment import sentences
from x_instruction.engines import Ask, AskParts, Completed, Completion, Engine, Failed, Prompt, in_parts
from x_instruction.form import find_faults
from x_instruction.generate import span
from x_instruction.generate.draft import Draft
from x_instruction.generate.pivot import Pivot
from x_instruction.hashing import derive_seed
from x_instruction.languages import Language, language
from x_instruction.prompts import Template
from x_instruction.prompts import instruction as prompts
from x_instruction.prompts.reading import read
from x_instruction.records import Candidate, Dropped, Passage, dropped, extend
from x_instruction.translate import Failure, SourceText

# The length hint that ``_hinted`` appends. It is ignored when instructions are compared.
_HINT = re.compile(r" Answer in \d+ sentences?\.$")
# Passages whose requests are prepared at a time, which takes some hundredths of a second.
_PART = 16


def generate(
    passages: Sequence[Passage],
    settings: Generate,
    engine: Engine,
    ask: Ask,
    seed: int,
    round: int = 0,
    before: Sequence[Candidate] = (),
    ask_parts: AskParts | None = None,
) -> Iterator[Candidate | Dropped]:
    """Candidates for passages of one language, in their order; first the passages without a span, if those are chosen.

    Args:
        passages: passages of one language.
        settings: the section ``generate`` of the recipe.
        engine: provides the tokenizer and the name of the model; requests go through ``ask``.
        ask: returns one result per request.
        seed: seed of the recipe, from which the seed of each candidate is derived.
        round: round of refinement. Candidates are numbered continuously over rounds.
        before: candidates of earlier rounds for these passages; a duplicate of one is dropped.
        ask_parts: asks for instructions while the requests for others are prepared. By default ``ask`` is called with
            all of them, as it is for the route over another language, which asks for several things in turn.
    """
    if not passages:
        return
    into = language(asked_in(settings.instruction_language, passages[0].language))
    passages, refused = span.choose(passages, settings, engine, ask)
    yield from refused
    pivot = Pivot(settings, engine, ask) if settings.route == "translate" else None
    written_in = pivot.language if pivot else into
    template = prompts.choose(settings.prompt, engine.chat)
    if ask_parts is None or pivot is not None:
        ask_parts = in_parts(ask)
    # The route over another language translates all passages at once.
    size = max(1, len(passages)) if pivot else _PART
    under_way: deque[list[Draft]] = deque()

    def parts() -> Iterator[list[Completion]]:
        for start in range(0, len(passages), size):
            part = passages[start : start + size]
            drafts, requests = _drafts(part, settings, engine, pivot, template, written_in, seed, round)
            under_way.append(drafts)
            yield requests

    digest = span.digest(settings, pivot.digest(template) if pivot else template.digest)
    written: dict[str, set[str]] = {}
    for candidate in before:
        written.setdefault(candidate.id, set()).add(_HINT.sub("", candidate.instruction).casefold())
    for results in ask_parts(parts(), len(passages) * settings.candidates):
        drafts = under_way.popleft()
        _read(drafts, results, settings, template, written_in, passages_as_read=pivot is not None)
        if pivot:
            pivot.translate_back(drafts, settings, into)
        for draft in drafts:
            passage, text = draft.passage, draft.text
            earlier = written.setdefault(passage.id, set())
            if draft.reason is None and text.casefold() in earlier:
                draft.drop("same_as_another", text)
            if draft.reason is not None:
                yield dropped(f"{passage.id}-{draft.number}", draft.reason, draft.detail, draft.answer)
                continue
            earlier.add(text.casefold())
            if settings.length_hint:
                draw = derive_seed(seed, "length", passage.id, draft.number)
                text = _hinted(text, passage, settings.length_hint, draw)
            yield extend(
                passage,
                Candidate,
                instruction=text,
                instruction_language=into.tag,
                style=draft.style,
                candidate=draft.number,
                round=round,
                finish_reason=draft.finish_reason,
                generator=engine.model,
                generator_revision=engine.revision,
                generator_prompt=digest,
            )


def _drafts(
    passages: Sequence[Passage],
    settings: Generate,
    engine: Engine,
    pivot: Pivot | None,
    template: Template,
    into: Language,
    seed: int,
    round: int,
) -> tuple[list[Draft], list[Completion]]:
    """The drafts for some passages, and the requests of those that can be asked for."""
    drafts: list[Draft] = []
    requests: list[Completion] = []
    for passage, source in zip(passages, _sources(passages, settings, engine, pivot), strict=True):
        for turn in range(settings.candidates):
            number = round * settings.candidates + turn
            style = settings.styles[turn % len(settings.styles)]
            draft = Draft(passage, number, style)
            drafts.append(draft)
            if isinstance(source, Failure):
                draft.drop(*source)
                continue
            draft.source = source.text
            prompt, draft.opening = prompts.ask(
                template, source.text, source.source, into, style, turn // len(settings.styles)
            )
            requests.append(_completion(template, prompt, settings, derive_seed(seed, passage.id, number)))
    return drafts, requests


def _sources(
    passages: Sequence[Passage], settings: Generate, engine: Engine, pivot: Pivot | None
) -> Sequence[SourceText | Failure]:
    """What the model reads of each passage."""
    found: list[SourceText] = []
    for passage in passages:
        source = language(passage.language)
        text = engine.truncate(passage.text, settings.passage_tokens)
        found.append(SourceText(text, source, pivot.language if pivot else source))
    if pivot is None:
        return found
    return [
        text if isinstance(text, Failure) else text._replace(text=engine.truncate(text.text, settings.passage_tokens))
        for text in pivot.translate(found)
    ]


def _read(
    drafts: Sequence[Draft],
    results: Sequence[Any],
    settings: Generate,
    template: Template,
    into: Language,
    passages_as_read: bool,
) -> None:
    """Read the answers of the drafts that were asked for.

    Args:
        drafts: all drafts; those that are dropped already have no result.
        results: the results of the others, in order.
        settings: the limits.
        template: the prompt.
        into: language of the instructions.
        passages_as_read: compare instructions with what the model read, instead of with the whole passages.
    """
    asked = [draft for draft in drafts if draft.reason is None]
    for draft, result in zip(asked, results, strict=True):
        if isinstance(result, Failed):
            draft.drop(result.reason, result.message)
            continue
        assert isinstance(result, Completed)
        draft.answer, draft.finish_reason = result.text, result.finish_reason
        found = read(
            result.text,
            draft.style,
            into,
            template.chat,
            draft.opening,
            cut_off=result.finish_reason != "stop",
            source=language(draft.passage.language),
        )
        draft.text = found.text
        if found.reason is not None:
            draft.drop(found.reason, found.text)
    # Together, because a language identifier reads many texts in little more time than one.
    open_drafts = [draft for draft in asked if draft.reason is None]
    pairs = [(draft.text, draft.source if passages_as_read else draft.passage.text) for draft in open_drafts]
    for draft, fault in zip(open_drafts, find_faults(pairs, settings, into), strict=True):
        draft.drop(fault, draft.text)


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
