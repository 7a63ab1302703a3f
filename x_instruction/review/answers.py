"""Answers of raters: the files that their pages save."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from x_instruction.config.fields import Positive
from x_instruction.config.section import Section, validate
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.records import storable
from x_instruction.review.sheet import VERSION, Sheet, json_object
from x_instruction.storage.atomic import atomic

_FORMAT = "x_instruction answers"


class Answer(Section):
    """The answer of a rater to one pair."""

    choices: dict[str, str]
    """Question to choice."""
    instruction: str = ""
    """The corrected instruction; empty if it was not changed."""
    comment: str = ""
    """Anything else."""
    changed: float = 0
    """When it was changed last, in milliseconds since 1970; 0 if unknown."""


class Answers(Section):
    """The file that a page saves."""

    format: Literal["x_instruction answers"]
    """Always `x_instruction answers`."""
    version: Literal[1]
    """Version of the format."""
    sheet: str
    """Id of the sheet."""
    rater: Positive
    """Number of the page."""
    name: str = ""
    """Name of the rater, if given."""
    saved: str = ""
    """When the file was saved."""
    answers: dict[str, Answer]
    """Item to answer. Pairs without an answer are missing."""


@dataclass(frozen=True, slots=True)
class Rater:
    """The answers of one person.

    Args:
        name: the name that the rater gave, or ``rater 1``.
        file: where the answers are from.
        number: number of the page.
        answers: by item; for two texts in the order of the key.
    """

    name: str
    file: Path
    number: int
    answers: Mapping[str, Answer]


def read_answers(sheet: Sheet, files: Sequence[Path]) -> list[Rater]:
    """The answers of several people, in the order of the files.

    Raises:
        CorpusError: a file cannot be read, answers another sheet, or is of a page whose answers another file has.
    """
    raters: list[Rater] = []
    read: dict[int, tuple[Path, Answers]] = {}
    for path in files:
        answers = _answers(sheet, path)
        if answers.rater in read:
            raise CorpusError(_twice(read[answers.rater], (path, answers)))
        read[answers.rater] = path, answers
        name = " ".join(storable(answers.name).split()) or f"rater {answers.rater}"
        if any(other.name == name for other in raters):
            name = f"{name} ({answers.rater})"
        raters.append(Rater(name, path, answers.rater, answers.answers))
    return raters


def _twice(one: tuple[Path, Answers], other: tuple[Path, Answers]) -> str:
    """What to do about two files of a page: a person who saved twice is not two raters, whatever the names are."""
    advice = "name only one of them"
    if one[1].saved != other[1].saved:
        newest = max(one, other, key=lambda file: file[1].saved)
        advice = f"name only the newest, {newest[0].name}, saved {newest[1].saved[:19]!r}"
    return f"{one[0]} and {other[0]} are both of page {one[1].rater}: {advice}; each rater needs a page of their own"


def write_comments(sheet: Sheet, raters: Sequence[Rater], path: Path) -> int:
    """Write what raters commented as JSON lines, with the pairs, and return the number of comments."""
    rows = [
        {
            "rater": rater.name,
            "comment": answer.comment.strip(),
            "choices": answer.choices,
            "language": item.language,
            "instruction": item.instruction,
            "texts": item.texts,
        }
        for item in sheet.items
        for rater in raters
        if (answer := rater.answers.get(item.id)) and answer.comment.strip()
    ]
    with atomic(path) as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return len(rows)


def _answers(sheet: Sheet, path: Path) -> Answers:
    table = json_object(path)
    if table.get("format") != _FORMAT:
        raise CorpusError(f"{path} is not a file of answers: expected the JSON file that a page of the sheet saved")
    if table.get("version") != VERSION:
        raise CorpusError(f"{path} has version {table.get('version')!r}, expected {VERSION}: use the version of then")
    if table.get("sheet") != sheet.id:
        raise CorpusError(
            f"{path} answers another sheet ({str(table.get('sheet'))[:8]}, expected {sheet.id[:8]}): name the folder "
            "of that sheet with --sheet"
        )
    try:
        answers = validate(Answers, table)
    except RecipeError as error:
        raise CorpusError(f"{path}: {error}") from None
    items = {item.id for item in sheet.items}
    choices = {question.id: {choice.id for choice in question.choices} for question in sheet.questions}
    for id, answer in answers.answers.items():
        if id not in items:
            raise CorpusError(f"{path} has an answer to {id!r}, which is not on the sheet: save the answers again")
        for question, choice in answer.choices.items():
            if choice not in choices.get(question, ()):
                raise CorpusError(f"{path} answers {question!r} by {choice!r}, which is no choice: save them again")
    stored = {
        id: answer.replace(instruction=storable(answer.instruction), comment=storable(answer.comment))
        for id, answer in answers.answers.items()
    }
    return answers.replace(answers=stored)
