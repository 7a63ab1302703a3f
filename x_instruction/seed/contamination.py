"""Decontamination: whether a text shares a word n-gram with an evaluation set.

Words are compared in lower case without the punctuation around them. Scripts without spaces between words are compared
by character n-grams. A text of an evaluation set with fewer words than n only matches as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from x_instruction.corpus.readers import suffix
from x_instruction.corpus.rows import RowError, as_utf8
from x_instruction.corpus.words import words
from x_instruction.errors import CorpusError
from x_instruction.seed.files import read_rows

# In scripts without spaces between words, this many characters count as one word.
CHARACTERS = 3
# Texts with fewer words are labels or ids, such as "generic", and are ignored.
LEAST = 3


class ContaminationIndex:
    """The n-grams of all evaluation sets.

    Args:
        words: n, in words.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        # Hash of an n-gram to the name of the first set that has it. Python's hashes of strings differ per process, so
        # they are never stored.
        self._word_ngrams: dict[int, str] = {}
        self._whole: dict[str, str] = {}
        self._character_ngrams: dict[int, str] = {}

    def read(self, path: Path, limit: int) -> int:
        """Add every text of a file and return how many there were.

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
        """Add one text of the set called ``name``."""
        text_words = words(text)
        if LEAST <= len(text_words) < self._words:
            self._whole.setdefault(" ".join(text_words), name)
        for start in range(len(text_words) - self._words + 1):
            self._word_ngrams.setdefault(hash(tuple(text_words[start : start + self._words])), name)
        squeezed, width = "".join(text_words), self._words * CHARACTERS
        for start in range(len(squeezed) - width + 1):
            self._character_ngrams.setdefault(hash(squeezed[start : start + width]), name)

    def shared(self, text: str, spaced: bool) -> str | None:
        """A message with the first shared n-gram and the name of its set, or None if there is none.

        Args:
            text: any text.
            spaced: the script puts spaces between words.
        """
        text_words = words(text)
        whole = " ".join(text_words)
        if whole in self._whole:
            return f"{whole!r} is in {self._whole[whole]}"
        for start in range(len(text_words) - self._words + 1):
            ngram = text_words[start : start + self._words]
            if name := self._word_ngrams.get(hash(tuple(ngram))):
                return f"{' '.join(ngram)!r} is in {name}"
        if not spaced:
            squeezed, width = "".join(text_words), self._words * CHARACTERS
            for start in range(len(squeezed) - width + 1):
                if name := self._character_ngrams.get(hash(squeezed[start : start + width])):
                    return f"{squeezed[start : start + width]!r} is in {name}"
        return None


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
            raise CorpusError(f"{path}, row {position}: {row.reason}, {row.detail}; correct the file")
        yield from _strings(row)


def _columns(path: Path) -> tuple[str, ...]:
    """All columns of a Parquet file; readers of other formats return all columns anyway."""
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
