"""Generation, the paper's first part: an instruction for each passage (section 3.1; method.md 2.2).

The passage is natural text and becomes the response; a model writes the instruction that it may answer. Several
candidates are sampled for each passage, and what no rater needs to see is dropped here, each with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from x_instruction.config.generate import Generate
from x_instruction.config.section import asked_in
from x_instruction.corpus.characters import spaced
from x_instruction.corpus.segment import sentences
from x_instruction.engines import Ask, Completed, Completion, Engine, Failed, Prompt
from x_instruction.hashing import derive_seed
from x_instruction.languages import Language, language
from x_instruction.prompts import instruction as prompts
from x_instruction.records import Candidate, Dropped, Passage, dropped, extend

# Instructions that speak of a text, or that fit any text, say nothing about this one (method.md section 5).
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
# What ``_hinted`` adds: it makes no other instruction of one.
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
    """Candidates of passages of one language, in their order.

    Args:
        passages: of one language.
        settings: the recipe's section.
        engine: for its tokenizer and its name; it is asked through ``ask``.
        ask: gives a result per request.
        seed: of the recipe; each candidate's own seed derives from it.
        round: of refinement; candidates are numbered on from those of earlier rounds.
        before: earlier candidates of these passages, which are not written again.
    """
    if not passages:
        return
    into = language(asked_in(settings.instruction_language, passages[0].language))
    template = prompts.choose(settings.prompt, engine.chat)
    requests: list[Completion] = []
    asked: list[tuple[Passage, int, str, str]] = []
    for passage in passages:
        shown = engine.truncate(passage.text, settings.passage_tokens)
        source = language(passage.language)
        for turn in range(settings.candidates):
            number = round * settings.candidates + turn
            style = settings.styles[turn % len(settings.styles)]
            prompt, opening = prompts.ask(template, shown, source, into, style, turn // len(settings.styles))
            requests.append(_completion(prompt, settings, derive_seed(seed, passage.id, number)))
            asked.append((passage, number, style, opening))
    written: dict[str, set[str]] = {}
    for candidate in before:
        written.setdefault(candidate.id, set()).add(_HINT.sub("", candidate.instruction).casefold())
    for (passage, number, style, opening), answer in zip(asked, ask(requests), strict=True):
        if isinstance(answer, Failed):
            yield dropped(f"{passage.id}-{number}", answer.reason, answer.message)
            continue
        assert isinstance(answer, Completed)
        text = prompts.read(opening, answer.text, style)
        seen = written.setdefault(passage.id, set())
        reason = refuse(text, answer.finish_reason, passage, settings, into)
        if reason is None and text.casefold() in seen:
            reason = "same_as_another"
        if reason is not None:
            yield dropped(f"{passage.id}-{number}", reason, text, answer.text)
            continue
        seen.add(text.casefold())
        text = _hinted(text, passage, settings.length_hint, derive_seed(seed, "length", passage.id, number))
        yield extend(
            passage,
            Candidate,
            instruction=text,
            instruction_language=into.tag,
            style=style,
            candidate=number,
            round=round,
            finish_reason=answer.finish_reason,
            generator=engine.model,
            generator_revision=engine.revision,
            generator_prompt=template.digest,
        )


def _hinted(text: str, passage: Passage, share: float, draw: int) -> str:
    """The instruction, for a share of the draws with the length that its response has (LongForm: method.md 3.8)."""
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
    """Why an instruction is not worth rating, or None."""
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
    """Longest run of characters that the two share, as a share of the instruction; case does not count."""
    left, right = instruction.casefold(), passage.casefold()
    match = SequenceMatcher(None, left, right, autojunk=False).find_longest_match()
    return match.size / max(1, len(left))


def _in_language(text: str, into: Language) -> bool:
    """Whether the letters are of the language's script; English has to do with ASCII letters, but for a name or two."""
    if into.tag == "en":
        letters = [letter for letter in text if letter.isalpha()]
        return bool(letters) and sum(letter.isascii() for letter in letters) >= 0.9 * len(letters)
    from x_instruction.corpus.characters import FIRST_SCRIPT, kinds, script_kinds

    found = [kind for kind in kinds(text).tolist() if kind >= FIRST_SCRIPT]
    own = set(script_kinds(into.script))
    return bool(found) and sum(kind in own for kind in found) >= 0.6 * len(found)
