"""Pairs of an instruction and its response, from files of any common shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError
from x_instruction.records import Dropped, dropped, storable
from x_instruction.seed.files import read_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An instruction and its response.

    Args:
        id: of the row in its source; pairs of several languages with one id say the same.
        instruction: what is asked.
        input: what the instruction is about, where the source keeps it apart; or empty.
        output: the response.
        language: tag of the response's language, or empty where the source does not say.
        instruction_language: tag of the instruction's language.
        source: name of the file or the data set.
        license: as the source states it, or ``unknown``.
        url: where the response was found, or empty.
        document_id: of what the response is a part of, where the source says; parts of one never stand on both sides
            of a split.
    """

    id: str
    instruction: str
    input: str = ""
    output: str
    language: str
    instruction_language: str
    source: str
    license: str = "unknown"
    url: str = ""
    document_id: str = ""

    @property
    def document(self) -> str:
        """The document that the response is from; a response of which nothing is told is one of its own."""
        return self.document_id or self.id

    @property
    def asked(self) -> str:
        """All that is asked, the input included."""
        return f"{self.instruction}\n{self.input}" if self.input.strip() else self.instruction


class Shape(ValueError):
    """A row is not of the wanted shape; the message says what it is."""


# Columns by what they are, the common name first.
INSTRUCTION = ("instruction", "prompt")
OUTPUT = ("output", "response", "completion")
CHAT = ("messages", "conversations")
LANGUAGE = ("language", "lang")
# A row of a mix names the row that it was made of.
DOCUMENT = ("document_id", "source_id")
ASKED_IN = ("instruction_language", "prompt_language")
OTHERS = ("id", *DOCUMENT, "input", *ASKED_IN, "license", "url", "source")
COLUMNS = (*INSTRUCTION, *CHAT, *OUTPUT, *LANGUAGE, *OTHERS)
# Roles of a chat by their names in the two common forms.
_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}


def read_pairs(
    path: Path, limit: int, language: str = "", instruction_language: str = "en", license: str = "unknown"
) -> Iterator[Pair | Dropped]:
    """Pairs of an instruction file of any format with named columns, with any of these in its rows.

    ``instruction`` and ``output`` (or ``response``; with ``input`` as in Alpaca), ``prompt`` and ``completion``, or a
    chat in ``messages`` or ``conversations``, of which the first turn counts.

    Args:
        path: the file.
        limit: bytes of the longest row that is read.
        language: of responses, where rows do not say.
        instruction_language: of instructions, where rows do not say.
        license: where rows do not say.

    Raises:
        CorpusError: the file cannot be read, or its first row is of no such shape.
    """
    yield from shaped(
        path, COLUMNS, limit, lambda row, id: pair_of(row, id, path.name, language, instruction_language, license)
    )


def shaped(
    path: Path, columns: tuple[str, ...], limit: int, make: Callable[[Mapping[str, Any], str], Pair]
) -> Iterator[Pair | Dropped]:
    """A pair of every row that ``make`` takes; the others are dropped as ``wrong_shape``.

    Raises:
        CorpusError: the file cannot be read, or its first row is of another shape: then so are the others.
    """
    right = False
    for position, row in read_rows(path, columns, limit):
        id = f"{path.name}:{position}"
        if isinstance(row, RowError):
            yield dropped(id, row.reason, row.detail, row.text)
            continue
        try:
            pair = make(row, id)
        except Shape as error:
            if not right:
                raise CorpusError(f"{path}, row {position}: {error}") from None
            yield dropped(id, "wrong_shape", str(error), str(dict(row)))
            continue
        right = True
        yield pair


def pair_of(
    row: Mapping[str, Any],
    id: str,
    source: str,
    language: str = "",
    instruction_language: str = "en",
    license: str = "unknown",
) -> Pair:
    """The pair of one row of an instruction file; what is given besides the row is for rows that do not say.

    Raises:
        Shape: the row is of no shape that ``read_pairs`` knows.
    """
    chat = next((row[name] for name in CHAT if row.get(name) is not None), None)
    if chat is not None:
        instruction, output = first_turn(chat)
    else:
        instruction, output = _text(row, INSTRUCTION), _text(row, OUTPUT)
    return Pair(
        id=string(row.get("id")) or id,
        instruction=instruction,
        input=string(row.get("input")),
        output=output,
        language=next((string(row[name]) for name in LANGUAGE if row.get(name)), language),
        instruction_language=next((string(row[name]) for name in ASKED_IN if row.get(name)), instruction_language),
        source=string(row.get("source")) or source,
        license=string(row.get("license")) or license,
        url=string(row.get("url")),
        document_id=next((string(row[name]) for name in DOCUMENT if row.get(name)), ""),
    )


def first_turn(chat: Any) -> tuple[str, str]:
    """The first request and its answer; a system message before them is passed over.

    Raises:
        Shape: it is not a chat, or does not begin with a request that is answered.
    """
    turns = list[tuple[str, str]]()
    for turn in chat if isinstance(chat, list) else ():
        if not isinstance(turn, Mapping):
            raise Shape(f"a turn of the chat is a {type(turn).__name__}, wanted an object with role and content")
        role = _ROLES.get(string(turn.get("role", turn.get("from"))), "")
        content = turn.get("content", turn.get("value"))
        if role != "system":
            turns.append((role, storable(content) if isinstance(content, str) else ""))
    if [role for role, _ in turns[:2]] != ["user", "assistant"]:
        seen = ", ".join(role or "unknown" for role, _ in turns[:4]) or "empty"
        raise Shape(f"the chat is {seen}, wanted user and assistant first")
    return turns[0][1], turns[1][1]


def _text(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        if row.get(name) is not None:
            if not isinstance(row[name], str):
                raise Shape(f"{name} is a {type(row[name]).__name__}, wanted text")
            return storable(row[name])
    if any(name in row for name in names):
        return ""
    there = ", ".join(map(repr, row)) or "none"
    raise Shape(f"no column {' or '.join(map(repr, names))}, there are {there}")


def string(value: Any) -> str:
    """A value as text that Parquet can hold; None is empty."""
    return "" if value is None else storable(str(value))


def as_row(pair: Pair) -> dict[str, str]:
    """The pair as a flat dictionary in field order."""
    return {field.name: getattr(pair, field.name) for field in dataclasses.fields(pair)}
