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
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from x_instruction.config.corpus import LanguageThresholds
from x_instruction.corpus import characters
from x_instruction.corpus.characters import FIRST_SCRIPT, NEWLINE, SPACE
from x_instruction.corpus.close_languages import closer, own_variety
from x_instruction.corpus.ensemble import identifier
from x_instruction.corpus.identifiers import COMMON, Guess, enough_letters
from x_instruction.corpus.segment import STOPS
from x_instruction.languages import Language

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A sentence or line, or several short ones, of 40 to 160 characters: enough to identify a language, too short for two.
_STOP = "".join(sorted(STOPS))
_UNIT = re.compile(rf".{{40,160}}?(?:[.!?…]\s+|[{_STOP}]+\s*|\n|$)|.{{1,160}}(?:\s|$)|.{{1,160}}", re.DOTALL)
_NEEDS_SPACE, _NEEDS_NOTHING = 1, 2
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
        scripts = [_script(text, self._known) for text in texts]
        if self._language.script in ("Hans", "Hant"):
            scripts = [
                (min(share, own_variety(text, self._language.script)), foreign)
                for text, (share, foreign) in zip(texts, scripts, strict=True)
            ]
        passed = [i for i, (share, _) in enumerate(scripts) if share >= self._limits.min_script]
        samples = [sample(texts[i]) for i in passed]
        best = dict(zip(passed, self._identifier.best(samples), strict=True))
        units: list[str] = []
        owners: list[int] = []
        for i in passed:
            sentences = _UNIT.findall(texts[i]) if self._units else []
            units += sentences
            owners += [i] * len(sentences)
        foreign = {i: scripts[i][1] for i in passed}
        for i, unit, is_foreign in zip(owners, units, self._identifier.foreign(units), strict=True):
            # Both checks may count a sentence in another script, so the share is limited to 1.
            foreign[i] = min(1.0, foreign[i] + is_foreign * len(unit) / len(texts[i]))
        return [self._verdict(texts[i], scripts[i][0], best.get(i), foreign.get(i, 0.0)) for i in range(len(texts))]

    def script_share(self, text: str) -> float | None:
        """Share of the letters in the script of the language; None for a text without letters."""
        return _script(text, self._known)[0] if any(map(str.isalpha, text)) else None

    def without_foreign_lines(self, texts: Sequence[str]) -> list[str]:
        """Each text without the lines that are clearly in another script or language."""
        lines = [text.split("\n") for text in texts]
        flat = [line for part in lines for line in part]
        foreign = [
            enough_letters(line) and _script(line, self._known)[0] < 1 - self._limits.min_script for line in flat
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


def _script(text: str, known: NDArray[np.bool_]) -> tuple[float, float]:
    """Share of letters in the script, and share of characters in sentences mostly in another script."""
    kinds = characters.kinds(text)
    letters = kinds >= FIRST_SCRIPT
    own = known[kinds]
    total, count = int(letters.sum()), int(own.sum())
    if count == total:
        return (1.0 if total else 0.0), 0.0
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    breaks = kinds == NEWLINE
    stops = _stop_table().take(codes)
    breaks[1:] |= (kinds[1:] == SPACE) & (stops[:-1] == _NEEDS_SPACE)
    breaks |= stops == _NEEDS_NOTHING
    starts = np.concatenate(([0], np.flatnonzero(breaks) + 1))
    starts = starts[starts < len(text)]
    sizes = np.diff(starts, append=len(text))
    others = np.add.reduceat(letters & ~own, starts)
    foreign = others > 0.5 * np.add.reduceat(letters, starts)
    return count / total, float(sizes[foreign].sum()) / len(text)


@cache
def _stop_table() -> NDArray[np.uint8]:
    """What each code point needs behind it to end a sentence, (0x110000,); 0 if it ends none."""
    table = np.zeros(0x110000, dtype=np.uint8)
    table[[ord(stop) for stop in ".!?…"]] = _NEEDS_SPACE
    table[[ord(stop) for stop in STOPS]] = _NEEDS_NOTHING
    return table
