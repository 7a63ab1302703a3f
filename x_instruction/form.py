"""Whether an instruction has the form of one: what can be said without a model, before it is rated."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise

from x_instruction.config.corpus import LanguageThresholds
from x_instruction.config.generate import Generate
from x_instruction.corpus.characters import FIRST_SCRIPT, kinds, script_kinds
from x_instruction.corpus.ensemble import identifier
from x_instruction.corpus.identifiers import Identifier
from x_instruction.corpus.words import words
from x_instruction.errors import RecipeError
from x_instruction.languages import Language, language


class _Part:
    """A part that a text may have, in any case.

    Args:
        pattern: matches the part.
        signs: in lower case, with spaces between them. A part of ASCII has at least one of them. Most lines have none,
            and these need no search for the pattern.
    """

    def __init__(self, pattern: str, signs: str) -> None:
        self.pattern, self.ascii_pattern = re.compile(pattern, re.I), re.compile(pattern, re.I | re.A)
        self.signs = signs.split()

    def is_in(self, text: str) -> bool:
        """Whether the text has the part."""
        if not (text.isascii() and text.isprintable()):
            return self.pattern.search(text) is not None
        return any(map(text.lower().__contains__, self.signs)) and self.ascii_pattern.search(text) is not None


# Instructions that mention "the text" or that fit any text are useless: the reader of the pair has only this response.
_MENTIONS = _Part(
    r"\b(?:this|that|above|below|given|another)\s+(?:\w+\s+)?"
    r"(?:article|text|passage|paragraph|title|document|excerpt|sentence|phrase)\b"
    r"|\b(?:in|of|from|by|about|with|does|did|do|is|was|are|to|summari[sz]e|read|above)\s+the\s+(?:(?:above|given)\s+)?"
    r"(?:article|text|passage|paragraph|excerpt)\b(?! of\b)|\bthe (?:author|speaker|writer|narrator)\b(?! of\b)"
    r"|\b(?:answer|read|consider|use) the following\b"
    r"|\bthe following (?:text|passage|questions?|article|sentences?|statements?|paragraph|is|are)\b"
    r"|\((?:\w+ )?(?:article|text|version|translation)\)|^(?:please )?(?:translate|paraphrase)\b"
    r"|\b(?:write|give|suggest|create|choose) (?:me )?(?:a |an |the )?(?:\w+ )?(?:headline|title|summary)\b"
    r"|^(?:the )?title\b"
    r"|\b(?:say|said|called|written|read)\b.* in english\b|\benglish (?:version|translation|title)\b"
    r"|\b(?:explain|describe|tell|how|why|who|does)\b.{0,20}\b(?:the|an?) (?:\w+ )?article\b(?! (?:of|\d))|\barticle\?$"
    r"|\b(?:title|headline|summary|question|answer|instruction|translation)s?:"
    r"|\bsummari[sz]e (?:this|the)\b|\bhow (?:do|would|can|could) (?:you|i|we) translate\b",
    "article text passage paragraph title document excerpt sentence phrase author speaker writer narrator following "
    "version translat english headline summar question: questions: answer: answers: instruction: instructions:",
)
_GENERIC = re.compile(
    r"^(?:what (?:is|are|was|were) (?:this|it|that|they|these|those)(?: about)?"
    r"|what is the (?:title|main (?:idea|thing|topic|point)|meaning of (?:the|this) (?:word|title|phrase))"
    r"(?: of (?:the |this )?\w+| [\"'“].*)?"
    r"|what (?:is|are) the (?:difference|problem|purpose|point|answer|meaning|reason|question|name)s?"
    r"|what happened|what to do|why|how"
    r"|how (?:to|do (?:you|we|i)) (?:do|say|use|see|get|make|read|write|find) (?:it|this|that|one)?"
    r"|how (?:does|do|did) (?:it|this|that|they) (?:work|happen|look)"
    r"|why (?:is|are|do|does) (?:it|this|that|they)(?: \w+)?"
    r"|tell(?: me| us)?(?: more| (?:more )?about (?:it|this|that|yourself|us))?"
    r"|describe (?:it|this|that|yourself)"
    r"|describe (?:(?:your|the) (?:day|life|family|self|article|text|problem|situation|story|picture))"
    r"|explain (?:it|this|that|how it works|why(?: it is(?: important)?)?|how|the (?:article|text|topic|title|meaning))"
    r"|write (?:a|an) (?:letter|story|poem|essay|sentence|article)(?: (?:to|in) (?:(?:a|an|the|my|your) )?\w+)?)\W*$",
    re.I,
)
_REPEATS = re.compile(r"\b(\w+(?:\W+\w+){0,4})(?:\W+\1\b){2,}", re.I)
_ASCII_WORD = re.compile(r"\w+", re.A)
# What surrounds the text of a web page, and is in no request: addresses, markup, menus, notices, dates of news.
_FURNITURE = _Part(
    r"https?://|\bwww\.|</?[a-z]{1,10}\b[^>]{0,80}>|&(?:nbsp|amp|quot|lt|gt|#\d+);|\{\{|\}\}|\[(?:edit|\d+)\]"
    r"|©|\ball rights reserved\b|\bcopyright \d|\bprivacy policy\b|\bterms of (?:use|service)\b|\bcookies? policy\b"
    r"|\b(?:read|learn|see|show) more\s*(?:»|>|\.\.\.|…|$)|\bclick here\b|\bsubscribe (?:to|now)\b|\bshare on\b"
    r"|^(?:posted|written|published|submitted) (?:by|on)\b|\btable of contents\b|\bpage \d+ of \d+\b"
    r"|[|»›•→]|(?:\s[-–—/]\s.*){3}|\s[-–—]\s*wikipedia\b|\bthe free encyclopedia\b|\.(?:html?|php|aspx?)\b"
    r"|_{3,}|\*{3,}|={3,}|#{2,}|\.{5,}",
    "http www. < & {{ }} [ rights copyright policy terms more click subscribe share posted written published submitted "
    "table page | - / wikipedia encyclopedia .htm .php .asp ___ *** === ## .....",
)
# A word that is not the first one. If it begins with a capital letter, it is a name.
_WORD = re.compile(r"(?<=[\s(\"'“‘«/-])[^\W\d_][\w’'-]*")
# Languages that write every noun with a capital letter.
CAPITAL_NOUNS = frozenset({"de", "lb"})
# Scripts that have capital letters.
CASED = frozenset({"Latn", "Cyrl", "Grek", "Armn", "Geor"})
# Where a sentence ends and another one begins.
_NEXT = re.compile(
    r"(?:[?!][\"”’)]*\s|(?<=[^\W\d_]{3})(?<!\bProf)(?<!\betc)\.[\"”’)]*\s+(?=[^\W_])(?![a-z])|[।۔။።。！？][\"”’」]*\s*)(?=\S)"
)
# Share of the letters that must be in the script of the language; English text may hold a few foreign names.
_OWN_SCRIPT = {"en": 0.9}
_OWN_SCRIPT_ELSE = 0.6
# With less probability for the language of instructions, among all languages of its script, an instruction is in
# another one. 1,190 English questions of XQuAD have less in 0.1 % of the cases, and sentences in Finnish, Indonesian,
# Swahili, Turkish and Vietnamese in more than 99.9 %.
_LEAST_LIKELY = 0.03
# With fewer letters besides names, a language cannot be identified.
_LEAST_LETTERS = 15
# So many consecutive characters, about one word with its spaces, may always be those of the passage.
_FREE = 12
# A run of words of the passage with so many letters, besides names, is a part that was not translated if the language
# of the instruction has less probability.
_RUN_LETTERS = 8
_RUN_LIKELY = 0.018


def find_fault(instruction: str, passage_text: str, settings: Generate, into: Language) -> str | None:
    """The reason to drop an instruction before it is rated, or None.

    Args:
        instruction: the instruction as it was read from the answer.
        passage_text: the whole passage.
        settings: the section ``generate`` of the recipe, for the limits.
        into: language of the instruction.
    """
    return find_faults([(instruction, passage_text)], settings, into)[0]


def find_faults(pairs: Sequence[tuple[str, str]], settings: Generate, into: Language) -> list[str | None]:
    """As ``find_fault``, for many instructions and their passages: their languages are identified together."""
    unnamed = [_without_names(instruction, into) for instruction, _ in pairs]
    faults = [_fault(*pair, plain, settings, into) for pair, plain in zip(pairs, unnamed, strict=True)]
    rows = [row for row, fault in enumerate(faults) if fault is None]
    plain = [unnamed[row].replace("\0", " ") for row in rows]
    for row, likely in zip(rows, _likely(plain, into, _LEAST_LETTERS, _LEAST_LIKELY), strict=True):
        if not likely:
            faults[row] = "wrong_language"
    runs = [(row, run) for row, text in zip(rows, plain, strict=True) for run in _shared_runs(text, pairs[row][1])]
    likely_runs = _likely([run for _, run in runs], into, _RUN_LETTERS, _RUN_LIKELY)
    for (row, _), likely in zip(runs, likely_runs, strict=True):
        if not likely:
            faults[row] = faults[row] or "untranslated"
    return faults


def _fault(instruction: str, passage_text: str, unnamed: str, settings: Generate, into: Language) -> str | None:
    """The faults that need no language identifier; ``unnamed`` is the instruction without names."""
    if not instruction.strip(" ?.!"):
        return "empty"
    if len(instruction) < settings.min_chars:
        return "too_short"
    if len(instruction) > settings.max_chars:
        return "too_long"
    if not _in_script(instruction, into):
        return "wrong_language"
    if _FURNITURE.is_in(instruction):
        return "page_furniture"
    if into.tag == "en" and _MENTIONS.is_in(instruction):
        return "mentions_the_text"
    if into.tag == "en" and _GENERIC.match(instruction):
        return "generic"
    if _repeats_itself(instruction):
        return "repeats_itself"
    if _next_sentences(instruction) >= settings.max_sentences:
        return "several_sentences"
    # Names are the same in many languages, and an instruction may take them from the passage.
    if copies(unnamed, passage_text, settings.max_copy * len(instruction)):
        return "copies_the_passage"
    return None


def _repeats_itself(text: str) -> bool:
    """Whether the text has a part three times in a row."""
    # Then it has a word three times.
    if text.isascii() and max(Counter(_ASCII_WORD.findall(text.lower())).values(), default=0) < 3:
        return False
    return _REPEATS.search(text) is not None


def _next_sentences(text: str) -> int:
    """The number of sentences after the first one."""
    if text.isascii() and not any(mark in text[:-1] for mark in ".?!"):
        return 0
    return len(_NEXT.findall(text))


def copies(instruction: str, passage: str, most: float) -> bool:
    """True if the two have more than ``most`` consecutive characters in common, and more than a word or two.

    Case is ignored.
    """
    left, right = instruction.casefold(), _folded(passage)
    length = max(int(most), _FREE) + 1
    # Every so long part of the instruction has one of these pieces in it, and most have none in common with a passage.
    piece = (length + 1) // 2
    pieces = range(0, len(left) - piece + 1, piece)
    return any(left[start : start + piece] in right for start in pieces) and any(
        left[start : start + length] in right for start in range(len(left) - length + 1)
    )


# The candidates of a passage follow each other.
_folded = lru_cache(maxsize=16)(str.casefold)


def _without_names(text: str, into: Language) -> str:
    """The text with a sign that no passage holds in place of each name."""
    if into.tag in CAPITAL_NOUNS or into.script not in CASED or text.isupper():
        return text
    if not any(map(str.isupper, text[1:])):
        return text
    return _WORD.sub(lambda word: "\0" if word[0][0].isupper() else word[0], text)


def _in_script(text: str, into: Language) -> bool:
    """True if enough letters are in the script of the language."""
    if into.script == "Latn" and text.isascii():
        return any(map(str.isalpha, text))
    classes = [number for number in kinds(text).tolist() if number >= FIRST_SCRIPT]
    own = set(script_kinds(into.script))
    least = _OWN_SCRIPT.get(into.tag, _OWN_SCRIPT_ELSE)
    return bool(classes) and sum(number in own for number in classes) >= least * len(classes)


def _shared_runs(instruction: str, passage: str) -> Iterator[str]:
    """The longest runs of at least two consecutive words that the passage has too."""
    (whole, pairs), found = _normalized(passage), words(instruction)
    start = 0
    while start < len(found) - 1:
        end = start + 1
        if (found[start], found[end]) not in pairs:
            start = end
            continue
        while end < len(found) and f" {' '.join(found[start : end + 1])} " in whole:
            end += 1
        if end - start > 1:
            yield " ".join(found[start:end])
        start = end


@lru_cache(maxsize=16)
def _normalized(passage: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """The words of a passage with spaces between and around them, and each two that follow each other."""
    found = words(passage)
    return f" {' '.join(found)} ", frozenset(pairwise(found))


def _likely(texts: Sequence[str], into: Language, letters: int, least: float) -> list[bool]:
    """For each text with so many letters, whether it may be in the language, or in one that is confused with it."""
    known = _identifier(into.tag)
    likely = [True] * len(texts)
    long = [row for row, text in enumerate(texts) if known is not None and sum(map(str.isalpha, text)) >= letters]
    if known is not None and long:
        for row, guess in zip(long, known.best([texts[row] for row in long]), strict=True):
            likely[row] = sum(guess.shares.get(tag, 0.0) for tag in (into.tag, *into.confused_with)) >= least
    return likely


@cache
def _identifier(tag: str) -> Identifier | None:
    """The identifier for a language; None if there is none that knows it, so that its script alone is checked."""
    try:
        return identifier(language(tag), LanguageThresholds())
    except RecipeError:
        return None
