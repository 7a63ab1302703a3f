"""Whether an instruction has the form of one: what can be said without a model, before it is rated."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from x_instruction.config.generate import Generate
from x_instruction.languages import Language

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
_REPEATS = re.compile(r"\b(\w+(?:\W+\w+){0,4})(?:\W+\1\b){2,}", re.I)


def find_fault(instruction: str, passage_text: str, settings: Generate, into: Language) -> str | None:
    """The reason to drop an instruction before it is rated, or None.

    Args:
        instruction: the instruction as it was read from the answer.
        passage_text: the whole passage.
        settings: the section ``generate`` of the recipe, for the limits.
        into: language of the instruction.
    """
    if not instruction.strip(" ?.!"):
        return "empty"
    if len(instruction) < settings.min_chars:
        return "too_short"
    if len(instruction) > settings.max_chars:
        return "too_long"
    if not _in_language(instruction, into):
        return "wrong_language"
    if into.tag == "en" and _MENTIONS.search(instruction):
        return "mentions_the_text"
    if into.tag == "en" and _GENERIC.match(instruction):
        return "generic"
    if _REPEATS.search(instruction):
        return "repeats_itself"
    if copied(instruction, passage_text) > settings.max_copy:
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
