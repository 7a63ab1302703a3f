"""Data scaling: train on growing subsets of the same rows, and regress the score on the logarithm of their number.

Humpback fits win rates as ``w = a log N + c`` (arXiv 2308.06259, section 3.5). The logarithm here is the natural one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction import hashing
from x_instruction.bootstrap import interval
from x_instruction.config.training import TrainingRecipe
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.errors import RecipeError
from x_instruction.evaluation import held_out
from x_instruction.evaluation.language import language_checks
from x_instruction.storage.atomic import atomic
from x_instruction.training.sft import Data, evaluate, train

# Bootstrap samples of the points.
_DRAWS = 2_000


@dataclass(frozen=True, slots=True)
class Line:
    """``value = slope * ln(N) + constant``, by least squares.

    Args:
        slope, constant: the coefficients of the line.
        low, high: 95 % interval of the slope, from 2,000 bootstrap samples of the points; NaN below three sizes.
    """

    slope: float
    constant: float
    low: float
    high: float


def check(sizes: Sequence[int]) -> None:
    """Refuse sizes that determine no line.

    Raises:
        RecipeError: fewer than two different sizes, or one below 1.
    """
    if len(set(sizes)) < 2 or min(sizes) < 1:
        raise RecipeError(f"sizes are {list(sizes)}, expected at least two different sizes, each 1 or more")


def fit(sizes: Sequence[int], values: Sequence[float]) -> Line:
    """Fit a line through the values at these sizes.

    Raises:
        RecipeError: fewer than two different sizes, or one below 1.
    """
    check(sizes)
    x, y = np.log(np.array(sizes, dtype=np.float64)), np.array(values, dtype=np.float64)
    slope, constant = np.polyfit(x, y, 1)
    # Two points leave nothing to vary.
    low, high = interval(_slope, (x, y), _DRAWS if len(set(sizes)) > 2 else 0, 0)
    return Line(float(slope), float(constant), low, high)


def _slope(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """The slope of the line, or NaN where all points have one size."""
    return float(np.polyfit(x, y, 1)[0]) if len(set(x)) > 1 else float("nan")


def part(data: Data, size: int) -> Data:
    """The first rows in the order of a digest of their ids, so that a larger subset contains every smaller one.

    Args:
        data: all rows.
        size: number of rows to take.

    Raises:
        RecipeError: there are fewer rows.
    """
    if size > len(data.pairs):
        raise RecipeError(f"a size is {size:,}, expected at most {len(data.pairs):,}, the number of rows")
    ranked = sorted(data.pairs, key=lambda pair: (hashing.digest(["size", pair.id, pair.language]), pair.instruction))
    return dataclasses.replace(data, pairs=tuple(ranked[:size]), revision=f"{data.revision}, {size} rows")


def curve(
    settings: TrainingRecipe,
    data: Data,
    sizes: Sequence[int],
    rows: Sequence[held_out.Row],
    folder: Path,
    log: Callable[[str], None],
) -> dict[int, dict[str, float]]:
    """Train a model on each size, and evaluate it on held-out rows. Sizes that are complete are not made again.

    <folder>/<name>-<size>/        the model
    <folder>/<name>-<size>.json    digests of its settings and of the held-out rows, and its metrics

    Args:
        settings: the training recipe.
        data: rows to train on.
        sizes: numbers of rows.
        rows: held-out rows. If the data is a mix with source tags, they are asked with the tags for inference.
        folder: where the models and their metrics are written.
        log: called with one line per event.

    Returns:
        The metrics of each size.

    Raises:
        RecipeError: the sizes determine no line, a size is larger than the data, or a model in the folder was trained
            with other rows or settings.
    """
    check(sizes)
    part(data, max(sizes))
    language_checks((row.language for row in rows), settings.lid_model)
    asked, metrics = held_out.with_tags(rows, data.inference, data.everywhere), {}
    evaluated = hashing.digest([[row.tagged_prompt, row.completion, row.language] for row in asked])
    folder.mkdir(parents=True, exist_ok=True)
    for size in sorted(set(sizes)):
        target = folder / f"{settings.name}-{size}"
        record = folder / f"{target.name}.json"
        trained = hashing.digest([fingerprint(settings), data.revision, size])
        table: dict[str, Any] = json.loads(record.read_text("utf-8")) if record.exists() else {"made": trained}
        if table["made"] != trained:
            raise RecipeError(
                f"{target} was trained on other rows or with other settings: name another --out, or remove it"
            )
        if not target.is_dir():
            _write(record, {"made": trained})
            train(settings, part(data, size), target, log)
        if table.get("rows") != evaluated:
            figures = evaluate(settings, target, asked)[held_out.ALL]
            table = {"made": trained, "rows": evaluated, "metrics": asdict(figures)}
            _write(record, table)
        metrics[size] = table["metrics"]
        log(f"{size:,} rows: score {metrics[size]['score']:.4f}, {metrics[size]['bits_per_byte']:.3f} bits per byte")
    return metrics


def _write(path: Path, table: dict[str, Any]) -> None:
    with atomic(path) as stream:
        stream.write(json.dumps(table, indent=1).encode())
