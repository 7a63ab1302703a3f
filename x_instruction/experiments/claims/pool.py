"""The documents of the experiments, and which of them are held out.

Documents are stories and help pages with their true English title and text. All translations of one have the same
``document``. Whole languages, one source and some documents of every language are held out of training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from x_instruction.config.fields import MAX_ROW_BYTES, NotNegative, Positive, Tags
from x_instruction.config.section import Section
from x_instruction.corpus.cells import text_of
from x_instruction.corpus.readers import rows, suffix
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError, UnknownLanguage
from x_instruction.hashing import digest
from x_instruction.languages import language

SHIPPED = Path(__file__).with_name("pool.jsonl.gz")
SEEN, UNSEEN_LANGUAGE, UNSEEN_SOURCE = "seen", "unseen_language", "unseen_source"
# Largest share of the documents that is held out to reach the sizes of the held-out sets.
MOST_HELD_OUT = 0.5
# Other names of fields: those that the converters in ``examples/`` write.
_OTHER_NAMES = {"title": "title_en", "language": "lang"}
_NEEDED = ("text", "title", "text_en", "language")


class PoolSettings(Section):
    """What is held out of training."""

    heldout_languages: Tags = ("ar", "fi", "hi", "ko", "tr", "uk", "vi", "xh")
    """Languages that are never trained on."""
    heldout_source: str = "pratham-books"
    """Source that is never trained on."""
    seen: Positive = 300
    """Most documents of languages that are trained on, in the set `seen`. None is trained on in any language."""
    unseen_language: Positive = 130
    """Most documents in `heldout_languages`, in the set `unseen_language`. None is trained on in any language."""
    unseen_source: Positive = 60
    """Most documents of `heldout_source` in languages that are trained on, in the set `unseen_source`."""
    development: Positive = 100
    """Most documents for the choice of settings, such as a threshold. None is trained on in any language."""
    seed: NotNegative = 0
    """Seed of what is held out."""


@dataclass(frozen=True, slots=True)
class Document:
    """A story or page in one language.

    Args:
        id: its id.
        document: id of the story or page, which all of its translations share.
        language: tag of the language of ``text``.
        source: name of the collection.
        title: its English title.
        text: its text.
        text_en: its English text.
        license: licence of all of them.
        author: names of its authors and translators, or empty.
    """

    id: str
    document: str
    language: str
    source: str
    title: str
    text: str
    text_en: str
    license: str = "unknown"
    author: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """A pool in parts.

    Args:
        train: documents to train on.
        development: documents for the choice of settings.
        heldout: documents to measure on, by name of the set: ``seen``, ``unseen_language`` and ``unseen_source``.
    """

    train: list[Document]
    development: list[Document]
    heldout: dict[str, list[Document]]


def read(path: Path | None = None) -> list[Document]:
    """The documents of a pool, in the order of its files.

    Args:
        path: a file in a format of ``corpus.readers``, such as JSON lines, or a folder of them; None for the pool that
            is part of the package.

    Raises:
        CorpusError: a file cannot be read, a row lacks a field or has an unknown language, or two rows have one id.
    """
    documents: dict[str, Document] = {}
    for file in _files(path or SHIPPED):
        for number, row in _rows(file):
            where = f"{file}, row {number}"
            if isinstance(row, RowError):
                raise CorpusError(f"{where}: {row.reason} ({row.detail}): correct or remove it")
            found = _document(row, where, file.name)
            if found.id in documents:
                raise CorpusError(f"{where}: the id {found.id!r} is that of another row; ids must be unique")
            documents[found.id] = found
    if not documents:
        raise CorpusError(f"{path} has no rows, expected documents with the fields {', '.join(_NEEDED)}")
    return list(documents.values())


def split(documents: Sequence[Document], settings: PoolSettings) -> Split:
    """The parts of a pool. They follow from the ids of documents and the seed, not from the order of the rows.

    Documents are held out in all languages until ``seen`` and ``unseen_language`` have their sizes, but no more than
    half of them. Then development is filled in the same way. Other documents of languages and sources that are not held
    out are for training.

    Raises:
        CorpusError: nothing is left for training.
    """
    own = [one for one in documents if one.source != settings.heldout_source]
    is_new = {tag: tag in settings.heldout_languages for tag in {one.language for one in own}}
    groups: dict[str, list[Document]] = {}
    for one in sorted(own, key=lambda one: digest([settings.seed, one.document])):
        groups.setdefault(one.document, []).append(one)
    seen, unseen = list[Document](), list[Document]()
    development, train = list[Document](), list[Document]()
    for number, group in enumerate(groups.values()):
        old = [one for one in group if not is_new[one.language]]
        if number < MOST_HELD_OUT * len(groups) and (
            len(seen) < settings.seen or (len(unseen) < settings.unseen_language and any(is_new.values()))
        ):
            seen += old
            unseen += [one for one in group if is_new[one.language]]
        elif len(development) < settings.development:
            development += old
        else:
            train += old
    if not train:
        raise CorpusError(
            f"of {len(documents)} documents none is left for training: add documents, or name fewer languages and "
            "another source in heldout_languages and heldout_source"
        )
    trained = {one.language for one in train}
    other = [one for one in documents if one.source == settings.heldout_source and one.language in trained]
    return Split(
        train=_drawn(train, len(train), settings.seed),
        development=_drawn(development, settings.development, settings.seed),
        heldout={
            SEEN: _drawn([one for one in seen if one.language in trained], settings.seen, settings.seed),
            UNSEEN_LANGUAGE: _drawn(unseen, settings.unseen_language, settings.seed),
            UNSEEN_SOURCE: _drawn(other, settings.unseen_source, settings.seed),
        },
    )


def _drawn(documents: Iterable[Document], most: int, seed: int) -> list[Document]:
    """So many documents, in an order that the digests of their ids decide."""
    return sorted(documents, key=lambda one: digest([seed, one.id]))[:most]


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise CorpusError(f"{path} does not exist, expected a file of documents or a folder of such files")
    if path.is_file():
        return [path]
    found = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not found:
        raise CorpusError(f"{path} has no files, expected files of documents such as pool.jsonl")
    return found


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    suffix(file.name)
    columns = ("text", *(one.name for one in fields(Document) if one.name != "text"), *_OTHER_NAMES.values())
    with open(file, "rb") as stream:
        yield from rows(stream, str(file), columns, MAX_ROW_BYTES)


def _document(row: Mapping[str, Any], where: str, name: str) -> Document:
    values = {
        one.name: text_of(row.get(one.name) or row.get(_OTHER_NAMES.get(one.name, ""))) for one in fields(Document)
    }
    missing = [field for field in _NEEDED if not values[field].strip()]
    if missing:
        raise CorpusError(
            f"{where} has no {' and no '.join(missing)}, expected the fields {', '.join(_NEEDED)}: title and text_en "
            "are the English title and text"
        )
    try:
        values["language"] = language(values["language"]).tag
    except UnknownLanguage as error:
        raise CorpusError(f"{where}: {error}") from error
    values["document"] = values["document"] or values["id"] or digest(values["text_en"])
    if not (values["id"] and row.get("document")):
        values["id"] = f"{values['language']}-{values['document']}"
    values["source"] = values["source"] or name
    return Document(**values | {"license": values["license"] or "unknown"})
