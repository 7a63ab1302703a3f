"""Whether a passage is in the expected language.

Three checks, the cheap ones first: the share of letters in the script of the language; the identifier's result for a
sample, among all languages that it knows; and sentence by sentence, the share in another script or language. The last
one catches half-translated pages, which an identifier assigns to the language of their larger half.

The identifier is py3langid (140 languages) or, with ``filters.lid_model``, a fastText model such as GlotLID; or several
with ``filters.lid_ensemble``. Simplified and traditional Chinese are distinguished by characters that only one of them
has.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from x_instruction.config.corpus import LanguageThresholds
from x_instruction.corpus import characters
from x_instruction.corpus.characters import FIRST_SCRIPT, NEWLINE, SPACE, code_points
from x_instruction.corpus.close_languages import closer, own_variety
from x_instruction.corpus.ensemble import identifier
from x_instruction.corpus.identifiers import COMMON, Guess, enough_letters
from x_instruction.corpus.segment import STOPS
from x_instruction.languages import Language

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A sentence or line, or several short ones, of 40 to 160 characters: enough to identify a language, too short for two.
UNIT_SHORTEST, UNIT_LONGEST = 40, 160
_STOP = "".join(sorted(STOPS))
_END = re.compile(rf"[.!?…]\s+|[{_STOP}]+\s*|\n")
_CUT = re.compile(rf".{{1,{UNIT_LONGEST}}}(?:\s|$)|.{{1,{UNIT_LONGEST}}}", re.DOTALL)
_SPACED = ".!?…"
_NEEDS_SPACE, _NEEDS_NOTHING, _LINE = 1, 2, 3
# Characters of a passage that the identifier compares with all languages.
SAMPLE_CHARACTERS = 400


class Verdict(NamedTuple):
    """The result of the language check for one passage.

    Args:
        identified: tag of the most likely language.
        confidence: its probability, 0 to 1.
        reason: ``wrong_script``, ``wrong_language``, ``mixed_language``, or None if the passage is kept.
        detail: the measured value and the threshold, for people.
        foreign: share of the characters in sentences of another language, 0 to 1.
        script: share of the letters in the language's script, 0 to 1.
    """

    identified: str
    confidence: float
    reason: str | None
    detail: str
    foreign: float
    script: float


class LanguageCheck:
    """Checks passages of one language.

    Args:
        language: the expected language.
        limits: thresholds.

    Raises:
        RecipeError: no identifier knows the language.
        MissingExtra: ``lid_model`` is set and fastText is not installed.
    """

    def __init__(self, language: Language, limits: LanguageThresholds) -> None:
        self._language, self._limits = language, limits
        known = np.zeros(256, dtype=bool)
        known[characters.script_kinds(language.script)] = True
        self._known = known
        self._identifier = identifier(language, limits)
        self._units = language.script in COMMON

    def judge(self, texts: Sequence[str]) -> list[Verdict]:
        """A verdict for each passage."""
        scripts = script_shares(texts, self._known)
        if self._language.script in ("Hans", "Hant"):
            scripts = [
                (min(share, own_variety(text, self._language.script)), foreign)
                for text, (share, foreign) in zip(texts, scripts, strict=True)
            ]
        passed = [i for i, (share, _) in enumerate(scripts) if share >= self._limits.min_script]
        samples = [sample(texts[i]) for i in passed]
        best = dict(zip(passed, self._identifier.best(samples), strict=True))
        parts = [(i, unit) for i in passed for unit in units(texts[i])] if self._units else []
        foreign = {i: scripts[i][1] for i in passed}
        are_foreign = self._identifier.foreign([unit for _, unit in parts])
        for (i, unit), is_foreign in zip(parts, are_foreign, strict=True):
            # Both checks may count a sentence in another script, so the share is limited to 1.
            foreign[i] = min(1.0, foreign[i] + is_foreign * len(unit) / len(texts[i]))
        return [self._verdict(texts[i], scripts[i][0], best.get(i), foreign.get(i, 0.0)) for i in range(len(texts))]

    def script_share(self, text: str) -> float | None:
        """Share of the letters in the script of the language; None for a text without letters."""
        return script_shares([text], self._known)[0][0] if any(map(str.isalpha, text)) else None

    def without_foreign_lines(self, texts: Sequence[str]) -> list[str]:
        """Each text without the lines that are clearly in another script or language."""
        lines = [text.split("\n") for text in texts]
        flat = [line for part in lines for line in part]
        foreign = [
            share < 1 - self._limits.min_script and enough_letters(line)
            for line, (share, _) in zip(flat, script_shares(flat, self._known), strict=True)
        ]
        if self._units:
            by_language = self._identifier.foreign(flat)
            foreign = [one or other for one, other in zip(foreign, by_language, strict=True)]
        left = iter(foreign)
        return ["\n".join(line for line in part if not next(left)).strip("\n") for part in lines]

    def _verdict(self, text: str, script: float, best: Guess | None, foreign: float) -> Verdict:
        limits, expected = self._limits, self._language
        if best is None:
            detail = f"{script:.0%} of letters in {expected.script}, at least {limits.min_script:.0%}"
            return Verdict("und", 0.0, "wrong_script", detail, foreign, script)
        tag, confidence = closer(text, expected.tag, best)
        if foreign > limits.max_foreign_lines and (tag == expected.tag or foreign < 1 - limits.max_foreign_lines):
            detail = (
                f"{foreign:.0%} of characters in sentences of another language, at most {limits.max_foreign_lines:g}"
            )
            return Verdict(tag, confidence, "mixed_language", detail, foreign, script)
        if tag != expected.tag or confidence < limits.min_confidence:
            least = limits.min_confidence
            found = best.note or f"identified as {tag} ({confidence:.2f})"
            detail = f"{found}, expected {expected.tag} with at least {least:g}"
            return Verdict(tag, confidence, "wrong_language", detail, foreign, script)
        return Verdict(tag, confidence, None, "", foreign, script)


def sample(text: str) -> str:
    """Up to ``SAMPLE_CHARACTERS`` characters, half from the beginning and half from the middle of a text."""
    if len(text) <= SAMPLE_CHARACTERS:
        return text
    half, middle = SAMPLE_CHARACTERS // 2, len(text) // 2
    return f"{text[:half]}\n{text[max(half, middle) : max(half, middle) + half]}"


def units(text: str) -> list[str]:
    """Sentences or lines of a text, or several short ones, in order. Together they are the text.

    A unit ends with the first sentence or line that makes it long enough, else with the last word that fits.
    """
    places: list[int] = np.flatnonzero(_end_table().take(code_points(text))).tolist()
    ends = [place for place in places if text[place] not in _SPACED or text[place + 1 : place + 2].isspace()]
    ends.append(len(text))
    results = []
    start = number = 0
    while start < len(text):
        number = bisect_left(ends, start + UNIT_SHORTEST, number)
        if number < len(ends) and ends[number] <= start + UNIT_LONGEST:
            match = _END.match(text, ends[number])
        else:
            match = _CUT.match(text, start)
        end = match.end() if match else len(text)
        results.append(text[start:end])
        start = end
    return results


def script_shares(texts: Sequence[str], known: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Share of letters in the script, and share of characters in sentences mostly in another script, of each text."""
    if not texts:
        return []
    # A control character between the texts is no letter, and ends no sentence.
    codes = code_points("\0".join([*texts, ""]))
    kinds = characters.kinds_of(codes)
    letters = kinds >= FIRST_SCRIPT
    own = known.take(kinds)
    sizes = np.array([len(text) for text in texts], dtype=np.int64)
    ends = np.cumsum(sizes + 1)
    starts = ends - sizes - 1
    totals, counts = (np.add.reduceat(which, starts, dtype=np.int64) for which in (letters, own))
    foreign = np.zeros(len(texts))
    if (counts != totals).any():
        stops = _end_table().take(codes)
        breaks = (kinds == NEWLINE) | (stops == _NEEDS_NOTHING)
        breaks[1:] |= (kinds[1:] == SPACE) & (stops[:-1] == _NEEDS_SPACE)
        begins = np.zeros(len(codes), dtype=bool)
        begins[1:] = breaks[:-1]
        # What ends a text begins no sentence.
        begins[ends - 1] = False
        begins[starts] = True
        sentences = np.flatnonzero(begins)
        owners = np.searchsorted(ends, sentences, side="right")
        lengths = np.minimum(np.append(sentences[1:], len(codes)), ends[owners] - 1) - sentences
        others = np.add.reduceat(letters & ~own, sentences, dtype=np.int64)
        is_foreign = others > 0.5 * np.add.reduceat(letters, sentences, dtype=np.int64)
        foreign += np.bincount(owners, weights=lengths * is_foreign, minlength=len(texts))
    shares = zip(texts, totals.tolist(), counts.tolist(), foreign.tolist(), strict=True)
    return [
        (count / total, other / len(text)) if count != total else (1.0 if total else 0.0, 0.0)
        for text, total, count, other in shares
    ]


@cache
def _end_table() -> NDArray[np.uint8]:
    """How each code point ends a sentence or line, (0x110000,); 0 if it ends none."""
    table = np.zeros(0x110000, dtype=np.uint8)
    table[[ord(stop) for stop in _SPACED]] = _NEEDS_SPACE
    table[[ord(stop) for stop in STOPS]] = _NEEDS_NOTHING
    table[ord("\n")] = _LINE
    return table
