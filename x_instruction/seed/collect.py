"""Collect seeds: read files of any layout, screen their pairs, write one file of seeds with its report."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from x_instruction.config.seeds import Seeds
from x_instruction.corpus.contamination import ContaminationIndex
from x_instruction.corpus.files import digest
from x_instruction.corpus.rows import RowError
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import Language
from x_instruction.records import Dropped, as_row, schema
from x_instruction.seed import pairs, parallel, trees
from x_instruction.seed.files import read_rows
from x_instruction.seed.pairs import Pair
from x_instruction.seed.screen import screen
from x_instruction.storage.atomic import atomic

READERS = {"trees": trees.read_trees, "parallel": parallel.read_parallel, "pairs": pairs.read_pairs}


def detect_format(path: Path, limit: int) -> str:
    """The layout of a file, ``trees``, ``parallel`` or ``pairs``, by the columns of its first readable row.

    A file without rows counts as ``pairs``.

    Raises:
        CorpusError: the file cannot be read, or none of its rows can.
    """
    empty = True
    columns = tuple(dict.fromkeys((*trees.COLUMNS, *parallel.COLUMNS, *pairs.COLUMNS)))
    for _, row in read_rows(path, columns, limit):
        empty = False
        if isinstance(row, RowError):
            continue
        if isinstance(row.get("prompt"), dict) or "parent_id" in row:
            return "trees"
        return "parallel" if "title_en" in row and "text" in row else "pairs"
    if empty:
        return "pairs"
    raise CorpusError(f"{path} holds no row that can be read: expected JSON with one object per row, CSV or Parquet")


def collect(paths: Iterable[Path], settings: Seeds, target: Language, out: Path) -> dict[str, Any]:
    """Write the seeds of one language and return the report.

    Also writes ``.report.json`` and ``.dropped.parquet`` beside ``out``. If no seed is kept, ``out`` is empty and these
    two say why; this is not an error, because other languages may have seeds.

    Args:
        paths: the source files.
        settings: the section ``seeds`` of the recipe.
        target: language of the responses.
        out: a ``.jsonl`` or ``.parquet`` file.

    Raises:
        RecipeError: another suffix, or no identifier knows the language.
        CorpusError: a source or an evaluation set cannot be read.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise RecipeError(f"cannot write {out}: expected a name that ends in .jsonl or .parquet")
    sources = list(paths)
    evaluations = ContaminationIndex(settings.overlap_words)
    compared = {Path(name).name: evaluations.read(Path(name), settings.max_row_bytes) for name in settings.exclude_eval}
    kept: list[Pair] = []
    rejected: list[Dropped] = []
    language_settings = settings.of(target.tag)
    for record in screen(read(sources, language_settings, target), language_settings, target, evaluations):
        if isinstance(record, Dropped):
            rejected.append(record)
        else:
            kept.append(record)
    return store(out, target, kept, rejected, {"evaluation": compared} | provenance(sources, settings))


def store(
    out: Path, target: Language, kept: Sequence[Pair], rejected: Sequence[Dropped], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a file of seeds, its ``.report.json`` and its ``.dropped.parquet``, and return the report.

    Args:
        out: a ``.jsonl`` or ``.parquet`` file.
        target: language of the responses.
        kept: the seeds.
        rejected: the dropped rows.
        extra: further entries of the report.
    """
    report = {
        "language": target.tag,
        "rows_in": len(kept) + len(rejected),
        "kept": len(kept),
        "dropped": dict(sorted(Counter(record.reason for record in rejected).items())),
        "by_source": dict(sorted(Counter(pair.source for pair in kept).items())),
        "by_license": dict(sorted(Counter(pair.license for pair in kept).items())),
        **extra,
    }
    with atomic(out.with_suffix(".dropped.parquet")) as stream:
        write_dropped(stream, [as_row(record) for record in rejected])
    with atomic(out.with_suffix(".report.json")) as stream:
        stream.write(json.dumps(report, indent=1, ensure_ascii=False).encode())
    rows = [pairs.as_row(pair) for pair in kept]
    # The seeds are written last: if their file exists, all three are complete.
    with atomic(out) as stream:
        if out.suffix == ".parquet":
            _parquet(stream, rows, _pair_schema())
        else:
            for row in rows:
                stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return report


def none_kept(target: Language, sources: Iterable[Path], reasons: Mapping[str, int]) -> str:
    """The message for a language without any seed.

    Args:
        reasons: number of dropped rows by reason.
    """
    shown = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items())) or "no rows"
    return f"no usable seed in {target.name} in {', '.join(path.name for path in sources)} ({shown})"


def provenance(sources: Iterable[Path], settings: Seeds) -> dict[str, Any]:
    """Everything that determines the seeds: digests of the source files, and the settings."""
    return {
        "inputs": {path.name: digest(path) for path in sources},
        "exclude_eval": {Path(name).name: digest(Path(name)) for name in settings.exclude_eval},
        "settings": fingerprint(settings),
    }


def read(paths: Iterable[Path], settings: Seeds, target: Language) -> Iterator[Pair | Dropped]:
    """Pairs of files of any layout, with ``target`` as the language of rows that do not give one."""
    limit = settings.max_row_bytes
    for path in paths:
        layout = detect_format(path, limit) if settings.format == "auto" else settings.format
        for record in READERS[layout](path, limit, target.tag, settings.instruction_language, settings.license):
            if isinstance(record, Pair) and not record.language:
                record = dataclasses.replace(record, language=target.tag)
            yield record


def _pair_schema() -> Any:
    """The Arrow schema of a file of seeds: strings that are never null."""
    import pyarrow as pa

    return pa.schema([pa.field(field.name, pa.string(), nullable=False) for field in dataclasses.fields(Pair)])


def write_dropped(stream: Any, rows: list[dict[str, Any]]) -> None:
    """Write dropped records as Parquet."""
    _parquet(stream, rows, schema(Dropped))


def _parquet(stream: Any, rows: list[dict[str, Any]], fixed: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows, schema=fixed), stream, compression="zstd")
