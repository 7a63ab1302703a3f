"""What a review by native speakers says about the threshold of a run.

Rows of known quality tell how reliable a rater is, and help to correct the estimates for the errors of raters (Dawid
and Skene 1979).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.bootstrap import intervals
from x_instruction.builders.corrections import Correction
from x_instruction.config.generate import Generate
from x_instruction.errors import CorpusError
from x_instruction.evaluation.judge.statistics import wilson
from x_instruction.evaluation.metric import Data, Metric, ModelInfo
from x_instruction.form import find_fault
from x_instruction.languages import language
from x_instruction.refine.labels import JUDGED, Example
from x_instruction.review.agreement import RESAMPLES, Accuracy, accuracy
from x_instruction.review.answers import Rater
from x_instruction.review.sheet import Sheet

Floats = npt.NDArray[np.float64]
# Thresholds whose precision is estimated.
THRESHOLDS = 20
# Fewer rows of known quality of either kind say too little to correct estimates with.
LEAST_KNOWN = 5
# Steps of expectation maximization; the rates change by less than 0.001 after about 10.
_EM_STEPS = 15
# Fewer judged pairs above a threshold say too little about it.
LEAST_ABOVE = 5
GOOD = "good"
# What a judgement is worth as a level of a labelled pair, averaged over raters. Files of labels use the same scale.
_WORTH = {"good": 5.0, "flawed": 3.0, "bad": 1.0}
_LEAST_WORTH = {"best": 3.5, "flawed": 1.5, "worst": 0.0}


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """What the answers say about keeping pairs from a score on.

    Args:
        threshold: the lowest score that is kept.
        kept: share of the run's best candidates that reach it.
        judged: judged pairs that reach it.
        precision: share of good ones among them by the mean of the raters, or corrected for their errors where rows of
            known quality allow.
        low, high: its 95 % interval, the wider one of a bootstrap and of Wilson.
    """

    threshold: float
    kept: float
    judged: int
    precision: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A corrected instruction that is not used, and why."""

    rater: str
    id: str
    instruction: str
    reason: str


@dataclass(frozen=True, slots=True)
class Review:
    """What the answers of all raters say.

    Args:
        accuracies: rater to its accuracy on rows of known quality.
        trusted: raters whose answers count: all but those who are no better than chance on rows of known quality.
        rows: one for each judged threshold, by increasing threshold.
        corrected: whether precisions are corrected for the errors of raters.
        precision: share of good pairs that was asked for.
        threshold: the lowest threshold that reaches it; None if none does, or if nothing was judged.
        labels: the judged pairs, for the rater.
        corrections: corrected instructions.
        refused: those that are malformed, or contradict each other.
        flaws: flaw to its number.
    """

    accuracies: Mapping[str, Accuracy]
    trusted: tuple[str, ...]
    rows: tuple[ThresholdRow, ...]
    corrected: bool
    precision: float
    threshold: float | None
    labels: tuple[Example, ...]
    corrections: tuple[Correction, ...]
    refused: tuple[Refused, ...]
    flaws: Mapping[str, int]


def read(sheet: Sheet, raters: Sequence[Rater], precision: float) -> Review:
    """What the answers say.

    Args:
        sheet: the sheet.
        raters: the answers of each rater.
        precision: share of good pairs that the threshold should reach, 0 to 1.

    Raises:
        CorpusError: the sheet is of another kind.
    """
    if sheet.kind != "review":
        raise CorpusError("the sheet compares two texts, expected one of `review make`: use `eval rate collect`")
    known = {item.id: item.hidden["level"] == "best" for item in sheet.items if "level" in item.hidden}
    accuracies = {
        rater.name: accuracy([_is_good(rater, id) == truth for id, truth in known.items() if _judged(rater, id)])
        for rater in raters
    }
    trusted = [
        rater
        for rater in raters
        if not (accuracies[rater.name].rows >= LEAST_KNOWN and accuracies[rater.name].is_chance)
    ]
    rows, corrected = _thresholds(sheet, trusted, known)
    reached = [row.threshold for row in rows if row.precision >= precision]
    corrections, refused = _corrections(sheet, trusted)
    answers = [answer for rater in trusted for id, answer in rater.answers.items() if id not in known]
    flaws = Counter(answer.choices["flaw"] for answer in answers if "flaw" in answer.choices)
    return Review(
        accuracies=accuracies,
        trusted=tuple(rater.name for rater in trusted),
        rows=rows,
        corrected=corrected,
        precision=precision,
        threshold=min(reached, default=None),
        labels=tuple(_labels(sheet, trusted)),
        corrections=tuple(corrections),
        refused=tuple(refused),
        flaws=dict(flaws.most_common()),
    )


def _judged(rater: Rater, id: str) -> bool:
    return id in rater.answers and "quality" in rater.answers[id].choices


def _is_good(rater: Rater, id: str) -> bool:
    return rater.answers[id].choices["quality"] == GOOD


def _thresholds(
    sheet: Sheet, raters: Sequence[Rater], known: Mapping[str, bool]
) -> tuple[tuple[ThresholdRow, ...], bool]:
    """Precision at each threshold, and whether it is corrected for the errors of raters."""
    items = [item for item in sheet.items if any(_judged(rater, item.id) for rater in raters)]
    truth = np.array([float(known.get(item.id, np.nan)) for item in items])
    if np.isnan(truth).sum() < LEAST_ABOVE:
        return (), False
    score = np.array([item.hidden.get("score", 0.0) for item in items])
    weight = np.array([item.hidden.get("weight", 0.0) for item in items])
    said = np.array(
        [[float(_is_good(rater, item.id)) if _judged(rater, item.id) else np.nan for rater in raters] for item in items]
    )
    judged = np.sort(score[np.isnan(truth)])
    edges = np.quantile(judged[: len(judged) - LEAST_ABOVE + 1], np.linspace(0, 1, THRESHOLDS), method="nearest")
    thresholds = np.unique(edges)
    group = np.searchsorted(np.quantile(judged, (1 / 3, 2 / 3)), score).astype(np.float64)
    # Two raters alone do not tell their errors from the truth: each needs rows of known quality of both kinds.
    anchors = [(~np.isnan(said[truth == kind])).sum(axis=0).min(initial=len(items)) for kind in (0.0, 1.0)]
    corrected = min(anchors) >= LEAST_KNOWN

    def precisions(said: Floats, truth: Floats, group: Floats, score: Floats, weight: Floats) -> Floats:
        good = posterior(said, truth, group) if corrected else np.nanmean(said, axis=1)
        # Rows of known quality have no weight.
        above = (score >= thresholds[:, None]) * weight
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((above * good).sum(axis=1) / above.sum(axis=1), dtype=np.float64)

    columns = said, truth, group, score, weight
    ends = intervals(precisions, columns, RESAMPLES, sheet.seed)
    rows = []
    for threshold, precision, (low, high) in zip(thresholds, precisions(*columns), ends, strict=True):
        number = int((judged >= threshold).sum())
        # Draws of pairs that are all good are all good, so a bootstrap alone would be too sure of them.
        least, most = wilson(float(precision), number)
        kept = float(weight[score >= threshold].sum() / weight.sum())
        rows.append(ThresholdRow(float(threshold), kept, number, float(precision), min(low, least), max(high, most)))
    return tuple(rows), corrected


def posterior(said: Floats, truth: Floats, group: npt.NDArray[Any]) -> Floats:
    """The probability that each pair is good, given what raters said and how often each one errs.

    Expectation maximization of Dawid and Skene (1979) with two classes. Error rates of a rater are estimated from all
    rows that the rater judged; those of known quality anchor them.

    Args:
        said: (rows, raters); 1 for good, 0 for not, NaN where the rater did not judge.
        truth: (rows,); 1 or 0 for rows of known quality, else NaN.
        group: (rows,); the share of good pairs is estimated within each group of scores.
    """
    is_known, is_judged = ~np.isnan(truth), ~np.isnan(said)
    votes = np.where(is_judged, said, 0.0)
    good = np.where(is_known, np.nan_to_num(truth), votes.sum(axis=1) / np.maximum(is_judged.sum(axis=1), 1))
    members = [(group == number) & ~is_known for number in np.unique(group)]
    prior = np.full(len(truth), 0.5)
    for _ in range(_EM_STEPS):
        # One right and one wrong answer more than observed, so that no rate is 0 or 1.
        sensitivity = (good @ votes + 1) / (good @ is_judged + 2)
        false = ((1 - good) @ votes + 1) / ((1 - good) @ is_judged + 2)
        for rows in members:
            prior[rows] = (good[rows].sum() + 1) / (rows.sum() + 2)
        evidence = votes * np.log(sensitivity / false) + (1 - votes) * np.log((1 - sensitivity) / (1 - false))
        odds = np.log(prior / (1 - prior)) + (evidence * is_judged).sum(axis=1)
        good = np.where(is_known, np.nan_to_num(truth), 1 / (1 + np.exp(-odds)))
    return np.asarray(good, dtype=np.float64)


def _labels(sheet: Sheet, raters: Sequence[Rater]) -> Iterator[Example]:
    for item in sheet.items:
        worth = [_WORTH[rater.answers[item.id].choices["quality"]] for rater in raters if _judged(rater, item.id)]
        if worth and "level" not in item.hidden:
            mean = sum(worth) / len(worth)
            yield Example(
                id=f"{item.hidden['passage']}/{item.id}",
                document=item.hidden["document"],
                language=item.language,
                instruction_language=item.instruction_language,
                instruction=item.instruction,
                text=item.texts[0],
                level=next(level for level, least in _LEAST_WORTH.items() if mean >= least),
                strategy=JUDGED,
            )


def _corrections(sheet: Sheet, raters: Sequence[Rater]) -> tuple[list[Correction], list[Refused]]:
    """Corrected instructions that can be used, and the others with a reason."""
    taken: list[Correction] = []
    refused: list[Refused] = []
    # Without validation, which would miss a model: the checks of the form read these keys alone.
    limits = Generate.model_construct(**sheet.hidden["limits"])
    for item in sheet.items:
        edits = {rater.name: rater.answers[item.id].instruction.strip() for rater in raters if item.id in rater.answers}
        edits = {name: text for name, text in edits.items() if text and text != item.instruction.strip()}
        if not edits or "level" in item.hidden:
            continue
        name, text = next(iter(edits.items()))
        fault = find_fault(text, item.texts[0], limits, language(item.instruction_language))
        if len(set(edits.values())) > 1:
            refused.append(Refused(" and ".join(edits), item.id, text, "they corrected it in different ways"))
        elif fault:
            asked = f", expected {language(item.instruction_language).name}" if fault == "wrong_language" else ""
            refused.append(Refused(name, item.id, text, fault.replace("_", " ") + asked))
        else:
            taken.append(Correction(item.hidden["passage"], item.language, item.instruction, text))
    return taken, refused


def model(sheet: Sheet) -> ModelInfo:
    """The rater whose threshold was reviewed, for a record."""
    return ModelInfo(name=sheet.hidden["rater"])


def metrics(sheet: Sheet, review: Review) -> list[Metric]:
    """The precision at each threshold as metrics of a record."""
    return [
        Metric(
            task="review",
            name="precision",
            value=row.precision,
            low=row.low,
            high=row.high,
            n=row.judged,
            data=Data(name=f"pairs of {sheet.hidden['run']}", revision=sheet.id),
            language=sheet.hidden["language"],
            parameters={"threshold": round(row.threshold, 6)},
            interval_method="bootstrap by pair",
            notes=f"judged by {len(review.trusted)} {'person' if len(review.trusted) == 1 else 'people'}"
            + ("; corrected for their errors on rows of known quality" if review.corrected else ""),
        )
        for row in review.rows
        if math.isfinite(row.precision)
    ]
