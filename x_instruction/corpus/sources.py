"""Documents of a corpus in one language: the sample, files, or a data set of the Hub.

Everything is streamed. A row that cannot be used becomes ``Dropped`` with a reason; a missing file, a damaged file or a
missing column makes the whole corpus unusable and raises ``CorpusError``.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from x_instruction.config.corpus import Corpus
from x_instruction.corpus import known_sets, streamed
from x_instruction.corpus.cells import LicenseError, license_of, text_of
from x_instruction.corpus.files import digest, fill, find, is_local, remote_key
from x_instruction.corpus.quality import digest as head_digest
from x_instruction.corpus.readers import count as count_rows
from x_instruction.corpus.readers import parquet_rows, rows, suffix
from x_instruction.corpus.rows import Row, RowError
from x_instruction.errors import CorpusError
from x_instruction.languages import Language
from x_instruction.records import Dropped, dropped

SAMPLE_SOURCE = "x_instruction sample (synthetic)"
SAMPLE_LICENSE = "Apache-2.0"
# Chunks of files that are read at least before their number of rows is estimated.
_CHUNKS = 4


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is in its source.

    Args:
        id: the id in the source, or ``<file name>:<line or row number>``.
        text: the text, not cleaned yet.
        url: its address, or empty.
        license: licence of the row, else of the corpus.
        source: the corpus: name of a file, a data set or the sample.
    """

    id: str
    text: str
    url: str
    license: str
    source: str


@dataclass(frozen=True, slots=True)
class Start:
    """A row of a corpus of files, from which it is read.

    Args:
        file: number of its file in the order of the corpus, from 0.
        row: number of rows before it in the file.
        before: number of rows before it in the corpus.
    """

    file: int = 0
    row: int = 0
    before: int = 0


BEGINNING = Start()


@dataclass(slots=True)
class Tally:
    """Counts what was read of a corpus.

    Args:
        rows: all rows.
        documents: the rows that are documents.
        errors: reason to number of the others.
    """

    rows: int = 0
    documents: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def counted(self, rows: Iterable[Document | Dropped]) -> Iterator[Document | Dropped]:
        """The rows, which are counted as they are read."""
        for row in rows:
            self.rows += 1
            if isinstance(row, Dropped):
                self.errors[row.reason] += 1
            else:
                self.documents += 1
            yield row

    def check(self, corpus: Corpus, language: Language) -> None:
        """Refuse a corpus without a document, once all of it is read.

        Raises:
            CorpusError: it holds no document.
        """
        if not self.documents:
            reasons = ", ".join(f"{reason} {n}" for reason, n in self.errors.most_common()) or "it is empty"
            raise CorpusError(
                f"no document in {_where(corpus, language)} ({reasons}): check the corpus of {language.tag!r}"
            )


def read(corpus: Corpus, language: Language) -> Iterator[Document | Dropped]:
    """Documents of one language, in the order of the source, at most ``corpus.documents`` rows.

    Raises:
        CorpusError: the corpus cannot be read, or holds no document.
    """
    tally = Tally()
    yield from tally.counted(read_from(corpus, language))
    tally.check(corpus, language)


def read_from(corpus: Corpus, language: Language, start: Start = BEGINNING) -> Iterator[Document | Dropped]:
    """As ``read``, from a row of a corpus of files, without the check that there are documents.

    Raises:
        CorpusError: the corpus cannot be read.
    """
    rows = _files(corpus, language, start) if corpus.source == "files" else SOURCES[corpus.source](corpus, language)
    return islice(rows, None if corpus.documents is None else corpus.documents - start.before)


def starts(corpus: Corpus, language: Language) -> Iterator[Start]:
    """The rows with which the slices of a corpus of files begin, in order. No more files are read than necessary.

    Raises:
        CorpusError: the corpus cannot be read.
    """
    columns, before = _columns(corpus), 0
    for file, (filesystem, path) in enumerate(find(corpus.paths, language)):
        row = -before % corpus.slice_rows
        known = 0
        with _opened(filesystem, path) as stream:
            for known in count_rows(stream, path, columns, corpus.max_row_bytes):
                while row < known:
                    yield Start(file, row, before + row)
                    row += corpus.slice_rows
                    if corpus.documents is not None and before + row >= corpus.documents:
                        return
        before += known


def fingerprint(corpus: Corpus, language: Language) -> dict[str, str]:
    """Identifies the input of one language and its evaluation sets: digest or revision by name.

    Local files and the sample have a SHA-256 digest of their content, remote files the key that fsspec gives them, and
    a data set on the Hub the commit that ``revision`` refers to now.

    Raises:
        CorpusError: the input does not exist.
    """
    found = _input(corpus, language)
    if corpus.decontaminate:
        digests = _digests(known_sets.unnamed(corpus.decontaminate), language, "corpus.decontaminate")
        found |= {f"decontaminate.{path}": key for path, key in digests.items()}
        for name in known_sets.named(corpus.decontaminate):
            data_set = _data_set(known_sets.SETS[name].dataset, "main")
            found |= {f"decontaminate.{name}:{part}": key for part, key in data_set.items()}
    if corpus.filters.quality_head:
        found["quality_head"] = head_digest(Path(corpus.filters.quality_head))
    return found


def _input(corpus: Corpus, language: Language) -> dict[str, str]:
    if corpus.source == "sample":
        name, content = _sample_file(language)
        return {name: hashlib.sha256(content).hexdigest()}
    if corpus.source == "hub":
        return _data_set(corpus.dataset or "", corpus.revision)
    return _digests(corpus.paths, language, "corpus.paths")


def _data_set(dataset: str, revision: str) -> dict[str, str]:
    """The digest of each file of a local folder, or the commit of a data set on the Hub."""
    folder = Path(dataset)
    if folder.is_dir():
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return {str(p.relative_to(folder)): digest(p) for p in files}
    return {dataset: streamed.revision(dataset, revision)}


def _digests(paths: tuple[str, ...], language: Language, key: str) -> dict[str, str]:
    digests: dict[str, str] = {}
    for filesystem, path in find(paths, language, key):
        if is_local(filesystem):
            digests[path] = digest(Path(path))
        else:
            digests[path] = remote_key(filesystem, path)
    return digests


def count(corpus: Corpus, language: Language) -> int | None:
    """Number of rows that ``read`` would yield, if the metadata of the source says so; else None.

    Raises:
        CorpusError: the input does not exist.
    """
    rows: int | None = None
    if corpus.source == "sample":
        rows = _sample_file(language)[1].count(b"\n")
    elif corpus.source == "hub":
        config = fill(corpus.config, language) if corpus.config else None
        rows = streamed.size(corpus.dataset or "", config, corpus.split, corpus.revision)
    else:
        files = find(corpus.paths, language)
        if all(suffix(path) == ".parquet" for _, path in files):
            rows = sum(_parquet_rows(filesystem, path) for filesystem, path in files)
    if rows is None or corpus.documents is None:
        return rows
    return min(rows, corpus.documents)


@dataclass(frozen=True, slots=True)
class Size:
    """The number of documents of a corpus.

    Args:
        documents: rows; None if only reading all of it would tell.
        counted: whether the number is exact.
    """

    documents: int | None
    counted: bool


def measure(corpus: Corpus, language: Language, seconds: float) -> Size:
    """The number of documents of a corpus: as its metadata says, or else counted for some time and scaled by bytes.

    Raises:
        CorpusError: the input does not exist, or is damaged.
    """
    known = count(corpus, language)
    if known is not None or corpus.source != "files":
        return Size(known, known is not None)
    files = find(corpus.paths, language)
    total = sum(filesystem.size(path) or 0 for filesystem, path in files)
    end, found, before, chunks = time.monotonic() + seconds, 0, 0, 0
    for filesystem, path in files:
        with filesystem.open(path, "rb") as stream:
            read = 0
            for _ in rows(stream, path, (corpus.text_column,), corpus.max_row_bytes):
                # Readers read ahead in chunks: only where a chunk ends do rows and bytes belong together.
                if stream.tell() != read:
                    if chunks >= _CHUNKS and time.monotonic() > end:
                        scaled = round(found * total / (before + read))
                        return Size(min(scaled, corpus.documents or scaled), False)
                    read, chunks = stream.tell(), chunks + 1
                found += 1
                if found == corpus.documents:
                    return Size(found, True)
        before += filesystem.size(path) or 0
    return Size(found, True)


def _sample(corpus: Corpus, language: Language) -> Iterator[Document | Dropped]:
    import io

    name, content = _sample_file(language)
    columns = ("text", "id", "url", "license")
    table = rows(io.BytesIO(content), name, columns, corpus.max_row_bytes)
    yield from _documents(table, columns, name, SAMPLE_SOURCE, SAMPLE_LICENSE)


def _sample_file(language: Language) -> tuple[str, bytes]:
    name = f"{language.tag}.jsonl"
    folder = resources.files("x_instruction.corpus.sample")
    file = folder.joinpath(name)
    if not file.is_file():
        available = sorted(p.name.removesuffix(".jsonl") for p in folder.iterdir() if p.name.endswith(".jsonl"))
        raise CorpusError(
            f"the sample has no {language.name} ({language.tag!r}), only {', '.join(available)}: "
            'set corpus.source to "files" or "hub"'
        )
    return name, file.read_bytes()


def _files(corpus: Corpus, language: Language, start: Start = BEGINNING) -> Iterator[Document | Dropped]:
    columns = _columns(corpus)
    files = find(corpus.paths, language)
    for _, path in files:
        suffix(path)  # refuse an unknown suffix before hours are spent on the files before it
    for number, (filesystem, path) in enumerate(files[start.file :]):
        name = path.rstrip("/").split("/")[-1]
        skip = 0 if number else start.row
        with _opened(filesystem, path) as stream:
            table = rows(stream, path, columns, corpus.max_row_bytes, skip)
            yield from _documents(table, columns, path, name, corpus.license, known=skip > 0)


def _opened(filesystem: Any, path: str) -> Any:
    try:
        return filesystem.open(path, "rb")
    except OSError as error:
        raise CorpusError(f"cannot open {path}: {error.strerror or error}; check its permissions") from error


def _columns(corpus: Corpus) -> tuple[str, str, str, str]:
    return (corpus.text_column, corpus.id_column, corpus.url_column, corpus.license_column)


def _hub(corpus: Corpus, language: Language) -> Iterator[Document | Dropped]:
    columns = _columns(corpus)
    config = fill(corpus.config, language) if corpus.config else None
    table = streamed.stream(corpus.dataset or "", config, corpus.split, corpus.revision)
    # Only the last part of a local path is kept: published data must not contain the paths of a machine.
    folder = Path(corpus.dataset or "")
    name = folder.name if folder.is_dir() else corpus.dataset or ""
    source = f"{name}/{config}" if config else name
    yield from _documents(table, columns, source, source, corpus.license)


def _documents(
    table: Iterator[Row], columns: tuple[str, ...], path: str, source: str, license: str, known: bool = False
) -> Iterator[Document | Dropped]:
    """Documents from rows.

    Args:
        columns: the names of text, id, URL and licence, in this order.
        known: an earlier row had the text column: then a row without it is damaged, and the recipe is right.
    """
    text_column, id_column, url_column, license_column = columns
    for position, row in table:
        fallback = f"{source.split('/')[-1]}:{position}"
        if isinstance(row, RowError):
            yield dropped(fallback, row.reason, row.detail, row.text)
            continue
        if text_column not in row and not known:
            available = ", ".join(map(repr, row)) or "none"
            raise CorpusError(
                f"{path}, row {position}: no column {text_column!r}, there are {available}; set corpus.text_column"
            )
        known = known or text_column in row
        id = text_of(row.get(id_column)) or fallback
        text = row.get(text_column)
        if not isinstance(text, str) or not text.strip():
            detail = "empty" if isinstance(text, str) else f"expected a string, got {type(text).__name__}"
            yield dropped(id, "no_text", detail)
            continue
        try:
            stated = license_of(row.get(license_column)) or license
        except LicenseError as error:
            yield dropped(id, "unclear_license", str(error), text)
            continue
        yield Document(id=id, text=text, url=text_of(row.get(url_column)), license=stated, source=source)


SOURCES: dict[str, Callable[[Corpus, Language], Iterator[Document | Dropped]]] = {
    "sample": _sample,
    "files": _files,
    "hub": _hub,
}


def _parquet_rows(filesystem: Any, path: str) -> int:
    with filesystem.open(path, "rb") as stream:
        return parquet_rows(stream, path)


def _where(corpus: Corpus, language: Language) -> str:
    if corpus.source == "hub":
        return f"{corpus.dataset} ({corpus.config and fill(corpus.config, language)}, {corpus.split})"
    return ", ".join(fill(p, language) for p in corpus.paths) or "the sample"
