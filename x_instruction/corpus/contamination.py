"""Decontamination: whether a text shares a word n-gram with an evaluation set.

Words are compared in lower case without the punctuation around them. Scripts without spaces between words are compared
by character n-grams. A text of an evaluation set with fewer words than n matches as a whole: another text of the same
words and, for passages, a text that contains it.

An n-gram takes 12 bytes, so that the sets of many languages fit into memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from x_instruction.corpus import known_sets
from x_instruction.corpus.files import check_regular, find, is_local
from x_instruction.corpus.readers import rows, suffix
from x_instruction.corpus.rows import RowError, as_utf8
from x_instruction.corpus.words import words
from x_instruction.errors import CorpusError
from x_instruction.languages import Language

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In scripts without spaces between words, this many characters count as one word.
CHARACTERS = 3
# Texts with fewer words are labels or ids, such as "generic", and are ignored.
LEAST = 3
# Fewer words within a longer text say little of where it is from.
LEAST_WITHIN = 6


class ContaminationIndex:
    """The n-grams of all evaluation sets.

    Args:
        words: n, in words.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self._names: list[str] = []
        self._word_ngrams = _Ngrams()
        self._character_ngrams = _Ngrams()
        self._whole: dict[str, int] = {}
        # Short texts, by their number of words.
        self._within: dict[int, _Ngrams] = {}

    def read(self, path: str | Path, limit: int) -> int:
        """Add every text of a file and return how many there were.

        Args:
            path: a local path, or one of fsspec.
            limit: bytes of the longest row that is read.

        Raises:
            CorpusError: the file or one of its rows cannot be read, or it holds no text. A set that was not read must
                not pass for one that was.
        """
        number, name = 0, str(path).rstrip("/").split("/")[-1]
        for text in _texts(str(path), limit):
            number += 1
            self.add(text, name)
        if not number:
            raise CorpusError(f"{path} holds no text to compare with: name the evaluation set's own file")
        return number

    def read_known(self, name: str, language: Language) -> None:
        """Add every text of a set that has a name, in one language.

        Raises:
            CorpusError: the set cannot be read.
        """
        for row in known_sets.rows(name, language):
            for text in _strings(row):
                self.add(text, name)

    def add(self, text: str, name: str) -> None:
        """Add one text of the set called ``name``."""
        if name not in self._names[-1:]:
            self._names.append(name)
        number = len(self._names) - 1
        text_words = words(text)
        if LEAST <= len(text_words) < self._words:
            self._whole.setdefault(" ".join(text_words), number)
            if len(text_words) >= LEAST_WITHIN:
                short = self._within.setdefault(len(text_words), _Ngrams())
                short.add(_word_hashes(text_words, len(text_words)), number)
        self._word_ngrams.add(_word_hashes(text_words, self._words), number)
        self._character_ngrams.add(_character_hashes("".join(text_words), self._words * CHARACTERS), number)

    def shared(self, text: str, spaced: bool, within: bool = False) -> str | None:
        """A message with the first shared n-gram and the name of its set, or None if there is none.

        Args:
            text: any text.
            spaced: the script puts spaces between words.
            within: texts of a set with fewer than n words count too if they are part of the text.
        """
        text_words = words(text)
        whole = " ".join(text_words)
        if whole in self._whole:
            return f"{whole!r} is in {self._names[self._whole[whole]]}"
        for size, ngrams in [(self._words, self._word_ngrams), *(sorted(self._within.items()) if within else ())]:
            if found := ngrams.first(_word_hashes(text_words, size)):
                return f"{' '.join(text_words[found[0] : found[0] + size])!r} is in {self._names[found[1]]}"
        if not spaced:
            squeezed, width = "".join(text_words), self._words * CHARACTERS
            if found := self._character_ngrams.first(_character_hashes(squeezed, width)):
                return f"{squeezed[found[0] : found[0] + width]!r} is in {self._names[found[1]]}"
        return None


class _Ngrams:
    """Hashes of n-grams, and the number of the first set that has each."""

    def __init__(self) -> None:
        # Python's hashes of strings differ per process, so they are never stored.
        self._hashes, self._sets = array("q"), array("I")
        self._sorted: tuple[NDArray[np.int64], NDArray[np.uint32]] | None = None

    def add(self, hashes: list[int], number: int) -> None:
        self._hashes.extend(hashes)
        self._sets.extend([number] * len(hashes))
        self._sorted = None

    def first(self, hashes: list[int]) -> tuple[int, int] | None:
        """Position of the first known hash and the number of its set, or None."""
        if not hashes or not self._hashes:
            return None
        if self._sorted is None:
            unique, first = np.unique(np.frombuffer(self._hashes, dtype=np.int64), return_index=True)
            self._sorted = unique, np.frombuffer(self._sets, dtype=np.uint32)[first]
        known, sets = self._sorted
        wanted = np.array(hashes, dtype=np.int64)
        places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        matches = np.flatnonzero(known[places] == wanted)
        return (int(matches[0]), int(sets[places[matches[0]]])) if len(matches) else None


def _word_hashes(text_words: list[str], size: int) -> list[int]:
    return [hash(tuple(text_words[start : start + size])) for start in range(len(text_words) - size + 1)]


def _character_hashes(text: str, size: int) -> list[int]:
    return [hash(text[start : start + size]) for start in range(len(text) - size + 1)]


def evaluation_sets(paths: tuple[str, ...], language: Language, words: int, limit: int) -> ContaminationIndex | None:
    """The evaluation sets of a corpus, or None if there are none.

    Args:
        paths: names of ``known_sets.SETS``, and paths with placeholders and wildcards, as in ``corpus.paths``.
        language: the language to read.
        words: length of the shared runs, in words.
        limit: bytes of the longest row that is read.

    Raises:
        CorpusError: no file matches, or a set, a file or one of its rows cannot be read.
    """
    if not paths:
        return None
    index = ContaminationIndex(words)
    for name in known_sets.named(paths):
        index.read_known(name, language)
    for filesystem, path in find(known_sets.unnamed(paths), language, "corpus.decontaminate"):
        index.read(path if is_local(filesystem) else filesystem.unstrip_protocol(path), limit)
    return index


def _texts(path: str, limit: int) -> Iterator[str]:
    import fsspec

    try:
        filesystem, name = fsspec.core.url_to_fs(path)
        if is_local(filesystem):
            check_regular(Path(name))
        with filesystem.open(name, "rb") as stream:
            yield from _plain_lines(stream) if name.lower().endswith(".txt") else _row_texts(stream, path, limit)
    except (OSError, EOFError, UnicodeDecodeError, ImportError) as error:
        raise CorpusError(f"cannot read {path}: {error}; expected the path of a file") from None


def _plain_lines(stream: IO[bytes]) -> Iterator[str]:
    with as_utf8(stream) as plain:
        yield from (line for line in plain.read().decode("utf-8").splitlines() if line.strip())


def _row_texts(stream: IO[bytes], path: str, limit: int) -> Iterator[str]:
    for position, row in rows(stream, path, _columns(stream, path), limit):
        if isinstance(row, RowError):
            raise CorpusError(f"{path}, row {position}: {row.reason}, {row.detail}; correct the file")
        yield from _strings(row)


def _columns(stream: IO[bytes], path: str) -> tuple[str, ...]:
    """All columns of a Parquet file; readers of other formats return all columns anyway."""
    if suffix(path) != ".parquet":
        return ("text",)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = tuple(pq.read_schema(stream).names)
    except pa.ArrowException as error:
        raise CorpusError(f"cannot read {path}: {error}; the file is damaged") from error
    stream.seek(0)
    return names


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
