"""The language of answers: right or wrong, script, code-switching, and a gate for scores.

An answer in the wrong language is of no use to the person who asked, however good it is, and judges tend not to mind.
So scores count only where the language is right (``gated``). The check is that of the corpus (``corpus.identify``).
Code in fences is left out: it is English in every language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from x_instruction.bootstrap import Interval, intervals
from x_instruction.config.corpus import LanguageThresholds
from x_instruction.corpus.identify import LanguageCheck
from x_instruction.languages import language

# An answer with fewer bytes of letters is a word or a name, which many languages share. This is seven Latin letters or
# two Chinese characters.
_MIN_LETTER_BYTES = 8
_CODE = re.compile(r"^```.*?(?:^```|\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AnswerLanguage:
    """The language of one answer.

    Args:
        right: whether the answer is in the expected language.
        reason: why not: ``empty``, ``too_short`` to identify, ``wrong_script``, ``wrong_language`` or
            ``mixed_language``; None if it is right.
        identified: tag of the most likely language; ``und`` if nothing was identified.
        script_share: share of the letters in the script of the expected language, 0 to 1.
        switched: share of the characters in sentences of another language or script, 0 to 1.
    """

    right: bool
    reason: str | None
    identified: str
    script_share: float
    switched: float


@dataclass(frozen=True, slots=True)
class LanguageMetrics:
    """The language of many answers, with 95 % bootstrap intervals over the answers.

    Args:
        answers: number of answers.
        right: share of answers in the right language.
        script_share, switched: means of the answers that have letters; NaN if none has.
        reasons: number of answers by reason, of those that are not right.
    """

    answers: int
    right: float
    script_share: float
    switched: float
    right_interval: Interval
    script_share_interval: Interval
    switched_interval: Interval
    reasons: Mapping[str, int]


def language_checks(languages: Iterable[str], lid_model: str | None = None) -> dict[str, LanguageCheck]:
    """The language check for each language.

    Args:
        languages: tags.
        lid_model: path of a fastText model, for languages that py3langid does not know.

    Raises:
        RecipeError: a language cannot be identified, or ``lid_model`` cannot be read.
        MissingExtra: ``lid_model`` is set and fastText is not installed.
    """
    return {tag: _check(tag, lid_model) for tag in dict.fromkeys(languages)}


@cache
def _check(tag: str, lid_model: str | None) -> LanguageCheck:
    return LanguageCheck(language(tag), LanguageThresholds(lid_model=lid_model))


def answer_language(text: str, tag: str, lid_model: str | None = None) -> AnswerLanguage:
    """The language of one answer. See ``answer_languages``, which is faster for many.

    Args:
        text: the answer.
        tag: the expected language.
        lid_model: path of a fastText model, for languages that py3langid does not know.

    Raises:
        RecipeError: the language cannot be identified, or ``lid_model`` cannot be read.
    """
    return answer_languages([text], [tag], language_checks([tag], lid_model))[0]


def answer_languages(
    texts: Sequence[str], languages: Sequence[str], checks: Mapping[str, LanguageCheck]
) -> list[AnswerLanguage]:
    """The language of each answer.

    Args:
        texts: the answers.
        languages: tag of the expected language of each answer.
        checks: of ``language_checks``, for all these languages.
    """
    proses = [_CODE.sub("", text).strip() for text in texts]
    found = [AnswerLanguage(False, "too_short" if prose else "empty", "und", 0.0, 0.0) for prose in proses]
    for tag, check in checks.items():
        rows = [row for row, own in enumerate(languages) if own == tag and _is_identifiable(proses[row])]
        verdicts = check.judge([proses[row] for row in rows]) if rows else []
        for row, verdict in zip(rows, verdicts, strict=True):
            found[row] = AnswerLanguage(
                verdict.reason is None, verdict.reason, verdict.identified, verdict.script, verdict.foreign
            )
    return found


def _is_identifiable(prose: str) -> bool:
    return len("".join(filter(str.isalpha, prose)).encode("utf-8", "replace")) >= _MIN_LETTER_BYTES


def gated(scores: Sequence[float], answers: Sequence[AnswerLanguage], worst: float = 0.0) -> list[float]:
    """The scores of answers in the right language; all others get the worst score.

    Args:
        scores: one score per answer.
        answers: the language of each answer.
        worst: the lowest score of the scale.
    """
    return [score if answer.right else worst for score, answer in zip(scores, answers, strict=True)]


def gated_preference(preference: float, first: AnswerLanguage, second: AnswerLanguage) -> float:
    """A preference between two answers after the gate.

    Only one in the right language wins, whatever was preferred. Two in the wrong language are a tie.

    Args:
        preference: 1 if the first answer is better, 0 if the second is, 0.5 for a tie, or a probability.
    """
    if first.right != second.right:
        return float(first.right)
    return preference if first.right else 0.5


def language_metrics(answers: Sequence[AnswerLanguage], draws: int = 2_000, seed: int = 0) -> LanguageMetrics:
    """Shares and means over answers of one language.

    Raises:
        ValueError: no answers.
    """
    if not answers:
        raise ValueError("no answers, expected at least one")
    unidentified = ("empty", "too_short")
    columns = np.array(
        [(a.right, a.reason not in unidentified, a.script_share, a.switched) for a in answers], dtype=np.float64
    )

    def figures(rows: npt.NDArray[np.float64]) -> list[float]:
        identified = rows[rows[:, 1] == 1]
        means = identified[:, 2:].mean(axis=0) if len(identified) else (float("nan"),) * 2
        return [float(rows[:, 0].mean()), *map(float, means)]

    reasons = Counter(answer.reason for answer in answers if answer.reason)
    right, script, switched = figures(columns)
    ends = intervals(figures, (columns,), draws, seed)
    return LanguageMetrics(len(answers), right, script, switched, ends[0], ends[1], ends[2], reasons)
