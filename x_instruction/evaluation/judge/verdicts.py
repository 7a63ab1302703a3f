"""Verdicts: two answers to a question, what a judge said of them in both orders, and who wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

# The aspect of a judgement of the whole answer.
OVERALL = "overall"
WIN, TIE, LOSS = 1.0, 0.5, 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two answers to one question.

    Args:
        question_id: the question. Several comparisons may be of one question.
        question: its text.
        question_language: tag of the language that it is asked in.
        language: tag of the language that is expected of the answers.
        systems: names of the two systems.
        answers: their answers.
        category: of the question, or empty.
    """

    question_id: str
    question: str
    question_language: str
    language: str
    systems: tuple[str, str]
    answers: tuple[str, str]
    category: str = ""

    @property
    def lengths(self) -> tuple[int, int]:
        """Characters of the two answers."""
        return len(self.answers[0]), len(self.answers[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What the judge said of two answers in one order.

    Args:
        preference: 1 if the answer that was shown first is better, 0 if the second is, 0.5 for equal ones, or a
            probability; None if there is no answer.
        scores: of the answers as they were shown, for a protocol with scores.
        text: what the judge wrote; empty if only probabilities were read.
        failure: why there is no answer: a key of ``engines.FAILURES``, ``not_parsed``, ``cut_off`` or ``not_finite``.
    """

    preference: float | None = None
    scores: tuple[int, int] | None = None
    text: str = ""
    failure: str = ""

    @property
    def choice(self) -> float | None:
        """The preference as a decision: 1, 0 or 0.5."""
        return None if self.preference is None else decision(self.preference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the judge said of a comparison, about one aspect.

    Args:
        comparison: the two answers, A and B.
        aspect: what was asked about.
        forward: with A shown first.
        backward: with B shown first.
    """

    comparison: Comparison
    aspect: str
    forward: Call
    backward: Call

    @property
    def preference(self) -> float | None:
        """The mean preference for A over both orders, 0 to 1; None if an order has no answer."""
        if self.forward.preference is None or self.backward.preference is None:
            return None
        return (self.forward.preference + 1 - self.backward.preference) / 2

    @property
    def decided(self) -> float | None:
        """The mean decision for A over both orders: 0, 0.25 and so on to 1; None if an order has no answer."""
        first, second = self.forward.choice, self.backward.choice
        return None if first is None or second is None else (first + 1 - second) / 2

    @property
    def value(self) -> float | None:
        """1 if A wins in both orders, 0 if B does, else 0.5; None if an order has no answer.

        The rule of Pinch (arXiv 2401.01854): a win that depends on the order is a tie.
        """
        first, second = self.forward.choice, self.backward.choice
        if first is None or second is None:
            return None
        return {(WIN, LOSS): WIN, (LOSS, WIN): LOSS}.get((first, second), TIE)

    @property
    def is_consistent(self) -> bool | None:
        """Whether both orders say the same; None if one has no answer."""
        first, second = self.forward.choice, self.backward.choice
        return None if first is None or second is None else first == 1 - second

    @property
    def first_shown(self) -> list[float]:
        """For each order with an answer: 1 if the answer that was shown first won, -1 if the second did, else 0."""
        return [2 * call.choice - 1 for call in (self.forward, self.backward) if call.choice is not None]

    def swapped(self) -> Judgement:
        """The same judgement with A and B exchanged."""
        comparison = replace(
            self.comparison, systems=self.comparison.systems[::-1], answers=self.comparison.answers[::-1]
        )
        return Judgement(comparison=comparison, aspect=self.aspect, forward=self.backward, backward=self.forward)


def decision(preference: float) -> float:
    """1, 0 or 0.5: which answer a preference is for."""
    return WIN if preference > TIE else LOSS if preference < TIE else TIE


def over_aspects(judgements: Sequence[Judgement]) -> Judgement:
    """One judgement from those of several aspects of a comparison: in each order the mean of their preferences.

    An order for which an aspect has no answer has none.
    """
    first = judgements[0]
    orders = [_mean([getattr(judgement, order) for judgement in judgements]) for order in ("forward", "backward")]
    return Judgement(comparison=first.comparison, aspect=OVERALL, forward=orders[0], backward=orders[1])


def _mean(calls: Sequence[Call]) -> Call:
    preferences = [call.preference for call in calls if call.preference is not None]
    if len(preferences) < len(calls):
        return Call(failure=next(call.failure for call in calls if call.preference is None))
    return Call(preference=sum(preferences) / len(preferences))
