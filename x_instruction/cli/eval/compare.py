"""``x-instruction eval compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from x_instruction.cli.tables import Column, Format, Row, emit, format_options
from x_instruction.cli.wrapping import echo

if TYPE_CHECKING:
    from x_instruction.evaluation.comparison import Compared
    from x_instruction.evaluation.record import Record


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@format_options
def command(a: Path, b: Path, form: Format | None) -> None:
    """Compare the results A and B of two models.

    A and B are records that the commands of `eval` wrote (.json), or folders of them. If the records of a folder share
    metrics, as those of several systems do, records of the same file name are compared. The difference is B minus A.
    Where both have their instance files, it is taken on the samples that both have, and parentheses hold its 95 %
    interval by a paired bootstrap. An arrow marks differences whose interval excludes 0: ↑ better, ↓ worse.

    JSON and CSV also have side_by_side, Pinch's score of B against the reference A, such as a model trained in the
    language alone: 100 for a sample that B does better, 0 for one that A does, and 50 if they are equal. 50 is parity.
    """
    from x_instruction.evaluation.comparison import compare
    from x_instruction.evaluation.record import read_records

    left, right = read_records(a), read_records(b)
    found = compare(left, right)
    rows = [_row(compared) for compared in found]
    if not form:
        click.echo(f"A  {_models(left)}\nB  {_models(right)}\n")
    several = any(compared.record for compared in found)
    emit(rows, [Column("record", "record"), *_COLUMNS] if several else _COLUMNS, form)
    if not form and (rest := sum(not compared.pairs for compared in found)):
        echo(
            f"\ndifferences without an interval: {rest} of {len(found)}; their metric is not the mean of samples that "
            "both records hold"
        )


def _models(records: list[Record]) -> str:
    names = [record.model.name + (f" + {record.model.adapter}" if record.model.adapter else "") for record in records]
    return ", ".join(dict.fromkeys(names))


def _row(compared: Compared) -> dict[str, Any]:
    metric = compared.a
    better = None
    if compared.low is not None and compared.high is not None and not compared.low <= 0 <= compared.high:
        better = (compared.difference > 0) == metric.higher_is_better
    name = " ".join([metric.name, *(f"{key}={value}" for key, value in sorted(metric.parameters.items()))])
    return {
        **({"record": compared.record} if compared.record else {}),
        "task": metric.task,
        "language": metric.language or "all",
        "metric": name,
        "a": metric.value,
        "b": compared.b.value,
        "difference": compared.difference,
        "low": compared.low,
        "high": compared.high,
        "pairs": compared.pairs,
        "better": better,
        "side_by_side": compared.side_by_side[0] if compared.side_by_side else None,
        "side_by_side_low": compared.side_by_side[1][0] if compared.side_by_side else None,
        "side_by_side_high": compared.side_by_side[1][1] if compared.side_by_side else None,
    }


def _difference(row: Row) -> str:
    if row["low"] is None:
        return f"{row['difference']:+.3f}"
    mark = {None: "", True: " ↑", False: " ↓"}[row["better"]]
    return f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}){mark}"


_COLUMNS = [
    Column("task", "task"),
    Column("language", "language"),
    Column("metric", "metric"),
    Column("A", "a", ".3f"),
    Column("B", "b", ".3f"),
    Column("samples", lambda row: f"{row['pairs'] or '-'}"),
    Column("difference", _difference),
]
