"""Documents of a corpus in one language: the sample, files, or a data set of the Hub.

Everything is streamed. A row that cannot be used becomes ``Dropped`` with a reason; a missing file, a damaged file or a
missing column makes the whole corpus unusable and raises ``CorpusError``.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from x_instruction.config.corpus import Corpus
from x_instruction.corpus import known_sets, streamed
from x_instruction.corpus.cells import LicenseError, license_of, text_of
from x_instruction.corpus.files import digest, fill, find, is_local
from x_instruction.corpus.quality import digest as head_digest
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


def read(corpus: Corpus, language: Language) -> Iterator[Document | Dropped]:
    """Documents of one language, in the order of the source, at most ``corpus.documents`` rows.

    Raises:
        CorpusError: the corpus cannot be read, or holds no document.
    """
    errors: Counter[str] = Counter()
    documents = 0
    for number, document in enumerate(SOURCES[corpus.source](corpus, language), start=1):
        if isinstance(document, Dropped):
            errors[document.reason] += 1
        else:
            documents += 1
        yield document
        if corpus.documents is not None and number >= corpus.documents:
            break
    if not documents:
        reasons = ", ".join(f"{reason} {n}" for reason, n in errors.most_common()) or "it is empty"
        raise CorpusError(
            f"no document in {_where(corpus, language)} ({reasons}): check the corpus of {language.tag!r}"
        )


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
            digests[path] = f"{filesystem.ukey(path)}"
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


def _files_source(corpus: Corpus, language: Language) -> Iterator[Document | Dropped]:
    columns = (corpus.text_column, corpus.id_column, corpus.url_column, corpus.license_column)
    files = find(corpus.paths, language)
    for _, path in files:
        suffix(path)  # refuse an unknown suffix before hours are spent on the files before it
    for filesystem, path in files:
        name = path.rstrip("/").split("/")[-1]
        try:
            stream = filesystem.open(path, "rb")
        except OSError as error:
            raise CorpusError(f"cannot open {path}: {error.strerror or error}; check its permissions") from error
        with stream:
            table = rows(stream, path, columns, corpus.max_row_bytes)
            yield from _documents(table, columns, path, name, corpus.license)


def _hub(corpus: Corpus, language: Language) -> Iterator[Document | Dropped]:
    columns = (corpus.text_column, corpus.id_column, corpus.url_column, corpus.license_column)
    config = fill(corpus.config, language) if corpus.config else None
    table = streamed.stream(corpus.dataset or "", config, corpus.split, corpus.revision)
    # Only the last part of a local path is kept: published data must not contain the paths of a machine.
    folder = Path(corpus.dataset or "")
    name = folder.name if folder.is_dir() else corpus.dataset or ""
    source = f"{name}/{config}" if config else name
    yield from _documents(table, columns, source, source, corpus.license)


def _documents(
    table: Iterator[Row], columns: tuple[str, ...], path: str, source: str, license: str
) -> Iterator[Document | Dropped]:
    """Documents from rows. ``columns`` are the names of text, id, URL and licence, in this order."""
    text_column, id_column, url_column, license_column = columns
    known = False  # once one row had the text column, a row without it is damaged and the recipe is right
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
    "files": _files_source,
    "hub": _hub,
}


def _parquet_rows(filesystem: Any, path: str) -> int:
    with filesystem.open(path, "rb") as stream:
        return parquet_rows(stream, path)


def _where(corpus: Corpus, language: Language) -> str:
    if corpus.source == "hub":
        return f"{corpus.dataset} ({corpus.config and fill(corpus.config, language)}, {corpus.split})"
    return ", ".join(fill(p, language) for p in corpus.paths) or "the sample"
