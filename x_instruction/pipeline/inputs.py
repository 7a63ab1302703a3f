"""Passages that a caller gives in memory, written into the run's folder so that the run can be resumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from x_instruction.config.recipe import Recipe
from x_instruction.errors import CorpusError, RecipeError, XInstructionError
from x_instruction.languages import language
from x_instruction.storage.atomic import atomic, file_digest

if TYPE_CHECKING:
    import pyarrow as pa

Text = str | Mapping[str, Any]
Passages = Iterable[Text] | Mapping[str, Iterable[Text]]

FOLDER = "input"
_BATCH = 1_000


def write_passages(settings: Recipe, passages: Passages, root: Path) -> Recipe:
    """Write texts to ``<root>/input/<language>.parquet`` and point the recipe's corpus there.

    The same texts give the same file, so a repeated call resumes the run.

    Args:
        passages: for a recipe of one language an iterable of texts; otherwise a dictionary of iterables by language.
            A text is a string, or a mapping such as a row of a ``datasets.Dataset``, read with the recipe's
            ``corpus.text_column``, ``id_column``, ``url_column`` and ``license_column``.

    Raises:
        RecipeError: a language is missing or unknown, an iterable has no text, or an item is not a text.
        CorpusError: an iterable raised an exception. Nothing of its language is written.
    """
    for tag, texts in _by_language(settings, passages).items():
        _write(settings, tag, texts, root / FOLDER / f"{tag}.parquet")
    corpus = settings.corpus.model_copy(
        update={"source": "files", "paths": (str(root / FOLDER / "{tag}.parquet"),), "dataset": None}
    )
    return settings.model_copy(update={"corpus": corpus})


def _by_language(settings: Recipe, passages: Passages) -> dict[str, Iterable[Text]]:
    if isinstance(passages, str | bytes):
        raise RecipeError("passages is one string, expected an iterable of texts: put it into a list")
    # A data set has columns and is no mapping; a dictionary of splits is one, and its keys are not languages.
    if not isinstance(passages, Mapping):
        if len(settings.languages) != 1:
            raise RecipeError(
                f"passages is one iterable and the recipe has {len(settings.languages)} languages: pass a dictionary "
                "of iterables by language, or one language in languages"
            )
        return {settings.languages[0]: passages}
    given = {language(tag).tag: texts for tag, texts in passages.items()}
    if missing := [tag for tag in settings.languages if tag not in given]:
        raise RecipeError(f"passages has no texts for {', '.join(missing)}: add them, or leave the languages out")
    return {tag: given[tag] for tag in settings.languages}


def _write(settings: Recipe, tag: str, texts: Iterable[Text], path: Path) -> None:
    """Write one language; a file with the same content is left as it is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = _rows(settings, tag, texts)
    first = next(rows, None)
    if first is None:
        raise RecipeError(f"passages for {tag} ended before the first text: expected at least one")
    schema = pa.schema([(name, pa.string()) for name in first])
    fresh = path.with_name(f"new-{path.name}")
    try:
        with atomic(fresh) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
            for batch in _batches(chain([first], rows), schema):
                writer.write_batch(batch)
        if not path.exists() or file_digest(path) != file_digest(fresh):
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _rows(settings: Recipe, tag: str, texts: Iterable[Text]) -> Iterator[dict[str, str | None]]:
    number = 0
    try:
        for number, item in enumerate(texts, start=1):
            yield _row(settings, tag, number - 1, item)
    except (XInstructionError, GeneratorExit):
        raise
    except Exception as error:
        # Code of the caller: whatever it raises, the texts so far are not all of them.
        count = f"{number} text{'s' if number != 1 else ''}"
        raise CorpusError(f"passages for {tag} ended early, after {count}: {error!r}") from error


def _row(settings: Recipe, tag: str, number: int, item: Text) -> dict[str, str | None]:
    """The columns that the corpus reads, as text."""
    corpus = settings.corpus
    names = (corpus.text_column, corpus.id_column, corpus.url_column, corpus.license_column)
    row: Mapping[str, Any] = {corpus.text_column: item} if isinstance(item, str) else item
    if not isinstance(row, Mapping) or not isinstance(row.get(corpus.text_column), str):
        raise RecipeError(
            f"passages for {tag}, item {number}: got {type(item).__name__}, expected a string or a mapping whose "
            f"{corpus.text_column!r} is a string (corpus.text_column names the key)"
        )
    return {name: None if row.get(name) is None else str(row[name]) for name in names}


def _batches(rows: Iterator[dict[str, str | None]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    while batch := list(islice(rows, _BATCH)):
        yield pa.RecordBatch.from_pylist(batch, schema=schema)
