"""Judgements in the file layout of the paper's evaluation: one file for each order, one row for each question.

    judgement.<language>.<first>.vs.<second>.jsonl    question_id, category, score_1, score_2

Rows have further columns: aspect, preference, text and failure. A score that was not read is null; the published code
writes -1, which is read as none, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from x_instruction.errors import CorpusError
from x_instruction.evaluation.answers import read_jsonl
from x_instruction.evaluation.judge.protocols import NOT_PARSED, from_scores
from x_instruction.evaluation.judge.reading import HIGHEST_SCORE
from x_instruction.evaluation.judge.verdicts import OVERALL, Call, Comparison, Judgement
from x_instruction.storage.atomic import atomic


def path_of(folder: Path, tag: str, first: str, second: str) -> Path:
    """The file of the judgements with the answers of ``first`` shown first."""
    return folder / f"judgement.{tag}.{first}.vs.{second}.jsonl"


def write_judgements(folder: Path, judged: Iterable[tuple[Judgement, ...]]) -> None:
    """Write the judgements of both orders.

    Raises:
        ShardError: a file cannot be written.
    """
    rows: dict[Path, list[dict[str, Any]]] = {}
    for judgements in judged:
        for judgement in judgements:
            comparison = judgement.comparison
            for systems, call in (
                (comparison.systems, judgement.forward),
                (comparison.systems[::-1], judgement.backward),
            ):
                rows.setdefault(path_of(folder, comparison.language, *systems), []).append(_row(judgement, call))
    for path, lines in rows.items():
        with atomic(path) as stream:
            for row in lines:
                stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _row(judgement: Judgement, call: Call) -> dict[str, Any]:
    first, second = call.scores or (None, None)
    return {
        "question_id": judgement.comparison.question_id,
        "category": judgement.comparison.category,
        "score_1": first,
        "score_2": second,
        "aspect": judgement.aspect,
        "preference": call.preference,
        "text": call.text,
        "failure": call.failure,
    }


def read_judgements(folder: Path, comparisons: Sequence[Comparison]) -> list[tuple[Judgement, ...]]:
    """The judgements of comparisons from files.

    Raises:
        CorpusError: a file is missing, does not have each question once, or has a score that is none.
    """
    calls: dict[Path, Mapping[str, Mapping[str, Call]]] = {}

    def of(comparison: Comparison, systems: tuple[str, str]) -> Mapping[str, Call]:
        path = path_of(folder, comparison.language, *systems)
        if path not in calls:
            calls[path] = _read(path)
        if comparison.question_id not in calls[path]:
            raise CorpusError(f"{path} has no question_id {comparison.question_id}: judge all questions again")
        return calls[path][comparison.question_id]

    judged = []
    for comparison in comparisons:
        forward, backward = of(comparison, comparison.systems), of(comparison, comparison.systems[::-1])
        if forward.keys() != backward.keys():
            raise CorpusError(
                f"question_id {comparison.question_id} is judged on {', '.join(forward)} in one order and on "
                f"{', '.join(backward)} in the other, expected the same aspects"
            )
        judged.append(
            tuple(
                Judgement(comparison=comparison, aspect=aspect, forward=forward[aspect], backward=backward[aspect])
                for aspect in forward
            )
        )
    return judged


def _read(path: Path) -> dict[str, dict[str, Call]]:
    found: dict[str, dict[str, Call]] = {}
    for position, row in read_jsonl(path):
        where = f"{path}, row {position}"
        if row.get("question_id") is None:
            raise CorpusError(f"{where} has no question_id, expected that of a question")
        aspects = found.setdefault(str(row["question_id"]), {})
        aspect = str(row.get("aspect") or OVERALL)
        if aspect in aspects:
            raise CorpusError(f"{where}: question_id {row['question_id']} occurs twice, expected one row for each")
        aspects[aspect] = _call(row, where)
    return found


def _call(row: Mapping[str, Any], where: str) -> Call:
    text = str(row.get("text") or "")
    scores = row.get("score_1"), row.get("score_2")
    preference = row.get("preference")
    if preference is not None and scores == (None, None):
        if not isinstance(preference, int | float) or not 0 <= preference <= 1:
            raise CorpusError(f"{where}: preference is {preference!r}, expected a number from 0 to 1")
        return Call(preference=float(preference), text=text)
    if any(score in (None, -1) for score in scores):
        return Call(failure=str(row.get("failure") or NOT_PARSED), text=text)
    first, second = (_score(score, where) for score in scores)
    return from_scores((first, second), text)


def _score(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= HIGHEST_SCORE:
        raise CorpusError(f"{where}: a score is {value!r}, expected an integer from 0 to {HIGHEST_SCORE}")
    return value
