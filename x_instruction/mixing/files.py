"""Mix files into a folder of Parquet files with a report."""

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
from typing import TYPE_CHECKING, Any, NamedTuple

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
# Names of the files of a mix; a folder with any other file is not overwritten.
_FILES = r"mix\.json|dropped\.parquet|train-\d+-of-\d+\.parquet|\..*\.tmp"


@dataclass(frozen=True, slots=True)
class Source:
    """A file of pairs.

    Args:
        path: the file.
        kind: ``seed`` or ``web``.
        tag: language of the responses for rows that do not name one, or empty.
    """

    path: Path
    kind: Kind
    tag: str = ""


def sources(name: str, kind: Kind) -> list[Source]:
    """The files that ``PATH`` or ``TAG=PATH`` names; for a folder, its ``train-*.parquet`` files.

    Raises:
        RecipeError: no such language.
        CorpusError: the folder has no such files.
    """
    tag, equals, path = name.partition("=")
    if not equals or Path(name).exists():
        tag, path = "", name
    folder = Path(path)
    files = sorted(folder.rglob("train-*.parquet")) if folder.is_dir() else [folder]
    if not files:
        raise CorpusError(f"{folder} has no train-*.parquet: name a file, or a folder from `x-instruction build`")
    return [Source(file, kind, language(tag).tag if tag else "") for file in files]


class InferenceTags(NamedTuple):
    """What to end prompts of a trained model with.

    Args:
        tags: the end of a prompt, by the language of the answer.
        everywhere: prompts in the language of the answer end so, too. Only Humpback trains on such rows.
    """

    tags: dict[str, str]
    everywhere: bool


def inference_tags(path: Path) -> InferenceTags:
    """The tags to prompt with, from the report of a mix or of a trained model; none without a file.

    Raises:
        CorpusError: the file is damaged.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
        is_humpback = any(key.startswith("humpback.") for key in table.get("recipe", {}))
        return InferenceTags(dict(table.get("inference", {})), bool(table.get("everywhere", is_humpback)))
    except FileNotFoundError:
        return InferenceTags({}, False)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CorpusError(f"{path} is damaged ({error}): mix or train again") from None


def write(mixing: MixRecipe, data: Iterable[Source], out: Path) -> dict[str, Any]:
    """Mix files into a folder and return the report.

    Args:
        mixing: the recipe.
        data: the files of pairs.
        out: the folder; may have an earlier mix, which is replaced.

    Raises:
        CorpusError: a file cannot be read, no row fits the recipe, or there are not enough items for its counts. Then
            nothing is written.
        RecipeError: the folder has other files.
    """
    other = [path.name for path in sorted(out.glob("*")) if not re.fullmatch(_FILES, path.name)]
    if other:
        raise RecipeError(f"{out} has files that are not of a mix, such as {other[0]}: name another folder for --out")
    files = list(data)
    with tempfile.TemporaryDirectory(prefix="mix-") as scratch, ExamplePool(Path(scratch)) as pool:
        reasons: Counter[str] = Counter()
        directions: Counter[tuple[str, str]] = Counter()
        # In the temporary folder first: until the mix is known to succeed, an earlier one in ``out`` is kept.
        dropped_rows = Path(scratch) / "dropped.parquet"
        records = _counted(_add_pairs(mixing, files, pool, directions), reasons)
        _parquet(dropped_rows, (dropped_row(record) for record in records), record_schema(Dropped))
        pool.freeze()
        try:
            number, rows = mix(mixing, pool)
            if not number:
                raise CorpusError(f"no row fits recipe {mixing.name}, which needs {_needed(mixing, pool)}")
        except CorpusError as error:
            raise CorpusError(f"{error}; the data has {_present(mixing, pool, directions, reasons)}") from None
        out.mkdir(parents=True, exist_ok=True)
        # The earlier mix is removed before the first new file, so that files of two mixes are never side by side.
        for old in [out / REPORT, *out.glob("train-*.parquet")]:
            old.unlink(missing_ok=True)
        with atomic(out / dropped_rows.name) as stream, open(dropped_rows, "rb") as source:
            shutil.copyfileobj(source, stream)
        report = _report(mixing, files, len(pool), reasons)
        total = max(1, -(-number // mixing.rows_per_file))
        counted = _count_rows(rows, mixing, report)
        for index in range(total):
            part = (_flat(row) for _, row in zip(range(mixing.rows_per_file), counted, strict=False))
            _parquet(out / f"train-{index:05d}-of-{total:05d}.parquet", part, schema())
        _finish_report(mixing, report)
        # The report is written last: a folder with a report is complete.
        with atomic(out / REPORT) as stream:
            stream.write(json.dumps(report, indent=1, ensure_ascii=False).encode())
    return report


def _needed(mixing: MixRecipe, pool: ExamplePool) -> str:
    """The languages that the recipe needs, for a message."""
    needed = [
        f"all of {', '.join(allocation.required_languages)}"
        if allocation.required_languages
        else f"{allocation.prompt_language} to {allocation.language}"
        for _, _, group in groups(mixing, pool)
        for allocation in group.allocations
    ]
    return f"{', '.join(dict.fromkeys(needed))} (instruction to response)"


def _present(mixing: MixRecipe, pool: ExamplePool, directions: Counter[tuple[str, str]], reasons: Counter[str]) -> str:
    """The languages that the data has, for a message, with a remedy if its languages or ids are the problem."""
    if not directions:
        return f"no usable row ({', '.join(f'{reason} {number}' for reason, number in sorted(reasons.items()))})"
    present = ", ".join(f"{source} to {target} ({number:,})" for (source, target), number in directions.most_common())
    tags = sorted({target for _, target in directions} - {mixing.pivot})
    if tags and not {*tags} & {*mixing.languages}:
        return f"{present}: for these languages, add --set 'languages={json.dumps(tags)}'"
    across = [
        allocation
        for name, _, group in groups(mixing, pool)
        for allocation in group.allocations
        if name in ("crossin", "afp") and allocation.prompt_language != allocation.language
    ]
    if across and not any(eligible(pool, allocation).any() for allocation in across):
        present += (
            ", and no item is in both languages: give translations of a row one id, or set align = 'position' if "
            "the files have them in the same order"
        )
    return present


def _flat(row: Row) -> dict[str, str]:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__}


def schema() -> pa.Schema:
    """The Arrow schema of every mix: only text columns, none of them nullable."""
    import pyarrow as pa

    return pa.schema([pa.field(field.name, pa.string(), nullable=False) for field in dataclasses.fields(Row)])


def _add_pairs(
    mixing: MixRecipe, files: list[Source], pool: ExamplePool, directions: Counter[tuple[str, str]]
) -> Iterator[Dropped]:
    """Add every usable pair to the pool, and yield the others. Counts pairs by their two languages."""
    languages = {mixing.pivot, *mixing.languages}
    for source in files:
        position = 0
        for pair in read_pairs(source.path, mixing.max_row_bytes, source.tag, mixing.pivot):
            position += 1
            if isinstance(pair, Dropped):
                yield pair
                continue
            record = _unusable(pair, languages, mixing)
            if record is None or record.reason in ("held_out", "other_language"):
                tagged = _with_tags(pair)
                directions[tagged.instruction_language, tagged.language] += 1
            if record is None:
                if mixing.align == "position":
                    tagged = dataclasses.replace(tagged, id=f"{position:09d}")
                record = pool.add(tagged, source.kind)
            if record is not None:
                yield record


def _with_tags(pair: Pair) -> Pair:
    """The pair with its languages as tags instead of aliases."""
    tag, instruction_tag = language(pair.language).tag, language(pair.instruction_language).tag
    return dataclasses.replace(pair, language=tag, instruction_language=instruction_tag)


def _unusable(pair: Pair, languages: set[str], mixing: MixRecipe) -> Dropped | None:
    """Why a pair cannot be in the mix, or None."""
    if not pair.instruction.strip():
        return dropped(pair.id, "no_instruction", "", pair.output)
    if not pair.output.strip():
        return dropped(pair.id, "no_output", "", pair.instruction)
    if not pair.language:
        detail = "the row names no language; write TAG=PATH for the file"
        return dropped(pair.id, "no_language", detail, pair.instruction)
    try:
        tags = {language(pair.language).tag, language(pair.instruction_language).tag}
    except RecipeError as error:
        return dropped(pair.id, "unknown_language", str(error), pair.instruction)
    for tag in sorted(tags - languages):
        reason = "held_out" if tag in mixing.held_out else "other_language"
        return dropped(pair.id, reason, tag, pair.instruction)
    return None


def _counted(records: Iterable[Dropped], counts: Counter[str]) -> Iterator[Dropped]:
    for record in records:
        counts[record.reason] += 1
        yield record


def _report(mixing: MixRecipe, files: list[Source], items: int, reasons: Counter[str]) -> dict[str, Any]:
    return {
        "recipe": flatten({name: value for name, value in mixing if value is not None}),
        # Mixes are published, so the report has the names and digests of files, never their paths.
        "inputs": [{"name": s.path.name, "kind": s.kind, "sha256": digest(s.path)} for s in files],
        "items": items,
        "dropped": dict(sorted(reasons.items())),
        "rows": 0,
        "by_mixer": Counter[str](),
        "by_shape": Counter[str](),
        "by_language": Counter[str](),
        "by_direction": Counter[str](),
        "by_tag": Counter[str](),
        "without_rows": list(mixing.languages),
        "inference": {},
    }


def _count_rows(rows: Iterator[Row], mixing: MixRecipe, report: dict[str, Any]) -> Iterator[Row]:
    missing = report["without_rows"]
    for row in rows:
        # An instruction in the pivot is no row of the pivot: other languages are asked from it.
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


def _finish_report(mixing: MixRecipe, report: dict[str, Any]) -> None:
    for name in ("by_mixer", "by_shape", "by_language", "by_direction", "by_tag"):
        report[name] = dict(sorted(report[name].items()))
    tagged = [section for section in (mixing.humpback, mixing.x_instruction) if section is not None]
    tags = {tag: inference(section, tag, report["by_tag"]) for section in tagged for tag in mixing.languages}
    report["inference"] = {tag: text for tag, text in tags.items() if text}


def _parquet(path: Path, rows: Iterator[dict[str, Any]], schema: pa.Schema) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic(path) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        while batch := [row for _, row in zip(range(BATCH), rows, strict=False)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
