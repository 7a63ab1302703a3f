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
from x_instruction.corpus.identify import LanguageCheck, Verdict
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
        reason: why not; None if it is right. ``empty``; ``too_short`` to identify, such as a name or code alone;
            ``unsure`` if the language is the most likely one, but not likely enough; ``wrong_script``,
            ``wrong_language`` or ``mixed_language``.
        identified: tag of the most likely language; ``und`` if nothing was identified.
        script_share: share of the letters in the script of the expected language, 0 to 1.
        switched: share of the characters in sentences of another language or script, 0 to 1.
    """

    right: bool
    reason: str | None
    identified: str
    script_share: float
    switched: float

    @property
    def passes(self) -> bool:
        """Whether the answer passes the gate: it is right, or nothing shows that it is wrong."""
        return self.right or self.reason in ("too_short", "unsure")


@dataclass(frozen=True, slots=True)
class LanguageMetrics:
    """The language of many answers, with 95 % bootstrap intervals over the questions.

    Args:
        answers: number of answers.
        identified: number of those with enough letters to identify a language.
        right: share of answers in the right language.
        script_share, switched: means of the identified answers; NaN if there are none.
        reasons: number of answers by reason, of those that are not right.
    """

    answers: int
    identified: int
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
    found = [
        _short(prose, checks[tag]) if text.strip() else AnswerLanguage(False, "empty", "und", 0.0, 0.0)
        for text, prose, tag in zip(texts, proses, languages, strict=True)
    ]
    for tag, check in checks.items():
        rows = [row for row, own in enumerate(languages) if own == tag and _is_identifiable(proses[row])]
        verdicts = check.judge([proses[row] for row in rows]) if rows else []
        for row, verdict in zip(rows, verdicts, strict=True):
            found[row] = _identified(verdict, tag)
    return found


def _short(prose: str, check: LanguageCheck) -> AnswerLanguage:
    """An answer with too few letters to identify more than its script."""
    share = check.script_share(prose)
    wrong = share is not None and share < 0.5
    return AnswerLanguage(False, "wrong_script" if wrong else "too_short", "und", share or 0.0, 0.0)


def _identified(verdict: Verdict, tag: str) -> AnswerLanguage:
    reason = verdict.reason
    if reason in ("mixed_language", "wrong_language") and verdict.identified not in (tag, "und"):
        reason = "wrong_language"
    elif reason == "wrong_language":
        reason = "unsure"
    # The corpus check looks at no sentence of a text in another script.
    switched = 1 - verdict.script if reason == "wrong_script" else verdict.foreign
    return AnswerLanguage(reason is None, reason, verdict.identified, verdict.script, switched)


def _is_identifiable(prose: str) -> bool:
    return len("".join(filter(str.isalpha, prose)).encode("utf-8", "replace")) >= _MIN_LETTER_BYTES


def gated(scores: Sequence[float], answers: Sequence[AnswerLanguage], worst: float = 0.0) -> list[float]:
    """The scores of answers that pass the gate; all others get the worst score.

    Args:
        scores: one score per answer.
        answers: the language of each answer.
        worst: the lowest score of the scale.
    """
    return [score if answer.passes else worst for score, answer in zip(scores, answers, strict=True)]


def gated_preference(preference: float, first: AnswerLanguage, second: AnswerLanguage) -> float:
    """A preference between two answers after the gate.

    Only one that passes wins, whatever was preferred. Two that do not pass are a tie.

    Args:
        preference: 1 if the first answer is better, 0 if the second is, 0.5 for a tie, or a probability.
    """
    if first.passes != second.passes:
        return float(first.passes)
    return preference if first.passes else 0.5


def language_metrics(
    answers: Sequence[AnswerLanguage], questions: Sequence[str] = (), draws: int = 2_000, seed: int = 0
) -> LanguageMetrics:
    """Shares and means over answers of one language.

    Args:
        answers: the answers.
        questions: id of the question of each answer, whose answers are drawn together. Each its own by default.
        draws, seed: of the bootstrap.

    Raises:
        ValueError: no answers.
    """
    if not answers:
        raise ValueError("no answers, expected at least one")
    # Answers, right ones, identified ones, and the sums of script share and switching of these: a row per question.
    rows = [
        (1, own.right, has, own.script_share * has, own.switched * has)
        for own in answers
        for has in [own.reason not in ("empty", "too_short")]
    ]
    columns = by_question(rows, questions or [str(number) for number in range(len(answers))])

    def figures(sums: npt.NDArray[np.float64]) -> list[float]:
        count, right, identified, script, switched = sums.sum(axis=0)
        means = (script / identified, switched / identified) if identified else (float("nan"),) * 2
        return [float(right / count), *map(float, means)]

    right, script, switched = figures(columns)
    ends = intervals(figures, (columns,), draws, seed)
    return LanguageMetrics(
        answers=len(answers),
        identified=int(columns[:, 2].sum()),
        right=right,
        script_share=script,
        switched=switched,
        right_interval=ends[0],
        script_share_interval=ends[1],
        switched_interval=ends[2],
        reasons=Counter(answer.reason for answer in answers if answer.reason),
    )


def by_question(rows: Sequence[Sequence[float]], questions: Sequence[str]) -> npt.NDArray[np.float64]:
    """The sums of the rows of each question, (questions, columns), for a bootstrap over questions."""
    sums: dict[str, npt.NDArray[np.float64]] = {}
    for row, question in zip(rows, questions, strict=True):
        sums[question] = sums.get(question, np.zeros(len(row))) + np.array(row, dtype=np.float64)
    return np.array(list(sums.values()))
