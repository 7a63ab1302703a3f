"""The first part of X-Instruction: write an instruction for each passage (section 3.1).

The passage is natural text and becomes the response; a model writes an instruction that it could answer. Several
candidates are sampled per passage. Obviously bad ones are dropped with a reason, so that no rater sees them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from x_instruction.config.fields import asked_in
from x_instruction.config.generate import Generate
from x_instruction.corpus.characters import spaced
from x_instruction.corpus.segment import sentences
from x_instruction.engines import Ask, Completed, Completion, Engine, Failed, Prompt
from x_instruction.hashing import derive_seed
from x_instruction.languages import Language, language
from x_instruction.prompts import instruction as prompts
from x_instruction.records import Candidate, Dropped, Passage, dropped, extend

# Instructions that mention "the text" or that fit any text are useless: the reader of the pair has only this response.
_MENTIONS = re.compile(
    r"\b(?:this|that|above|below|given|another)\s+(?:\w+\s+)?"
    r"(?:article|text|passage|paragraph|title|document|excerpt|sentence|phrase)\b"
    r"|\bthe\s+(?:above\s+|given\s+)?(?:article|text|passage|paragraph|excerpt|author|speaker)\b(?! of)"
    r"|\bthe following\b"
    r"|\(\w+ (?:article|text|version)\)|\b(?:translat(?:e|ed|ion)|headline|summari[sz]e (?:this|the))\b|\bin english\b",
    re.I,
)
_GENERIC = re.compile(
    r"^(?:what (?:is|are) (?:this|it|that)(?: about)?"
    r"|what is the (?:title|main (?:idea|thing|topic)|meaning of (?:the|this) (?:word|title|phrase))(?: .*)?"
    r"|what happened|how (?:to|do (?:you|we|i)) (?:do|say|use|see|get|make) (?:it|this|that)?|why|how|tell me(?: more)?"
    r"|describe (?:it|this|your (?:day|life|family|self))"
    r"|write (?:a|an) (?:letter|story|poem|essay|sentence)(?: (?:to|in) (?:(?:a|an|the|my|your) )?\w+)?)\W*$",
    re.I,
)
# The length hint that ``_hinted`` appends. It is ignored when instructions are compared.
_HINT = re.compile(r" Answer in \d+ sentences?\.$")
_REPEATS = re.compile(r"\b(\w+(?:\W+\w+){0,4})(?:\W+\1\b){2,}", re.I)


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
            requests.append(_completion(prompt, settings, derive_seed(seed, passage.id, number)))
            candidates.append((passage, number, style, opening))
    written: dict[str, set[str]] = {}
    for candidate in before:
        written.setdefault(candidate.id, set()).add(_HINT.sub("", candidate.instruction).casefold())
    for (passage, number, style, opening), result in zip(candidates, ask(requests), strict=True):
        if isinstance(result, Failed):
            yield dropped(f"{passage.id}-{number}", result.reason, result.message)
            continue
        assert isinstance(result, Completed)
        text = prompts.read(opening, result.text, style)
        earlier = written.setdefault(passage.id, set())
        reason = refuse(text, result.finish_reason, passage, settings, into)
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


def _completion(prompt: Prompt, settings: Generate, seed: int) -> Completion:
    return Completion(
        prompt=prompt,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        stop=prompts.STOPS,
        seed=seed,
    )


def refuse(text: str, finish_reason: str, passage: Passage, settings: Generate, into: Language) -> str | None:
    """The reason to drop an instruction before it is rated, or None."""
    if not text.strip(" ?.!"):
        return "empty"
    if finish_reason != "stop":
        return "cut_off"
    if len(text) < settings.min_chars:
        return "too_short"
    if len(text) > settings.max_chars:
        return "too_long"
    if not _in_language(text, into):
        return "wrong_language"
    if into.tag == "en" and _MENTIONS.search(text):
        return "mentions_the_text"
    if into.tag == "en" and _GENERIC.match(text):
        return "generic"
    if _REPEATS.search(text):
        return "repeats_itself"
    if copied(text, passage.text) > settings.max_copy:
        return "copies_the_passage"
    return None


def copied(instruction: str, passage: str) -> float:
    """Length of the longest common substring relative to the instruction, 0 to 1. Case is ignored."""
    left, right = instruction.casefold(), passage.casefold()
    match = SequenceMatcher(None, left, right, autojunk=False).find_longest_match()
    return match.size / max(1, len(left))


def _in_language(text: str, into: Language) -> bool:
    """True if the letters are in the script of the language. English must be ASCII, except for a few names."""
    if into.tag == "en":
        letters = [letter for letter in text if letter.isalpha()]
        return bool(letters) and sum(letter.isascii() for letter in letters) >= 0.9 * len(letters)
    from x_instruction.corpus.characters import FIRST_SCRIPT, kinds, script_kinds

    classes = [number for number in kinds(text).tolist() if number >= FIRST_SCRIPT]
    own = set(script_kinds(into.script))
    return bool(classes) and sum(number in own for number in classes) >= 0.6 * len(classes)
