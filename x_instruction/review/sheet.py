"""A sheet of pairs for people, and its key.

    <folder>/rater-1.html    the page of a rater: self-contained, and in an order of its own
    <folder>/key.json        what the page must not say: rows, scores, systems, which rows are of known quality

A rater opens the page in any browser, without a network, and sends back the file that it saves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from x_instruction.errors import CorpusError
from x_instruction.hashing import derive_seed, digest

KEY = "key.json"
VERSION = 1
KEY_FORMAT = "x_instruction key"


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


def read_key(folder: Path) -> Sheet:
    """The sheet of a folder that ``write`` filled.

    Raises:
        CorpusError: there is none, or it was changed.
    """
    path = folder / KEY
    if not path.is_file():
        raise CorpusError(f"{folder} has no {KEY}: name the folder that `make` wrote with --sheet")
    table = json_object(path)
    if (table.get("format"), table.get("version")) != (KEY_FORMAT, VERSION):
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


def json_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        CorpusError: it cannot be read, or is not an object.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is not JSON ({error}): copy the file again") from error
    if not isinstance(table, dict):
        raise CorpusError(f"{path} is not a JSON object, expected a file that a page of the sheet saved")
    return table
