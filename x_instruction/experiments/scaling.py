"""How much more data helps: models tuned on growing parts of the same rows, and the line through what they are worth.

Humpback draws win rates against the logarithm of the number of rows, ``w = a log N + c`` (arXiv 2308.06259, section
3.5; method.md 4.8). The logarithm here is the natural one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from x_instruction import hashing
from x_instruction.config.section import flatten
from x_instruction.config.training import TrainingRecipe
from x_instruction.errors import RecipeError
from x_instruction.evaluation import held_out
from x_instruction.storage.atomic import atomic
from x_instruction.training.sft import Data, evaluate, tune


@dataclass(frozen=True, slots=True)
class Line:
    """``value = slope * ln(N) + constant``, by least squares.

    Args:
        slope, constant: of the line.
        low, high: the slope's 95 % interval, from 2,000 bootstrap samples of the points; nan with fewer than three.
    """

    slope: float
    constant: float
    low: float
    high: float


def check(sizes: Sequence[int]) -> None:
    """Refuse sizes that no line goes through.

    Raises:
        RecipeError: fewer than two different sizes, or one below 1.
    """
    if len(set(sizes)) < 2 or min(sizes) < 1:
        raise RecipeError(f"sizes are {list(sizes)}, wanted two different ones at least, each 1 or more")


def fit(sizes: Sequence[int], values: Sequence[float]) -> Line:
    """The line through values at sizes.

    Raises:
        RecipeError: fewer than two different sizes, or one below 1.
    """
    check(sizes)
    x, y = np.log(np.array(sizes, dtype=np.float64)), np.array(values, dtype=np.float64)
    slope, constant = np.polyfit(x, y, 1)
    random, slopes = np.random.default_rng(0), []
    for _ in range(2_000 if len(set(sizes)) > 2 else 0):
        rows = random.integers(len(x), size=len(x))
        if len(set(x[rows])) > 1:
            slopes.append(np.polyfit(x[rows], y[rows], 1)[0])
    low, high = np.percentile(slopes, [2.5, 97.5]) if slopes else (float("nan"), float("nan"))
    return Line(float(slope), float(constant), float(low), float(high))


def part(data: Data, size: int) -> Data:
    """The first so many rows by a digest of their ids: a larger part holds every smaller one.

    Raises:
        RecipeError: there are not so many rows.
    """
    if size > len(data.pairs):
        raise RecipeError(f"a size of {size:,} is wanted, and there are {len(data.pairs):,} rows")
    ranked = sorted(data.pairs, key=lambda pair: (hashing.digest(["size", pair.id, pair.language]), pair.instruction))
    return dataclasses.replace(data, pairs=tuple(ranked[:size]), revision=f"{data.revision}, {size} rows")


def curve(
    settings: TrainingRecipe,
    data: Data,
    sizes: Sequence[int],
    rows: Sequence[held_out.Row],
    folder: Path,
    say: Callable[[str], None],
) -> dict[int, dict[str, float]]:
    """What a model tuned on each size is worth on held-out rows; sizes that are there are not made again.

    <folder>/<name>-<size>/        a model
    <folder>/<name>-<size>.json    what it was tuned by, and what it is worth on which rows

    Args:
        settings: the tuning recipe.
        data: rows to tune on.
        sizes: numbers of rows.
        rows: held out; asked with the tags of the mix, where the data is one.
        folder: where models and what they are worth stand.
        say: tells a person what happens.

    Raises:
        RecipeError: the sizes give no line, there are not so many rows, or a model there was tuned otherwise.
    """
    check(sizes)
    part(data, max(sizes))
    held_out.checks((row.language for row in rows), settings.lid_model)
    asked, found = held_out.tagged(rows, data.inference), {}
    measured = hashing.digest([[row.asked, row.completion, row.language] for row in asked])
    folder.mkdir(parents=True, exist_ok=True)
    for size in sorted(set(sizes)):
        target = folder / f"{settings.name}-{size}"
        known = folder / f"{target.name}.json"
        made = hashing.digest([flatten(settings), data.revision, size])
        table: dict[str, Any] = json.loads(known.read_text("utf-8")) if known.exists() else {"made": made}
        if table["made"] != made:
            raise RecipeError(
                f"{target} was tuned on other rows or under other settings: name another --out, or remove it"
            )
        if not target.is_dir():
            _write(known, {"made": made})
            tune(settings, part(data, size), target, say)
        if table.get("rows") != measured:
            figures = evaluate(settings, target, asked)[held_out.ALL]
            table = {"made": made, "rows": measured, "worth": asdict(figures)}
            _write(known, table)
        found[size] = table["worth"]
        say(f"{size:,} rows: score {found[size]['score']:.4f}, {found[size]['bits_per_byte']:.3f} bits per byte")
    return found


def _write(path: Path, table: dict[str, Any]) -> None:
    with atomic(path) as stream:
        stream.write(json.dumps(table, indent=1).encode())
