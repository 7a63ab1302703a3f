"""Files in, a folder of Parquet files with a report out."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from x_instruction.config.mixing import MixRecipe
from x_instruction.config.section import flatten
from x_instruction.corpus.files import digest
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import language
from x_instruction.mixing import Row, groups, mix
from x_instruction.mixing.allocation import eligible
from x_instruction.mixing.pool import ExamplePool, Kind
from x_instruction.mixing.tags import inference
from x_instruction.records import Dropped, dropped
from x_instruction.records import as_row as dropped_row
from x_instruction.records import schema as record_schema
from x_instruction.seed.pairs import Pair, read_pairs
from x_instruction.storage.atomic import atomic
from x_instruction.storage.run_folder import BATCH

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


def asked_with(path: Path) -> dict[str, str]:
    """The tag to ask with for each language, as a mix's report or a tuned model's says; none where there is no file.

    Raises:
        CorpusError: the file is damaged.
    """
    try:
        return dict(json.loads(path.read_text("utf-8")).get("inference", {}))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CorpusError(f"{path} is damaged ({error}): mix or tune again") from None


def write(mixing: MixRecipe, data: Iterable[Source], out: Path) -> dict[str, Any]:
    """Mix files into a folder; its report is given back.

    Raises:
        CorpusError: a file cannot be read, no row fits, or there is not enough matter for the recipe's counts; then
            nothing is written.
        RecipeError: the folder holds something else.
    """
    strange = [path.name for path in sorted(out.glob("*")) if not re.fullmatch(_OURS, path.name)]
    if strange:
        raise RecipeError(f"{out} holds files that no mix wrote, as {strange[0]}: name another folder for --out")
    files = list(data)
    with tempfile.TemporaryDirectory(prefix="mix-") as scratch, ExamplePool(Path(scratch)) as stock:
        let_go: Counter[str] = Counter()
        there: Counter[tuple[str, str]] = Counter()
        gone = _counted(_stocked(mixing, files, stock, there), let_go)
        dropped_rows = Path(scratch) / "dropped.parquet"
        _parquet(dropped_rows, (dropped_row(record) for record in gone), record_schema(Dropped))
        stock.close()
        try:
            number, rows = mix(mixing, stock)
            if not number:
                raise CorpusError(f"no row fits recipe {mixing.name}, which wants {_wanted(mixing, stock)}")
        except CorpusError as error:
            raise CorpusError(f"{error}; the data has {_there(mixing, stock, there, let_go)}") from None
        out.mkdir(parents=True, exist_ok=True)
        # What an earlier mix left goes first: files of two mixes never stand side by side.
        for old in [out / REPORT, *out.glob("train-*.parquet")]:
            old.unlink(missing_ok=True)
        with atomic(out / dropped_rows.name) as stream, open(dropped_rows, "rb") as source:
            shutil.copyfileobj(source, stream)
        report = _report(mixing, files, len(stock), let_go)
        total = max(1, -(-number // mixing.rows_per_file))
        seen = _seen(rows, mixing, report)
        for index in range(total):
            part = (_flat(row) for _, row in zip(range(mixing.rows_per_file), seen, strict=False))
            _parquet(out / f"train-{index:05d}-of-{total:05d}.parquet", part, schema())
        _finished(mixing, report)
        # The report comes last: a folder that has one is whole.
        with atomic(out / REPORT) as stream:
            stream.write(json.dumps(report, indent=1, ensure_ascii=False).encode())
    return report


def _wanted(mixing: MixRecipe, stock: ExamplePool) -> str:
    cells = [cell for _, _, group in groups(mixing, stock) for cell in group.cells]
    found = [f"all of {', '.join(cell.whole)}" if cell.whole else f"{cell.ask} to {cell.answer}" for cell in cells]
    return f"{', '.join(dict.fromkeys(found))} (instruction to response)"


def _there(mixing: MixRecipe, stock: ExamplePool, there: Counter[tuple[str, str]], let_go: Counter[str]) -> str:
    """What the data has, and how to mix it where its languages or its ids are the reason that it does not fit."""
    if not there:
        return f"no usable row ({', '.join(f'{reason} {number}' for reason, number in sorted(let_go.items()))})"
    has = ", ".join(f"{ask} to {answer} ({number:,})" for (ask, answer), number in there.most_common())
    tags = sorted({answer for _, answer in there} - {mixing.pivot})
    if tags and not {*tags} & {*mixing.languages}:
        return f"{has}: for its languages say --set 'languages={json.dumps(tags)}'"
    crossing = [
        cell
        for name, _, group in groups(mixing, stock)
        for cell in group.cells
        if name in ("crossin", "afp") and cell.ask != cell.answer
    ]
    if crossing and not any(eligible(stock, cell).any() for cell in crossing):
        has += ', and no item has both sides: rows that say the same need one id in every language, or align="position"'
    return has


def _flat(row: Row) -> dict[str, str]:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__}


def schema() -> pa.Schema:
    """The one Arrow schema of every mix: text throughout, and none of it null."""
    import pyarrow as pa

    return pa.schema([pa.field(field.name, pa.string(), nullable=False) for field in dataclasses.fields(Row)])


def _stocked(
    mixing: MixRecipe, files: list[Source], stock: ExamplePool, there: Counter[tuple[str, str]]
) -> Iterator[Dropped]:
    """Put every usable pair into the stock; the others are given back. Languages of both sides are counted."""
    wanted = {mixing.pivot, *mixing.languages}
    for source in files:
        position = 0
        for pair in read_pairs(source.path, mixing.max_row_bytes, source.tag, mixing.pivot):
            position += 1
            if isinstance(pair, Dropped):
                yield pair
                continue
            let_go = _unfit(pair, wanted, mixing)
            if let_go is None or let_go.reason in ("held_out", "other_language"):
                known = _known(pair)
                there[known.instruction_language, known.language] += 1
            if let_go is None:
                if mixing.align == "position":
                    known = dataclasses.replace(known, id=f"{position:09d}")
                let_go = stock.add(known, source.kind)
            if let_go is not None:
                yield let_go


def _known(pair: Pair) -> Pair:
    tag, asked = language(pair.language).tag, language(pair.instruction_language).tag
    return dataclasses.replace(pair, language=tag, instruction_language=asked)


def _unfit(pair: Pair, wanted: set[str], mixing: MixRecipe) -> Dropped | None:
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


def _report(mixing: MixRecipe, files: list[Source], items: int, let_go: Counter[str]) -> dict[str, Any]:
    return {
        "recipe": flatten({name: value for name, value in mixing if value is not None}),
        # Names and contents only: where a file lies on a machine is nobody's business.
        "inputs": [{"name": s.path.name, "kind": s.kind, "sha256": digest(s.path)} for s in files],
        "items": items,
        "dropped": dict(sorted(let_go.items())),
        "rows": 0,
        "by_mixer": Counter[str](),
        "by_shape": Counter[str](),
        "by_language": Counter[str](),
        "by_direction": Counter[str](),
        "by_tag": Counter[str](),
        "without_rows": list(mixing.languages),
        "inference": {},
    }


def _seen(rows: Iterator[Row], mixing: MixRecipe, report: dict[str, Any]) -> Iterator[Row]:
    missing = report["without_rows"]
    for row in rows:
        # Other languages may be asked from the pivot: that makes it no row of its own.
        for tag in ({row.prompt_language} - {mixing.pivot} | {row.language}).intersection(missing):
            missing.remove(tag)
        report["rows"] += 1
        report["by_mixer"][row.mixer] += 1
        report["by_shape"][f"{row.mixer}.{row.shape}"] += 1
        report["by_language"][row.language] += 1
        report["by_direction"][f"{row.prompt_language}-{row.language}"] += 1
        if row.tag:
            report["by_tag"][row.tag] += 1
        yield row


def _finished(mixing: MixRecipe, report: dict[str, Any]) -> None:
    for name in ("by_mixer", "by_shape", "by_language", "by_direction", "by_tag"):
        report[name] = dict(sorted(report[name].items()))
    tagged = [section for section in (mixing.humpback, mixing.x_instruction) if section is not None]
    tags = {tag: inference(section, tag, report["by_tag"]) for section in tagged for tag in mixing.languages}
    report["inference"] = {tag: text for tag, text in tags.items() if text}


def _parquet(path: Path, rows: Iterator[dict[str, Any]], fixed: pa.Schema) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic(path) as stream, pq.ParquetWriter(stream, fixed, compression="zstd") as writer:
        while batch := [row for _, row in zip(range(BATCH), rows, strict=False)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=fixed))
