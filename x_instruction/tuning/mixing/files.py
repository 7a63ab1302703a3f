"""Files in, a folder of Parquet files with a report out."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from x_instruction.corpus.files import digest
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import language
from x_instruction.recipe import flatten
from x_instruction.records import Dropped, dropped
from x_instruction.records import as_row as dropped_row
from x_instruction.records import schema as record_schema
from x_instruction.seed.pairs import Pair, read_pairs
from x_instruction.shards import BATCH, atomic
from x_instruction.tuning.mixing import Row, mix
from x_instruction.tuning.mixing.recipe import Mixing
from x_instruction.tuning.mixing.stock import Kind, Stock
from x_instruction.tuning.mixing.tags import inference

if TYPE_CHECKING:
    import pyarrow as pa

REPORT = "mix.json"
_OURS = r"mix\.json|dropped\.parquet|train-\d+-of-\d+\.parquet|\..*\.tmp"


@dataclass(frozen=True, slots=True)
class Source:
    """A file of pairs.

    Args:
        path: where it is.
        kind: ``seed`` or ``web``.
        tag: language of its responses where rows do not say, or empty.
    """

    path: Path
    kind: Kind
    tag: str = ""


def sources(name: str, kind: Kind) -> list[Source]:
    """The files of ``PATH`` or ``TAG=PATH``; of a folder, its training files.

    Raises:
        RecipeError: no such language.
        CorpusError: nothing there.
    """
    tag, equals, path = name.partition("=")
    if not equals or Path(name).exists():
        tag, path = "", name
    folder = Path(path)
    files = sorted(folder.rglob("train-*.parquet")) if folder.is_dir() else [folder]
    if not files:
        raise CorpusError(f"{folder} holds no train-*.parquet: name a file, or a folder that `build` wrote")
    return [Source(file, kind, language(tag).tag if tag else "") for file in files]


def write(mixing: Mixing, data: Iterable[Source], out: Path) -> dict[str, Any]:
    """Mix files into a folder; its report is given back.

    Raises:
        CorpusError: a file cannot be read, or there is not enough matter for the recipe's counts.
        RecipeError: the folder holds something else.
    """
    strange = [path.name for path in sorted(out.glob("*")) if not re.fullmatch(_OURS, path.name)]
    if strange:
        raise RecipeError(f"{out} holds files that no mix wrote, as {strange[0]}: name another folder for --out")
    files = list(data)
    with tempfile.TemporaryDirectory(prefix="mix-") as scratch, Stock(Path(scratch)) as stock:
        let_go: Counter[str] = Counter()
        out.mkdir(parents=True, exist_ok=True)
        # What an earlier mix left goes first: files of two mixes never stand side by side.
        for old in [out / REPORT, *out.glob("train-*.parquet")]:
            old.unlink(missing_ok=True)
        gone = _counted(_stocked(mixing, files, stock), let_go)
        _parquet(out / "dropped.parquet", (dropped_row(record) for record in gone), record_schema(Dropped))
        stock.close()
        number, rows = mix(mixing, stock)
        report = _report(mixing, files, len(stock), let_go)
        total = max(1, -(-number // mixing.rows_per_file))
        seen = _seen(rows, report)
        for index in range(total):
            part = (_flat(row) for _, row in zip(range(mixing.rows_per_file), seen, strict=False))
            _parquet(out / f"train-{index:05d}-of-{total:05d}.parquet", part, schema())
        _sorted(report)
        # The report comes last: a folder that has one is whole.
        with atomic(out / REPORT) as stream:
            stream.write(json.dumps(report, indent=1, ensure_ascii=False).encode())
    return report


def _flat(row: Row) -> dict[str, str]:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__}


def schema() -> pa.Schema:
    """The one Arrow schema of every mix: text throughout, and none of it null."""
    import pyarrow as pa

    return pa.schema([pa.field(field.name, pa.string(), nullable=False) for field in dataclasses.fields(Row)])


def _stocked(mixing: Mixing, files: list[Source], stock: Stock) -> Iterator[Dropped]:
    """Put every usable pair into the stock; the others are given back."""
    wanted = {mixing.pivot, *mixing.languages}
    for source in files:
        position = 0
        for pair in read_pairs(source.path, mixing.max_row_bytes, source.tag, mixing.pivot):
            position += 1
            if isinstance(pair, Dropped):
                yield pair
                continue
            let_go = _unfit(pair, wanted, mixing)
            if let_go is None:
                known = _known(pair)
                if mixing.align == "position":
                    known = dataclasses.replace(known, id=f"{position:09d}")
                let_go = stock.add(known, source.kind)
            if let_go is not None:
                yield let_go


def _known(pair: Pair) -> Pair:
    tag, asked = language(pair.language).tag, language(pair.instruction_language).tag
    return dataclasses.replace(pair, language=tag, instruction_language=asked)


def _unfit(pair: Pair, wanted: set[str], mixing: Mixing) -> Dropped | None:
    """Why a pair cannot be in the mix, or None."""
    if not pair.instruction.strip():
        return dropped(pair.id, "no_instruction", "", pair.output)
    if not pair.output.strip():
        return dropped(pair.id, "no_output", "", pair.instruction)
    if not pair.language:
        detail = "the row does not say; write TAG=PATH for the file"
        return dropped(pair.id, "no_language", detail, pair.instruction)
    try:
        tags = {language(pair.language).tag, language(pair.instruction_language).tag}
    except RecipeError as error:
        return dropped(pair.id, "unknown_language", str(error), pair.instruction)
    for tag in sorted(tags - wanted):
        reason = "held_out" if tag in mixing.held_out else "other_language"
        return dropped(pair.id, reason, tag, pair.instruction)
    return None


def _counted(records: Iterable[Dropped], counts: Counter[str]) -> Iterator[Dropped]:
    for record in records:
        counts[record.reason] += 1
        yield record


def _report(mixing: Mixing, files: list[Source], items: int, let_go: Counter[str]) -> dict[str, Any]:
    tagged = [section for section in (mixing.humpback, mixing.x_instruction) if section is not None]
    return {
        "recipe": flatten({name: value for name, value in dataclasses.asdict(mixing).items() if value is not None}),
        # Names and contents only: where a file lies on a machine is nobody's business.
        "inputs": [{"name": s.path.name, "kind": s.kind, "sha256": digest(s.path)} for s in files],
        "items": items,
        "dropped": dict(sorted(let_go.items())),
        "rows": 0,
        "by_mixer": Counter[str](),
        "by_shape": Counter[str](),
        "by_language": Counter[str](),
        "by_direction": Counter[str](),
        "inference": {tag: inference(section, tag) for section in tagged for tag in mixing.languages},
    }


def _seen(rows: Iterator[Row], report: dict[str, Any]) -> Iterator[Row]:
    for row in rows:
        report["rows"] += 1
        report["by_mixer"][row.mixer] += 1
        report["by_shape"][f"{row.mixer}.{row.shape}"] += 1
        report["by_language"][row.language] += 1
        report["by_direction"][f"{row.prompt_language}-{row.language}"] += 1
        yield row


def _sorted(report: dict[str, Any]) -> None:
    for name in ("by_mixer", "by_shape", "by_language", "by_direction"):
        report[name] = dict(sorted(report[name].items()))


def _parquet(path: Path, rows: Iterator[dict[str, Any]], fixed: pa.Schema) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic(path) as stream, pq.ParquetWriter(stream, fixed, compression="zstd") as writer:
        while batch := [row for _, row in zip(range(BATCH), rows, strict=False)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=fixed))
