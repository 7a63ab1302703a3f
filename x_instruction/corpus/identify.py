"""Whether a passage is in the language that it is taken for.

Three looks, the cheap ones first: the share of letters in the language's script; the identifier's opinion of a
sample, among all languages that it knows; and sentence by sentence, how much is written in another script or
language. The last one catches half-translated pages, which an identifier takes for the language of their larger half.

The identifier is py3langid (140 languages) or, with ``filters.lid_model``, a fastText model such as GlotLID.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from x_instruction.config.recipe import Filters
from x_instruction.corpus import characters
from x_instruction.corpus.characters import FIRST_SCRIPT, NEWLINE, SPACE
from x_instruction.corpus.close_languages import closer
from x_instruction.corpus.identifiers import COMMON, Guess, identifier
from x_instruction.languages import Language

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A sentence or line, or several short ones, of 40 to 160 characters: enough to tell a language, too little to hold two.
_UNIT = re.compile(r".{40,160}?(?:[.!?…]\s+|\n|$)|.{1,160}(?:\s|$)|.{1,160}", re.DOTALL)
_SENTENCE_ENDS = np.frombuffer(".!?…।॥۔؟።။៕".encode("utf-32-le"), dtype="<u4")
# Characters of a passage that are shown to the identifier when all languages are in question.
SAMPLE_CHARACTERS = 400


class Verdict(NamedTuple):
    """What was found about one passage.

    Args:
        identified: tag of the most likely language.
        confidence: its probability, 0 to 1.
        reason: ``wrong_script``, ``wrong_language``, ``mixed_language``, or None when it may stay.
        detail: what was seen, for a person.
        foreign: share of its characters in sentences of another language, 0 to 1.
    """

    identified: str
    confidence: float
    reason: str | None
    detail: str
    foreign: float


class LanguageCheck:
    """Judges passages of one language.

    Args:
        language: the language that they are taken for.
        limits: thresholds.

    Raises:
        RecipeError: no identifier knows the language.
        MissingExtra: ``lid_model`` is set and fastText is not installed.
    """

    def __init__(self, language: Language, limits: Filters) -> None:
        self._language, self._limits = language, limits
        known = np.zeros(256, dtype=bool)
        known[characters.script_kinds(language.script)] = True
        self._known = known
        self._identifier = identifier(language, limits)
        self._units = language.script in COMMON

    def judge(self, texts: Sequence[str]) -> list[Verdict]:
        """A verdict for each passage."""
        looks = [_script(text, self._known) for text in texts]
        passed = [i for i, (share, _) in enumerate(looks) if share >= self._limits.min_script]
        samples = [sample(texts[i]) for i in passed]
        best = dict(zip(passed, self._identifier.best(samples), strict=True))
        units: list[str] = []
        owners: list[int] = []
        for i in passed:
            found = _UNIT.findall(texts[i]) if self._units else []
            units += found
            owners += [i] * len(found)
        foreign = {i: looks[i][1] for i in passed}
        for i, unit, is_foreign in zip(owners, units, self._identifier.foreign(units), strict=True):
            # A sentence in another script can be found by both looks, so the share is bounded.
            foreign[i] = min(1.0, foreign[i] + is_foreign * len(unit) / len(texts[i]))
        return [self._verdict(texts[i], looks[i][0], best.get(i), foreign.get(i, 0.0)) for i in range(len(texts))]

    def _verdict(self, text: str, script: float, best: Guess | None, foreign: float) -> Verdict:
        limits, wanted = self._limits, self._language
        if best is None:
            seen = f"{script:.0%} of letters in {wanted.script}, at least {limits.min_script:.0%}"
            return Verdict("und", 0.0, "wrong_script", seen, foreign)
        tag, confidence = closer(text, wanted.tag, best)
        if foreign > limits.max_foreign_lines and (tag == wanted.tag or foreign < 1 - limits.max_foreign_lines):
            seen = f"{foreign:.0%} of characters in sentences of another language, at most {limits.max_foreign_lines:g}"
            return Verdict(tag, confidence, "mixed_language", seen, foreign)
        if tag != wanted.tag or confidence < limits.min_confidence:
            seen = f"identified as {tag} ({confidence:.2f}), wanted {wanted.tag} of at least {limits.min_confidence:g}"
            return Verdict(tag, confidence, "wrong_language", seen, foreign)
        return Verdict(tag, confidence, None, "", foreign)


def sample(text: str) -> str:
    """Up to ``SAMPLE_CHARACTERS`` from the beginning and from the middle of a text."""
    if len(text) <= SAMPLE_CHARACTERS:
        return text
    half, middle = SAMPLE_CHARACTERS // 2, len(text) // 2
    return f"{text[:half]}\n{text[max(half, middle) : max(half, middle) + half]}"


def _script(text: str, known: NDArray[np.bool_]) -> tuple[float, float]:
    """Share of letters in the script, and share of characters in sentences that are mostly in another."""
    kinds = characters.kinds(text)
    letters = kinds >= FIRST_SCRIPT
    own = known[kinds]
    total, count = int(letters.sum()), int(own.sum())
    if count == total:
        return (1.0 if total else 0.0), 0.0
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    breaks = kinds == NEWLINE
    breaks[1:] |= (kinds[1:] == SPACE) & np.isin(codes[:-1], _SENTENCE_ENDS)
    starts = np.concatenate(([0], np.flatnonzero(breaks) + 1))
    starts = starts[starts < len(text)]
    sizes = np.diff(starts, append=len(text))
    others = np.add.reduceat(letters & ~own, starts)
    foreign = others > 0.5 * np.add.reduceat(letters, starts)
    return count / total, float(sizes[foreign].sum()) / len(text)
