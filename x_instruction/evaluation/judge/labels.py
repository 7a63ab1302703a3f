"""Pairs of answers that people judged, to compare a judge with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.errors import CorpusError
from x_instruction.evaluation.answers import read_jsonl
from x_instruction.evaluation.judge.statistics import Estimate, agreement
from x_instruction.evaluation.judge.verdicts import Comparison, Judgement, decision
from x_instruction.evaluation.record import is_record, read_instances, read_record
from x_instruction.languages import language

# What people said, as the value of a judgement.
WINNERS = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclass(frozen=True, slots=True)
class Label:
    """A pair that people judged.

    Args:
        comparison: the two answers.
        value: 1 if the first one is better, 0 if the second is, else 0.5.
    """

    comparison: Comparison
    value: float


def read_labels(path: Path) -> list[Label]:
    """Labels from the record of ``eval rate collect``, or from rows of a file.

    A row has ``instruction``, ``output_a``, ``output_b``, ``language`` and ``winner`` (a, b or tie); it may have ``id``
    and ``instruction_language``.

    Raises:
        CorpusError: it cannot be read, has no pairs, or a row lacks one of these.
    """
    labels = _of_record(path) if path.suffix == ".json" and is_record(path) else _of_rows(path)
    if not labels:
        raise CorpusError(f"{path} has no pairs that people judged, expected some")
    return labels


def _of_record(path: Path) -> list[Label]:
    record = read_record(path)
    overall = {metric.id for metric in record.metrics if (metric.task, metric.name) == ("human-rating", "score")}
    found: dict[tuple[str, str], Label] = {}
    for instance in read_instances(record):
        if instance.metric in overall:
            tag = instance.details["language"]
            texts = (*instance.outputs, *instance.references)
            found[tag, instance.id] = _label(instance.id, instance.input, texts, tag, "en", decision(instance.score))
    return list(found.values())


def _of_rows(path: Path) -> list[Label]:
    return [_of_row(row, str(position), f"{path}, row {position}") for position, row in read_jsonl(path)]


def _of_row(row: dict[str, Any], id: str, where: str) -> Label:
    names = ("instruction", "output_a", "output_b", "language")
    texts = [row.get(name) for name in names]
    if not all(isinstance(text, str) and text for text in texts):
        raise CorpusError(f"{where}: expected text in {', '.join(names)}")
    winner = row.get("winner")
    if winner not in WINNERS:
        raise CorpusError(f"{where}: winner is {winner!r}, expected a, b or tie")
    question, first, second, tag = map(str, texts)
    asked_in = str(row.get("instruction_language") or "en")
    return _label(str(row.get("id", id)), question, (first, second), tag, asked_in, WINNERS[winner])


def _label(id: str, question: str, texts: Sequence[str], tag: str, asked_in: str, value: float) -> Label:
    first, second = texts
    comparison = Comparison(
        question_id=id,
        question=question,
        question_language=language(asked_in).tag,
        language=language(tag).tag,
        systems=("a", "b"),
        answers=(first, second),
    )
    return Label(comparison, value)


def agreement_with_people(labels: Sequence[Label], judged: Sequence[Judgement], seed: int) -> dict[str, Estimate]:
    """Cohen's kappa of a judge with people, by language. Pairs without an answer are left out.

    Args:
        labels: what people said.
        judged: the judgement of each pair.
        seed: seed of the intervals.
    """
    rows: dict[str, list[tuple[float, float, str]]] = {}
    for label, judgement in zip(labels, judged, strict=True):
        if judgement.value is not None:
            own = rows.setdefault(label.comparison.language, [])
            own.append((label.value, judgement.value, label.comparison.question_id))
    return {
        tag: agreement([row[0] for row in found], [row[1] for row in found], [row[2] for row in found], seed)
        for tag, found in rows.items()
    }
