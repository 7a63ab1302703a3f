"""Systems against each other: which answers are compared, and what the judgements give for each pair of systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from x_instruction.errors import CorpusError, RecipeError
from x_instruction.evaluation.answers import AnswerSet, asked
from x_instruction.evaluation.judge.statistics import (
    Estimate,
    SideBySide,
    Strengths,
    bradley_terry,
    draw_weights,
    length_controlled_estimate,
    mean_estimate,
    means,
    share_estimate,
    side_by_side,
)
from x_instruction.evaluation.judge.verdicts import OVERALL, Comparison, Judgement
from x_instruction.evaluation.language import AnswerLanguage, answer_languages, gated_preference, language_checks
from x_instruction.languages import language

Pick = Literal["shortest", "longest", "first"]
# Language of a figure over all languages.
ALL = "all"


@dataclass(frozen=True, slots=True)
class PairResult:
    """A against B in one language.

    Args:
        language: tag, or ``all``.
        systems: A and B.
        aspect: what was judged.
        n: judgements with an answer in both orders.
        no_answer: judgements without.
        ungated: wins, ties and losses by the judge alone.
        gated: the same after the gate: only an answer in the right language wins.
        length_controlled: win rate of A at equal lengths, without the gate; NaN over all languages, whose lengths are
            not comparable.
        consistency: share of pairs with the same verdict in both orders.
        position: win rate of the answer that is shown first minus that of the other, -1 to 1.
    """

    language: str
    systems: tuple[str, str]
    aspect: str
    n: int
    no_answer: int
    ungated: SideBySide
    gated: SideBySide
    length_controlled: Estimate
    consistency: Estimate
    position: Estimate


def choose(samples: Sequence[str], pick: Pick) -> str:
    """The sample that is judged: the shortest or longest in characters, the earlier one of equals; or the first one."""
    if pick == "first":
        return samples[0]
    return (min if pick == "shortest" else max)(samples, key=len)


def compare_systems(
    sets: Sequence[AnswerSet], pick: Pick = "shortest", baseline: str | None = None
) -> tuple[list[Comparison], dict[str, int]]:
    """The comparisons of all pairs of systems, or of each system with a baseline.

    Args:
        sets: questions and answers by language.
        pick: which of several samples is judged.
        baseline: name of a system.

    Returns:
        The comparisons, and how many questions each system could not answer.

    Raises:
        CorpusError: no question has answers of two systems.
        RecipeError: fewer than two systems, or no such baseline.
    """
    names = sorted({name for answers in sets for name in answers.systems})
    if len(names) < 2:
        raise RecipeError(f"there are answers of {', '.join(names) or 'no system'}, expected at least two systems")
    if baseline is not None and baseline not in names:
        raise RecipeError(f"--baseline is {baseline!r}, expected one of {', '.join(names)}")
    pairs = [(name, baseline) for name in names if name != baseline] if baseline else list(combinations(names, 2))
    comparisons = []
    left_out: dict[str, int] = {}
    for answers in sets:
        for name, system in answers.systems.items():
            if system.failed:
                left_out[name] = left_out.get(name, 0) + len(system.failed)
        for a, b in pairs:
            one, other = answers.systems[a].answers, answers.systems[b].answers
            comparisons += [
                Comparison(
                    question_id=str(question.id),
                    question=asked(question, language(answers.tag)),
                    question_language=question.language,
                    language=answers.tag,
                    systems=(a, b),
                    answers=(choose(one[str(question.id)], pick), choose(other[str(question.id)], pick)),
                    category=question.category,
                )
                for question in answers.questions
                if str(question.id) in one and str(question.id) in other
            ]
    if not comparisons:
        raise CorpusError(
            "no question has answers of two systems: run the command `eval answers` again, which asks what failed again"
        )
    return comparisons, left_out


Languages = Mapping[tuple[str, str], AnswerLanguage]


def languages_of(comparisons: Sequence[Comparison], lid_model: str | None = None) -> Languages:
    """The language of every answer, by answer and expected language.

    Raises:
        RecipeError: no identifier knows a language.
    """
    keys = list(dict.fromkeys((text, c.language) for c in comparisons for text in c.answers))
    checks = language_checks((tag for _, tag in keys), lid_model)
    found = answer_languages([text for text, _ in keys], [tag for _, tag in keys], checks)
    return dict(zip(keys, found, strict=True))


def gated_value(judgement: Judgement, languages: Languages) -> float | None:
    """The verdict after the gate by language; None if the judge gave none."""
    value = judgement.value
    if value is None or not languages:
        return value
    first, second = (languages[text, judgement.comparison.language] for text in judgement.comparison.answers)
    return gated_preference(value, first, second)


def pair_results(judged: Sequence[tuple[Judgement, ...]], languages: Languages, seed: int = 0) -> list[PairResult]:
    """Results of each pair of systems, language and aspect; over all languages if there are several.

    Args:
        judged: the judgements of each comparison.
        languages: of ``languages_of``; empty for no gate.
        seed: seed of the intervals.
    """
    groups: dict[tuple[str, tuple[str, str], str], list[Judgement]] = {}
    tags = dict.fromkeys(judgements[0].comparison.language for judgements in judged)
    for judgement in (judgement for judgements in judged for judgement in judgements):
        comparison = judgement.comparison
        for tag in (comparison.language, ALL) if len(tags) > 1 else (comparison.language,):
            groups.setdefault((tag, comparison.systems, judgement.aspect), []).append(judgement)
    # Over all languages last.
    ordered = sorted(groups.items(), key=lambda item: item[0][0] == ALL)
    return [_result(*key, judgements, languages, seed) for key, judgements in ordered]


def _result(
    tag: str,
    systems: tuple[str, str],
    aspect: str,
    judgements: Sequence[Judgement],
    languages: Languages,
    seed: int,
) -> PairResult:
    answered = [judgement for judgement in judgements if judgement.value is not None]
    ids = [judgement.comparison.question_id for judgement in answered]
    preferences = np.array([judgement.preference for judgement in answered], dtype=np.float64)
    values = np.array([judgement.value for judgement in answered], dtype=np.float64)
    gated = np.array([gated_value(judgement, languages) for judgement in answered], dtype=np.float64)
    consistent = np.array([judgement.is_consistent for judgement in answered], dtype=np.float64)
    lengths = np.array([judgement.comparison.lengths for judgement in answered], dtype=np.float64).reshape(-1, 2)
    nan = float("nan")
    return PairResult(
        language=tag,
        systems=systems,
        aspect=aspect,
        n=len(answered),
        no_answer=len(judgements) - len(answered),
        ungated=side_by_side(values, ids, seed),
        gated=side_by_side(gated, ids, seed),
        length_controlled=Estimate(nan, nan, nan, len(ids))
        if tag == ALL
        else length_controlled_estimate(preferences, lengths[:, 0], lengths[:, 1], ids, seed),
        consistency=share_estimate(means(draw_weights(ids, seed), consistent), len(ids), ids),
        position=position(judgements, seed),
    )


def position(judgements: Sequence[Judgement], seed: int = 0) -> Estimate:
    """Signed position bias: win rate of the answer that is shown first minus that of the other, -1 to 1."""
    calls = [(value, judgement.comparison.question_id) for judgement in judgements for value in judgement.first_shown]
    return mean_estimate([value for value, _ in calls], [question for _, question in calls], seed)


def system_strengths(
    judged: Sequence[tuple[Judgement, ...]], languages: Languages, tag: str, seed: int = 0
) -> Strengths | None:
    """Strengths of all systems after the gate, in one language or ``all``; None for fewer than three systems."""
    rows = [
        (judgement.comparison.systems, value, judgement.comparison.question_id)
        for judgements in judged
        for judgement in judgements
        if judgement.aspect == OVERALL
        and tag in (ALL, judgement.comparison.language)
        and (value := gated_value(judgement, languages)) is not None
    ]
    if len({name for systems, _, _ in rows for name in systems}) < 3:
        return None
    systems, values, questions = zip(*rows, strict=True)
    return bradley_terry(systems, values, questions, seed=seed)
