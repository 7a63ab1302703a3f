"""Pairs of an instruction and its response, from instruction files in any common layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.corpus.cells import LicenseError, license_of, text_of
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError
from x_instruction.records import Dropped, dropped, storable
from x_instruction.seed.chat import CHAT, SYSTEM, NotText, ShapeError, chat_of, first_turn, left_out
from x_instruction.seed.files import read_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An instruction and its response.

    Args:
        id: id of the row in its source. Pairs of several languages with the same id are translations of each other.
        instruction: the instruction.
        input: the text that the instruction refers to, if the source has it separately; else empty.
        output: the response.
        language: language tag of the response; empty if the source does not give one.
        instruction_language: language tag of the instruction.
        source: name of the file or data set.
        license: the licence that the source states, or ``unknown``.
        url: address of the response, or empty.
        document_id: id of the document that contains the response, if the source gives one. Pairs of one document are
            always in the same split.
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
        """Id of the document of the response; without one, the response is its own document."""
        return self.document_id or self.id

    @property
    def asked(self) -> str:
        """The instruction, with the input after it."""
        return f"{self.instruction}\n{self.input}" if self.input.strip() else self.instruction


# Names of columns by meaning, the most common first.
INSTRUCTION = ("instruction", "prompt")
OUTPUT = ("output", "response", "completion")
LANGUAGE = ("language", "lang")
# ``source_id`` is in the rows of a data mix: the row from which it was made.
DOCUMENT = ("document_id", "source_id")
ASKED_IN = ("instruction_language", "prompt_language")
OTHERS = ("id", *DOCUMENT, "input", *ASKED_IN, "license", "url", "source")
COLUMNS = (*INSTRUCTION, *CHAT, SYSTEM, *OUTPUT, *LANGUAGE, *OTHERS)


def read_pairs(
    path: Path, limit: int, language: str = "", instruction_language: str = "en", license: str = "unknown"
) -> Iterator[Pair | Dropped]:
    """Pairs of an instruction file in any format with named columns.

    A row has ``instruction`` and ``output`` (or ``response``; with ``input`` as in Alpaca), or ``prompt`` and
    ``completion``, or a chat in ``messages`` or ``conversations`` (or both halves in ``prompt`` and ``completion``), of
    which the first exchange is used.

    Args:
        path: the file.
        limit: bytes of the longest row that is read.
        language: language tag of responses, for rows that do not give one.
        instruction_language: language tag of instructions, for rows that do not give one.
        license: licence, for rows that do not give one.

    Raises:
        CorpusError: the file cannot be read, or its first row has another layout.
    """
    yield from rows_as_pairs(
        path, COLUMNS, limit, lambda row, id: pair_of(row, id, path.name, language, instruction_language, license)
    )


def rows_as_pairs(
    path: Path, columns: tuple[str, ...], limit: int, make: Callable[[Mapping[str, Any], str], Pair]
) -> Iterator[Pair | Dropped]:
    """The pair that ``make`` creates from every row, and what is left out of it.

    Rows that it refuses are dropped: with ``wrong_shape``, with ``not_text`` for messages with images and the like, or
    with ``unclear_license``. The system text and each later exchange of a chat are dropped with ``system_text`` and
    ``later_turn``, beside the pair of its first exchange.

    Raises:
        CorpusError: the file cannot be read, or ``make`` refuses its first row, and so probably all others.
    """
    has_pairs = False
    for position, row in read_rows(path, columns, limit):
        id = f"{path.name}:{position}"
        if isinstance(row, RowError):
            yield dropped(id, row.reason, row.detail, row.text)
            continue
        try:
            pair = make(row, id)
        except NotText as error:
            yield dropped(id, "not_text", str(error), text_of(row))
            continue
        except LicenseError as error:
            yield dropped(id, "unclear_license", str(error), text_of(row))
            continue
        except ShapeError as error:
            if not has_pairs:
                raise CorpusError(f"{path}, row {position}: {error}") from None
            yield dropped(id, "wrong_shape", str(error), text_of(row))
            continue
        has_pairs = True
        yield pair
        yield from left_out(row, id)


def pair_of(
    row: Mapping[str, Any],
    id: str,
    source: str,
    language: str = "",
    instruction_language: str = "en",
    license: str = "unknown",
) -> Pair:
    """The pair of one row of an instruction file. The other arguments are defaults for rows that lack a value.

    Raises:
        ShapeError: the row has none of the layouts of ``read_pairs``.
        LicenseError: its licence has a form that names none.
    """
    chat = chat_of(row)
    if chat is not None:
        instruction, output = first_turn(chat)
    else:
        instruction, output = _text(row, INSTRUCTION), _text(row, OUTPUT)
    return Pair(
        id=text_of(row.get("id")) or id,
        instruction=instruction,
        input=text_of(row.get("input")),
        output=output,
        language=next((text_of(row[name]) for name in LANGUAGE if row.get(name)), language),
        instruction_language=next((text_of(row[name]) for name in ASKED_IN if row.get(name)), instruction_language),
        source=text_of(row.get("source")) or source,
        license=license_of(row.get("license")) or license,
        url=text_of(row.get("url")),
        document_id=next((text_of(row[name]) for name in DOCUMENT if row.get(name)), ""),
    )


def _text(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        if row.get(name) is not None:
            if not isinstance(row[name], str):
                raise ShapeError(f"{name} is a {type(row[name]).__name__}, expected text")
            return storable(row[name])
    if any(name in row for name in names):
        return ""
    available = ", ".join(map(repr, row)) or "none"
    raise ShapeError(f"no column {' or '.join(map(repr, names))}, there are {available}")


def as_row(pair: Pair) -> dict[str, str]:
    """The pair as a dictionary, in the order of the fields."""
    return {field.name: getattr(pair, field.name) for field in dataclasses.fields(pair)}
