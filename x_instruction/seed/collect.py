"""Files of any form in, one file of seeds with its report out."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from x_instruction.config.recipe import Seeds, flatten
from x_instruction.corpus.files import digest
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import Language
from x_instruction.records import Dropped, as_row, schema
from x_instruction.seed import pairs, parallel, trees
from x_instruction.seed.contamination import ContaminationIndex
from x_instruction.seed.files import read_rows
from x_instruction.seed.pairs import Pair
from x_instruction.seed.screen import screen
from x_instruction.storage.atomic import atomic

READERS = {"trees": trees.read_trees, "parallel": parallel.read_parallel, "pairs": pairs.read_pairs}


def form(path: Path, limit: int) -> str:
    """What a file holds, by the columns of its first row that can be read; one without rows holds no ``pairs``.

    Raises:
        CorpusError: it cannot be read, or no row of it can.
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


def collect(paths: Iterable[Path], settings: Seeds, wanted: Language, out: Path) -> dict[str, Any]:
    """Write the seeds of one language; the report is given back.

    Beside ``out`` stand its ``.report.json`` and its ``.dropped.parquet``. Where no seed is kept the file is empty and
    these say why: other languages may have some.

    Args:
        paths: the sources.
        settings: the recipe's section.
        wanted: language of the responses.
        out: a ``.jsonl`` or ``.parquet`` file.

    Raises:
        RecipeError: another suffix, or no identifier knows the language.
        CorpusError: a source or an evaluation set cannot be read.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise RecipeError(f"{out} is neither .jsonl nor .parquet")
    sources = list(paths)
    evaluations = ContaminationIndex(settings.overlap_words)
    compared = {Path(name).name: evaluations.read(Path(name), settings.max_row_bytes) for name in settings.evaluation}
    kept: list[Pair] = []
    gone: list[Dropped] = []
    own = settings.of(wanted.tag)
    for record in screen(read(sources, own, wanted), own, wanted, evaluations):
        if isinstance(record, Dropped):
            gone.append(record)
        else:
            kept.append(record)
    return store(out, wanted, kept, gone, {"evaluation": compared} | described(sources, settings))


def store(
    out: Path, wanted: Language, kept: Sequence[Pair], gone: Sequence[Dropped], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a file of seeds, its ``.report.json`` and its ``.dropped.parquet``; the report is given back.

    Args:
        out: a ``.jsonl`` or ``.parquet`` file.
        wanted: language of the responses.
        kept: the seeds.
        gone: what was let go.
        more: what the report says besides their numbers.
    """
    report = {
        "language": wanted.tag,
        "rows_in": len(kept) + len(gone),
        "kept": len(kept),
        "dropped": dict(sorted(Counter(record.reason for record in gone).items())),
        "by_source": dict(sorted(Counter(pair.source for pair in kept).items())),
        "by_license": dict(sorted(Counter(pair.license for pair in kept).items())),
        **more,
    }
    with atomic(out.with_suffix(".dropped.parquet")) as stream:
        _parquet(stream, [as_row(record) for record in gone], schema(Dropped))
    with atomic(out.with_suffix(".report.json")) as stream:
        stream.write(json.dumps(report, indent=1, ensure_ascii=False).encode())
    rows = [pairs.as_row(pair) for pair in kept]
    # The seeds come last: a file of them that exists is whole.
    with atomic(out) as stream:
        if out.suffix == ".parquet":
            _parquet(stream, rows, _pair_schema())
        else:
            for row in rows:
                stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return report


def none_kept(wanted: Language, sources: Iterable[Path], reasons: Mapping[str, int]) -> str:
    """What a person is told of a language of which no seed is kept.

    Args:
        reasons: why rows were dropped, and how many.
    """
    seen = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items())) or "they are empty"
    return f"no seed of {wanted.name} in {', '.join(path.name for path in sources)} ({seen})"


def described(sources: Iterable[Path], settings: Seeds) -> dict[str, Any]:
    """What decides a file of seeds: the digests of its sources, and the settings."""
    return {
        "inputs": {path.name: digest(path) for path in sources},
        # Where files lie on a machine is nobody's business; their names are above.
        "settings": {
            key: value for key, value in flatten(settings).items() if key not in ("evaluation", "paths", "languages")
        },
    }


def read(paths: Iterable[Path], settings: Seeds, wanted: Language) -> Iterator[Pair | Dropped]:
    """Pairs of files of any form, their language filled in where the rows do not say."""
    limit = settings.max_row_bytes
    for path in paths:
        kind = form(path, limit) if settings.form == "auto" else settings.form
        for record in READERS[kind](path, limit, wanted.tag, settings.instruction_language, settings.license):
            if isinstance(record, Pair) and not record.language:
                record = dataclasses.replace(record, language=wanted.tag)
            yield record


def _pair_schema() -> Any:
    """The Arrow schema of a file of seeds: text throughout, and none of it null."""
    import pyarrow as pa

    return pa.schema([pa.field(field.name, pa.string(), nullable=False) for field in dataclasses.fields(Pair)])


def _parquet(stream: Any, rows: list[dict[str, Any]], fixed: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows, schema=fixed), stream, compression="zstd")
