"""Whether a text repeats an evaluation set: a run of words that both have (method.md 5, contamination).

Words are compared in lower case without the marks around them. Where a language has no spaces between words, runs of
characters stand for them. An item with fewer words counts only as a whole.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from x_instruction.corpus.readers import suffix
from x_instruction.corpus.rows import RowError, as_utf8
from x_instruction.errors import CorpusError
from x_instruction.seed.files import read_rows

_MARKS = string.punctuation + "“”‘’«»„…–—¿¡،؛؟।॥。、？！：；（）"
# A run of so many characters stands for a word where words have no spaces between them.
CHARACTERS = 3
# Items of fewer words are labels or ids, as "generic".
LEAST = 3


class ContaminationIndex:
    """Runs of words and characters of all evaluation sets.

    Args:
        words: length of a run.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        # Hashes are of this process only and never leave it; the value is the set that had the run first.
        self._runs: dict[int, str] = {}
        self._whole: dict[str, str] = {}
        self._characters: dict[int, str] = {}

    def read(self, path: Path, limit: int) -> int:
        """Take in every text of a file; how many there were.

        Raises:
            CorpusError: the file or one of its rows cannot be read, or it holds no text. A set that was not read must
                not pass for one that was.
        """
        number = 0
        for text in _texts(path, limit):
            number += 1
            self.add(text, path.name)
        if not number:
            raise CorpusError(f"{path} holds no text to compare with: name the evaluation set's own file")
        return number

    def add(self, text: str, name: str) -> None:
        """Take in one text of a set of that name."""
        words = _split(text)
        if LEAST <= len(words) < self._words:
            self._whole.setdefault(" ".join(words), name)
        for start in range(len(words) - self._words + 1):
            self._runs.setdefault(hash(tuple(words[start : start + self._words])), name)
        squeezed, width = "".join(words), self._words * CHARACTERS
        for start in range(len(squeezed) - width + 1):
            self._characters.setdefault(hash(squeezed[start : start + width]), name)

    def shared(self, text: str, spaced: bool) -> str | None:
        """The first run that a set has too and the set's name, for a person; or None.

        Args:
            text: any text.
            spaced: words of the text are divided by spaces.
        """
        words = _split(text)
        whole = " ".join(words)
        if whole in self._whole:
            return f"{whole!r} is in {self._whole[whole]}"
        for start in range(len(words) - self._words + 1):
            run = words[start : start + self._words]
            if name := self._runs.get(hash(tuple(run))):
                return f"{' '.join(run)!r} is in {name}"
        if not spaced:
            squeezed, width = "".join(words), self._words * CHARACTERS
            for start in range(len(squeezed) - width + 1):
                if name := self._characters.get(hash(squeezed[start : start + width])):
                    return f"{squeezed[start : start + width]!r} is in {name}"
        return None


def _split(text: str) -> list[str]:
    return [word for part in text.casefold().split() if (word := part.strip(_MARKS))]


def _texts(path: Path, limit: int) -> Iterator[str]:
    if path.name.lower().endswith(".txt"):
        try:
            with open(path, "rb") as stream, as_utf8(stream) as plain:
                text = plain.read().decode("utf-8")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise CorpusError(f"cannot read {path}: {error}") from None
        yield from (line for line in text.splitlines() if line.strip())
        return
    for position, row in read_rows(path, _columns(path), limit):
        if isinstance(row, RowError):
            raise CorpusError(f"{path}, row {position}: {row.reason}, {row.detail}; mend the file")
        yield from _strings(row)


def _columns(path: Path) -> tuple[str, ...]:
    """All columns of a Parquet file; other formats give every one anyway."""
    if suffix(path.name) == ".parquet" and path.is_file():
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return tuple(pq.read_schema(path).names)
        except pa.ArrowException as error:
            raise CorpusError(f"cannot read {path}: {error}; the file is damaged") from error
    return ("text",)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
