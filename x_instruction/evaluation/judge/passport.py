"""The passport of a judge: how well it finds the better answer, and which biases it has, per language.

Pairs of known order are made from natural responses: the response itself against one with a flaw. Pairs of equal
quality are two responses to other requests, of which neither is better. What the judge says of these in both orders
gives its accuracy by flaw, and its biases for a position, for length, for a language and for its own answers.

A judge whose accuracy is not better than chance in a language gives no verdict there. Accuracy is the mean over flaws.
It must be better than chance with length balanced, too: a judge that only sees which answer is longer has 0.5 there.
Whether it is, and whether there is a bias, is decided by a test over documents, at a level that ten languages together
rarely pass by chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.corpus import characters
from x_instruction.corpus.segment import ends, sentences
from x_instruction.errors import CorpusError
from x_instruction.evaluation.answers import Question, asked
from x_instruction.evaluation.judge.statistics import (
    Estimate,
    Floats,
    draw_weights,
    estimate,
    mean_estimate,
    mean_of,
    means,
    share_estimate,
    sign_flip,
)
from x_instruction.evaluation.judge.verdicts import Comparison, Judgement
from x_instruction.hashing import derive_seed
from x_instruction.languages import language
from x_instruction.refine import corruptions
from x_instruction.seed.pairs import Pair

# What is wrong with the worse answer.
FLAWS = ("truncated", "shuffled", "disfluent", "foreign", "other-page", "wrong-language", "padded")
# Pairs of equal quality: two responses to other requests; and the same with one of them by the judge itself.
EQUAL, OWN = "equal", "own"
GOOD = "natural"
CHANCE = 0.5
# The largest p-value of a judge that is better than chance, and of a bias.
LEVEL = 0.005
# With fewer documents, no judge can be shown to be better than chance.
LEAST_DOCUMENTS = 10
# Below this share of answered comparisons, there is no verdict whatever the others say.
LEAST_ANSWERED = 0.5
# Responses of other documents among which the longest and the shortest make a pair.
_DRAWN = 6
# Responses of other documents whose beginnings are compared with an answer of the judge in length.
_TRIED = 20


@dataclass(frozen=True, slots=True)
class Item:
    """A comparison whose outcome is known.

    Args:
        comparison: the answers. The first one is the better one; of an equal pair the longer one, or the judge's own.
        kind: one of ``FLAWS``, ``EQUAL`` or ``OWN``.
    """

    comparison: Comparison
    kind: str


class Documents:
    """Natural responses by language.

    Args:
        pairs: pairs of an instruction and its response.
        tags: the languages that are judged; all if empty. Flaws are made from the others, too.
        per_language: at most this many documents of each language are judged.
        seed: seed of all choices.

    Raises:
        CorpusError: a language has fewer than three documents.
    """

    def __init__(self, pairs: Iterable[Pair], tags: Collection[str], per_language: int, seed: int) -> None:
        self.seed = seed
        self.by_language: dict[str, list[Pair]] = {}
        seen: set[tuple[str, str]] = set()
        for pair in sorted(pairs, key=lambda pair: (pair.language, pair.id, pair.instruction)):
            if (pair.language, pair.document) not in seen:
                seen.add((pair.language, pair.document))
                self.by_language.setdefault(pair.language, []).append(pair)
        judged = {tag: own for tag, own in self.by_language.items() if not tags or tag in tags}
        for tag, own in judged.items():
            if len(own) < 3:
                raise CorpusError(f"{tag} has {len(own)} documents, expected at least 3, and 10 for a verdict")
        self.judged = {tag: self._sample(tag, own, per_language) for tag, own in judged.items()}

    def _sample(self, tag: str, own: Sequence[Pair], count: int) -> list[Pair]:
        return Random(derive_seed(self.seed, "passport", tag)).sample(own, min(count, len(own)))

    def random(self, pair: Pair, kind: str) -> Random:
        """The source of random numbers of one item."""
        return Random(derive_seed(self.seed, "passport", kind, pair.language, pair.id))

    def others(self, pair: Pair, random: Random, count: int) -> list[Pair]:
        """Random other documents in the language of a pair."""
        others = [other for other in self.by_language[pair.language] if other.document != pair.document]
        return random.sample(others, min(count, len(others)))

    def abroad(self, pair: Pair, random: Random) -> Pair | None:
        """The same document in another language, or else any other; None if there is only one language."""
        tags = sorted(self.by_language.keys() - {pair.language})
        if not tags:
            return None
        same = [other for tag in tags for other in self.by_language[tag] if other.id == pair.id]
        return random.choice(same or self.by_language[random.choice(tags)])


def _flawed(documents: Documents, pair: Pair, kind: str) -> str | None:
    """The response of a pair with a flaw; None if it cannot have it."""
    random = documents.random(pair, kind)
    spaced = characters.spaced(language(pair.language))
    other = documents.others(pair, random, 1)[0]
    if kind in ("foreign", "wrong-language"):
        abroad = documents.abroad(pair, random)
        if abroad is None:
            return None
        if kind == "wrong-language":
            return abroad.output
        other_spaced = characters.spaced(language(abroad.language))
        return corruptions.partly_foreign(pair.output, spaced, abroad.output, other_spaced, random)
    if kind == "other-page":
        return other.output
    if kind == "padded":
        return corruptions.padded(pair.output, other.output, spaced)
    make = {
        "truncated": corruptions.truncated,
        "shuffled": corruptions.shuffled,
        "disfluent": corruptions.disfluent,
    }[kind]
    return make(pair.output, random, spaced)


def items(documents: Documents, own: Mapping[tuple[str, str], str] | None = None) -> list[Item]:
    """The pairs of a passport, by language and document.

    Args:
        documents: natural responses.
        own: answers of the judge itself to the requests of the documents, by language and id; for pairs of ``OWN``.
    """
    made: list[Item] = []
    for pairs in documents.judged.values():
        for pair in pairs:
            for kind in FLAWS:
                text = _flawed(documents, pair, kind)
                if text is not None and text.strip() and text != pair.output:
                    made.append(Item(_comparison(pair, (GOOD, kind), (pair.output, text)), kind))
            made += _equal(documents, pair)
            made += _own(documents, pair, own or {})
    return made


def _equal(documents: Documents, pair: Pair) -> list[Item]:
    """Two responses to other requests, as different in length as can be."""
    others = documents.others(pair, documents.random(pair, EQUAL), _DRAWN)
    by_length = sorted((other.output for other in others), key=len)
    if len(by_length) < 2 or len(by_length[0]) == len(by_length[-1]):
        return []
    return [Item(_comparison(pair, ("longer", "shorter"), (by_length[-1], by_length[0])), EQUAL)]


def _own(documents: Documents, pair: Pair, own: Mapping[tuple[str, str], str]) -> list[Item]:
    """An answer of the judge to another request, and a natural response to another, of about the same length.

    Both end with a sentence, because a judge may dislike any text that is cut inside one. Whether the longer one is the
    judge's own is drawn.
    """
    random = documents.random(pair, OWN)
    others = documents.others(pair, random, len(documents.by_language[pair.language]))
    answered = [other for other in others if own.get((other.language, other.id), "").strip()]
    if not answered or len(others) < 2:
        return []
    first = answered[0]
    spaced = characters.spaced(language(pair.language))
    text = _whole(own[first.language, first.id].strip(), spaced)
    natural = [other.output for other in others if other is not first][:_TRIED]
    beginnings = [other[:end] for other in natural for _, end in sentences(other, spaced)]
    is_longer = random.random() < 0.5
    second = min(beginnings, key=lambda other: ((len(other) > len(text)) != is_longer, abs(len(other) - len(text))))
    return [Item(_comparison(pair, (OWN, GOOD), (text, second)), OWN)]


def _whole(text: str, spaced: bool) -> str:
    """A text without its last sentence, if that has no end and is not the only one."""
    spans = sentences(text, spaced)
    return text if len(spans) < 2 or len(text) in ends(text) else text[: spans[-2][1]]


def _comparison(pair: Pair, systems: tuple[str, str], answers: tuple[str, str]) -> Comparison:
    return Comparison(
        question_id=pair.document,
        question=asked(question_of(pair), language(pair.language)),
        question_language=pair.instruction_language,
        language=pair.language,
        systems=systems,
        answers=answers,
        category=systems[1],
    )


def question_of(pair: Pair) -> Question:
    """The request of a pair."""
    return Question(pair.id, pair.asked, pair.instruction_language)


@dataclass(frozen=True, slots=True)
class Bias:
    """A bias that a judge has.

    Args:
        name: ``position``, ``length``, ``own`` or ``language``.
        size: -1 to 1, with its interval; 0 is none.
        text: what it says, for people.
    """

    name: str
    size: Estimate
    text: str


@dataclass(frozen=True, slots=True)
class Passport:
    """What was measured of a judge in one language. Intervals are over documents.

    Args:
        language: tag.
        documents: number of documents.
        by_flaw: accuracy by flaw: 1 for the better answer in both orders, 0 for the worse one in both, else 0.5.
        accuracy: mean over the flaws.
        balanced: mean of the accuracies where the better answer is the longer one and where it is the shorter one.
        answered: share of requests with an answer.
        failures: number of the others by reason.
        consistency: share of flawed pairs with the same verdict in both orders.
        position: win rate of the answer that is shown first minus that of the other, -1 to 1.
        length: win rate of the longer answer minus that of the shorter one, on equal pairs, -1 to 1.
        own: win rate of the judge's own answer minus that of the natural one, on equal pairs, -1 to 1.
        language_bias: win rate of the answer in the wrong language minus that of the one in the right one, -1 to 1.
        p_values: of ``accuracy`` and ``balanced`` against chance (one-sided), and of each bias against none.
        people: Cohen's kappa with people's verdicts, where there are some.
    """

    language: str
    documents: int
    by_flaw: Mapping[str, Estimate]
    accuracy: Estimate
    balanced: Estimate
    answered: float
    failures: Mapping[str, int]
    consistency: Estimate
    position: Estimate
    length: Estimate
    own: Estimate
    language_bias: Estimate
    p_values: Mapping[str, float]
    people: Estimate | None = None

    @property
    def no_verdict(self) -> str:
        """Why this judge gives no verdict in this language; empty if it does."""
        if self.documents < LEAST_DOCUMENTS:
            return f"measured on {self.documents} documents, expected at least {LEAST_DOCUMENTS}"
        if self.answered < LEAST_ANSWERED:
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in self.failures.items())
            return f"no answer to {1 - self.answered:.0%} of the requests ({reasons})"
        for name, figure, when in (
            ("accuracy", self.accuracy, ""),
            ("balanced", self.balanced, ", once length is balanced"),
        ):
            if self.p_values[name] > LEVEL:
                p = f"p = {self.p_values[name]:.2g}, expected at most {LEVEL:g}"
                return f"accuracy {figure.text()} is not clearly better than chance, {CHANCE:g}{when} ({p})"
        return ""

    @property
    def biases(self) -> list[Bias]:
        """Biases that are clearly not 0, the largest first."""
        sentences = {
            "position": ("the answer that is shown first", "the answer that is shown second", self.position),
            "length": ("the longer of two equal answers", "the shorter of two equal answers", self.length),
            "own": ("its own of two equal answers", "the other of two equal answers", self.own),
            "language": ("the answer in the wrong language", "", self.language_bias),
        }
        found = [
            Bias(name, size, f"prefers {more if size.value > 0 else less}")
            for name, (more, less, size) in sentences.items()
            # An answer in the right language is better, so to prefer it is no bias.
            if self.p_values[name] <= LEVEL and (less or size.value > 0)
        ]
        return sorted(found, key=lambda bias: -abs(bias.size.value))


def measure(measured: Sequence[Item], judged: Sequence[Judgement], seed: int = 0) -> dict[str, Passport]:
    """The passport in each language.

    Args:
        measured: the pairs.
        judged: the judgement of each of them.
        seed: seed of the intervals.
    """
    rows: dict[str, list[tuple[Item, Judgement]]] = {}
    for item, judgement in zip(measured, judged, strict=True):
        rows.setdefault(item.comparison.language, []).append((item, judgement))
    return {tag: _passport(tag, own, seed) for tag, own in rows.items()}


def _passport(tag: str, rows: Sequence[tuple[Item, Judgement]], seed: int) -> Passport:
    flawed = [(item, judgement) for item, judgement in rows if item.kind in FLAWS]
    ids = [item.comparison.question_id for item, _ in flawed]
    kinds = np.array([item.kind for item, _ in flawed])
    values = np.array([CHANCE if judgement.value is None else judgement.value for _, judgement in flawed])
    longer = np.array([np.sign(np.subtract(*item.comparison.lengths)) for item, _ in flawed])
    present = [kind for kind in FLAWS if kind in kinds]

    weights = draw_weights(ids, seed)
    by_kind = [means(weights, np.where(kinds == kind, values, np.nan)) for kind in present]
    leads = {
        "position": [(lead, _id(item), 0.0) for item, judgement in rows for lead in judgement.first_shown],
        "length": _leads(rows, EQUAL),
        "own": _comparable(_leads(rows, OWN)),
        # The second answer of these pairs is the one in the wrong language.
        "language": [(0.0 - lead, id, sign) for lead, id, sign in _leads(rows, "wrong-language")],
    }
    biases = {name: _bias(found, name in ("own", "language"), seed) for name, found in leads.items()}
    calls = [call for _, judgement in rows for call in (judgement.forward, judgement.backward)]
    consistent = [
        (float(found), _id(item)) for item, judgement in flawed if (found := judgement.is_consistent) is not None
    ]
    return Passport(
        language=tag,
        documents=len({_id(item) for item, _ in rows}),
        by_flaw={
            kind: share_estimate(found, int(np.sum(kinds == kind)), np.array(ids)[kinds == kind].tolist())
            for kind, found in zip(present, by_kind, strict=True)
        },
        accuracy=share_estimate(mean_of(by_kind) if by_kind else [np.nan], len(ids), ids),
        balanced=share_estimate(_balanced(weights, values, longer), len(ids), ids),
        answered=sum(call.preference is not None for call in calls) / len(calls),
        failures=Counter(call.failure for call in calls if call.failure),
        consistency=_share(consistent, seed),
        position=biases["position"][0],
        length=biases["length"][0],
        own=biases["own"][0],
        language_bias=biases["language"][0],
        p_values={
            "accuracy": sign_flip((values - CHANCE) / _sizes(kinds), ids, seed, one_sided=True),
            "balanced": sign_flip((values - CHANCE) * np.abs(longer) / _sizes(longer), ids, seed, one_sided=True),
            **{name: p for name, (_, p) in biases.items()},
        },
    )


def _share(rows: Sequence[tuple[float, str]], seed: int) -> Estimate:
    """The mean of shares, each with its document."""
    ids = [id for _, id in rows]
    return share_estimate(means(draw_weights(ids, seed), [value for value, _ in rows]), len(rows), ids)


def _id(item: Item) -> str:
    return item.comparison.question_id


def _sizes(groups: npt.NDArray[Any]) -> Floats:
    """For each row, the number of rows in its group."""
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(counts[group], dtype=np.float64)


def _balanced(weights: Floats, values: Floats, signs: Floats) -> Floats:
    """In each draw the mean of two means, of the rows with a positive and with a negative sign; or the one there is."""
    return mean_of([means(weights, np.where(sign * signs > 0, values, np.nan)) for sign in (1, -1)])


def _leads(rows: Sequence[tuple[Item, Judgement]], kind: str) -> list[tuple[float, str, float]]:
    """The pairs of a kind with an answer in both orders.

    Returns:
        For each pair, wins of its first answer minus those of the second, -1 to 1; its document; and 1 if its first
        answer is the longer one, -1 if the second is, else 0.
    """
    return [
        (2 * lead - 1, _id(item), float(np.sign(np.subtract(*item.comparison.lengths))))
        for item, judgement in rows
        if item.kind == kind and (lead := judgement.decided) is not None
    ]


def _comparable(leads: list[tuple[float, str, float]]) -> list[tuple[float, str, float]]:
    """The pairs, unless their first answer is always the longer one, or always the shorter: then a bias for it and one
    for a length are the same."""
    signs = {sign for _, _, sign in leads}
    return leads if {1.0, -1.0} <= signs or signs == {0.0} else []


def _bias(leads: Sequence[tuple[float, str, float]], is_balanced: bool, seed: int) -> tuple[Estimate, float]:
    """A bias with its interval, and its p-value; with length balanced if the answers may differ in length."""
    values, signs = np.array([lead for lead, _, _ in leads]), np.array([sign for _, _, sign in leads])
    ids = [id for _, id, _ in leads]
    if not is_balanced or not np.any(signs > 0) or not np.any(signs < 0):
        return mean_estimate(values, ids, seed), sign_flip(values, ids, seed)
    size = estimate(_balanced(draw_weights(ids, seed), values, signs), len(ids))
    return size, sign_flip(values * np.abs(signs) / _sizes(signs), ids, seed)
