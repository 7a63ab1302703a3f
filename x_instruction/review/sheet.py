"""A sheet of pairs for people: one page for each rater, the key that stays here, and the answers that come back.

    <folder>/rater-1.html    the page of a rater: self-contained, and in an order of its own
    <folder>/key.json        what the page must not say: rows, scores, systems, which rows are of known quality

A rater opens the page in any browser, without a network, and sends back the file that it saves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from x_instruction.config.fields import Positive
from x_instruction.config.section import Section, validate
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.hashing import derive_seed, digest
from x_instruction.pages.page import asset, page
from x_instruction.pages.text import escape
from x_instruction.records import storable
from x_instruction.storage.atomic import atomic

KEY = "key.json"
VERSION = 1
_ANSWERS, _KEY = "x_instruction answers", "x_instruction key"


@dataclass(frozen=True, slots=True)
class Choice:
    """An answer that can be chosen."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Needs:
    """A question is asked only if another one has one of these answers."""

    question: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question about every pair.

    Args:
        id: name in files.
        text: what the page asks.
        choices: the answers; keys 1 to 9 choose them.
        required: a pair without an answer to it is not complete.
        needs: when it is asked; always by default.
    """

    id: str
    text: str
    choices: tuple[Choice, ...]
    required: bool = True
    needs: Needs | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A pair on the sheet.

    Args:
        id: does not depend on anything that a rater must not know.
        language: tag of the texts.
        instruction_language: tag of the instruction.
        instruction: the instruction.
        texts: one response, or two to compare.
        hidden: what only the key holds.
    """

    id: str
    language: str
    instruction_language: str
    instruction: str
    texts: tuple[str, ...]
    hidden: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet.

    Args:
        kind: ``review`` of single pairs, or ``rate``: blind comparison of two texts.
        title: title of the page.
        guide: what a rater reads first, in plain text.
        labels: headings of the texts of a pair.
        questions: asked about every pair.
        items: the pairs.
        editable: whether a rater may correct the instruction.
        seed: decides the order of pairs, and of two texts, for each rater.
        hidden: what only the key holds.
    """

    kind: Literal["review", "rate"]
    title: str
    guide: str
    labels: tuple[str, ...]
    questions: tuple[Question, ...]
    items: tuple[Item, ...]
    editable: bool
    seed: int
    hidden: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Digest of everything in it. Answers name it, so that those to another sheet are noticed."""
        return digest(json.loads(json.dumps(asdict(self))))

    def swapped(self, rater: int, item: Item) -> bool:
        """True if a rater sees the two texts of a pair in reverse order."""
        return len(item.texts) > 1 and bool(derive_seed(self.seed, "order", rater, item.id) % 2)


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


def write(sheet: Sheet, folder: Path, raters: int) -> list[Path]:
    """Write the pages and the key. Equal sheets give equal bytes.

    Returns:
        The pages.

    Raises:
        RecipeError: the folder has another sheet, or there is nothing to judge.
    """
    if not sheet.items:
        raise RecipeError("there are no pairs to judge, expected at least 1")
    key = folder / KEY
    if key.exists() and (there := _object(key).get("sheet")) != sheet.id:
        raise RecipeError(
            f"{folder} has another sheet ({str(there)[:8]}), whose answers would lose their key: choose another folder "
            "with --out"
        )
    pages = []
    for rater in range(1, raters + 1):
        path = folder / f"rater-{rater}.html"
        with atomic(path) as stream:
            stream.write(html(sheet, rater))
        pages.append(path)
    table = {"format": _KEY, "version": VERSION, "sheet": sheet.id, "raters": raters, **asdict(sheet)}
    with atomic(key) as stream:
        stream.write(json.dumps(table, indent=1, ensure_ascii=False).encode())
    return pages


def html(sheet: Sheet, rater: int) -> bytes:
    """The page of a rater."""
    items = list(sheet.items)
    Random(derive_seed(sheet.seed, "pairs", rater)).shuffle(items)
    shown = [
        {
            "id": item.id,
            "language": item.language,
            "instruction_language": item.instruction_language,
            "instruction": item.instruction,
            "texts": item.texts[::-1] if sheet.swapped(rater, item) else item.texts,
        }
        for item in items
    ]
    data = {
        "id": sheet.id,
        "rater": rater,
        "title": sheet.title,
        "labels": sheet.labels,
        "questions": [asdict(question) for question in sheet.questions],
        "editable": sheet.editable,
        "items": shown,
    }
    return page(
        sheet.title,
        _body(sheet),
        data={"sheet": data},
        styles=[asset("x_instruction.review", "sheet.css")],
        scripts=[asset("x_instruction.review", "sheet.js")],
    )


def read_key(folder: Path) -> Sheet:
    """The sheet of a folder that ``write`` filled.

    Raises:
        CorpusError: there is none, or it was changed.
    """
    path = folder / KEY
    if not path.is_file():
        raise CorpusError(f"{folder} has no {KEY}: name the folder that `make` wrote with --sheet")
    table = _object(path)
    if (table.get("format"), table.get("version")) != (_KEY, VERSION):
        raise CorpusError(f"{path} is not a key of version {VERSION}: name the folder that `make` wrote with --sheet")
    try:
        questions = tuple(
            Question(
                **{
                    **question,
                    "choices": tuple(Choice(**choice) for choice in question["choices"]),
                    "needs": question["needs"]
                    and Needs(question["needs"]["question"], tuple(question["needs"]["choices"])),
                }
            )
            for question in table["questions"]
        )
        items = tuple(Item(**{**item, "texts": tuple(item["texts"])}) for item in table["items"])
        sheet = Sheet(
            kind=table["kind"],
            title=table["title"],
            guide=table["guide"],
            labels=tuple(table["labels"]),
            questions=questions,
            items=items,
            editable=table["editable"],
            seed=table["seed"],
            hidden=table["hidden"],
        )
    except (KeyError, TypeError) as error:
        raise CorpusError(f"{path} is damaged ({error!r}): write the sheet again into another folder") from None
    if sheet.id != table["sheet"]:
        raise CorpusError(f"{path} was changed after it was written: write the sheet again into another folder")
    return sheet


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
    table = _object(path)
    if table.get("format") != _ANSWERS:
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


def _object(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is not JSON ({error}): copy the file again") from error
    if not isinstance(table, dict):
        raise CorpusError(f"{path} is not a JSON object, expected a file that a page of the sheet saved")
    return table


def _body(sheet: Sheet) -> str:
    edit = (
        '<label class="wide">Corrected instruction<textarea id="edit" dir="auto"></textarea></label>'
        if sheet.editable
        else ""
    )
    keys = "".join(
        f"<tr><th scope='row'><kbd>{key}</kbd></th><td>{meaning}</td></tr>"
        for key, meaning in {
            "1 … 9": "choose an answer",
            "← →": "previous, next pair",
            "u": "undo",
            **({"e": "edit the instruction"} if sheet.editable else {}),
            "c": "write a comment (Escape leaves the field)",
            "s": "save to a file",
        }.items()
    )
    more = "Edit the instruction, or comment" if sheet.editable else "Comment"
    guide = "".join(f"<p>{escape(part)}</p>" for part in sheet.guide.split("\n"))
    return f"""<main>
<header class="bar"><h1>{escape(sheet.title)}</h1>
<label>Your name<input id="name" type="text" autocomplete="name" maxlength="80"></label></header>
<details class="no-print"><summary>How to answer</summary>{guide}<table class="keys">{keys}</table></details>
<div class="progress"><progress id="done" aria-label="Answered pairs"></progress><span id="count"></span></div>
<p id="message" role="status"></p>
<p id="warning" class="problem" role="alert" hidden>This browser cannot keep your answers. Save them to a file before \
you close the page.</p>
<noscript><p>This page needs JavaScript: allow it, or open the page in another browser.</p></noscript>
<h2 id="pair" tabindex="-1"></h2>
<section class="panel asked"><h3>Instruction</h3><div id="asked"></div></section>
<div class="texts" id="texts"></div>
<ul class="chips" id="chips" aria-label="Answers to this pair" hidden></ul>
<details id="more"><summary>{more}</summary>{edit}
<label class="wide">Comment<textarea id="comment" dir="auto"></textarea></label></details>
<div class="dock no-print">
<fieldset><legend id="question" tabindex="-1"></legend><div class="choices" id="choices"></div></fieldset>
<div class="row"><button id="back" type="button">Back</button><button id="next" type="button">Next</button>
<button id="undo" type="button">Undo</button>
<button id="share" type="button" class="push" hidden>Share</button>
<button id="save" type="button">Save to a file</button></div>
</div>
<label class="wide no-print">Continue from a saved file<input id="open" type="file"></label>
</main>"""
