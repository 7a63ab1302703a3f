"""A quality head: a linear classifier on the sentence embedding of a passage, trained from labelled rows.

As in FineWeb2-HQ (arXiv 2502.10361) and JQL (arXiv 2505.22232), the encoder stays as it is and a small head is trained
on its vectors, so that a few hundred rows suffice and a multilingual encoder carries the labels of one language over to
others. Here the head is a logistic regression with an L2 penalty, whose strength cross-validation chooses.

The encoder reads the beginning of a passage only, as far as its limit of tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError, RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from x_instruction.engines.local.embedder import Embedder

FILE = "quality_head.json"
FOLDS = 5
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
LEAST_ROWS = 20
_STEPS = 50
_TOLERANCE = 1e-8


@dataclass(frozen=True)
class QualityHead:
    """A trained head.

    Args:
        embedder: the model whose vectors it reads, as records name it.
        revision: its commit on the Hub, or digest of its files.
        weights: one per dimension, then the bias.
        rows: number of rows that it was trained on.
        agreement: share of rows on the right side of 0.5 in cross-validation, 0 to 1.
        penalty: strength of the L2 penalty.
    """

    embedder: str
    revision: str
    weights: tuple[float, ...]
    rows: int
    agreement: float
    penalty: float

    @cached_property
    def _array(self) -> NDArray[np.float64]:
        return np.array(self.weights)

    def scores(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probability that each passage is good, (n,), from vectors, (n, d)."""
        return _sigmoid(vectors @ self._array[:-1] + self._array[-1])

    def save(self, folder: Path) -> None:
        """Write the head into a folder, which is created."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1), "utf-8")


def load(folder: Path, embedder: str) -> QualityHead:
    """Read a head and check that it was trained on the vectors of an embedder.

    Args:
        folder: folder that ``train quality`` wrote.
        embedder: the embedder of the recipe.

    Raises:
        RecipeError: the folder has no head, or one of another embedder.
        EngineError: there is no such embedder.
    """
    from x_instruction.engines.models import locate

    path = folder / FILE
    try:
        table = json.loads(path.read_text("utf-8"))
        head = QualityHead(**{**table, "weights": tuple(map(float, table["weights"]))})
    except FileNotFoundError:
        raise RecipeError(
            f"corpus.filters.quality_head {folder} has no {FILE}: name a folder that `x-instruction train quality` "
            "wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecipeError(f"cannot read {path}: {error}; train the head again") from None
    files = locate(embedder_name(embedder))
    if (files.name, files.revision) != (head.embedder, head.revision):
        raise RecipeError(
            f"the quality head {folder} reads vectors of {head.embedder} ({head.revision[:12]}), and "
            f"corpus.filters.quality_embedder is {files.name} ({files.revision[:12]}): name the same model, or "
            "train the head again"
        )
    return head


def embedder_name(name: str) -> str:
    """The name that ``locate`` knows: in a recipe, ``embedded`` is the packaged model of the right type."""
    return "embedded-minilm" if name == "embedded" else name


def digest(folder: Path) -> str:
    """SHA-256 of a head's file, hex; empty if there is none."""
    path = folder / FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def labelled_rows(paths: Sequence[Path], text_column: str, label_column: str) -> tuple[list[str], list[float]]:
    """Texts and labels of files.

    Raises:
        CorpusError: a file or a row cannot be read, or a label is not a number from 0 to 1.
    """
    from x_instruction.config.fields import MAX_ROW_BYTES
    from x_instruction.seed.files import read_rows

    texts: list[str] = []
    labels: list[float] = []
    for path in paths:
        for position, row in read_rows(path, (text_column, label_column), MAX_ROW_BYTES):
            if isinstance(row, RowError):
                raise CorpusError(f"{path}, row {position}: {row.reason}, {row.detail}; correct the file")
            text = row.get(text_column)
            if not isinstance(text, str) or not text.strip():
                raise CorpusError(f"{path}, row {position}: {text_column!r} has no text; correct the file")
            texts.append(text)
            labels.append(_label(row.get(label_column), f"{path}, row {position}: {label_column!r}"))
    return texts, labels


def _label(value: Any, where: str) -> float:
    named = {"true": 1.0, "false": 0.0, "good": 1.0, "bad": 0.0}
    try:
        number = named.get(str(value).strip().lower())
        number = float(value) if number is None else number
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 1:
        raise CorpusError(f"{where} is {value!r}, expected a number from 0 to 1, true or false, or good or bad")
    return number


def train(texts: Sequence[str], labels: Sequence[float], embedder: Embedder) -> QualityHead:
    """Train a head.

    Args:
        texts: passages.
        labels: whether each is good, 0 to 1.
        embedder: makes the vectors.

    Raises:
        CorpusError: there are too few rows, or all are good or bad.
    """
    target = np.array(labels)
    good = int((target >= 0.5).sum())
    if len(target) < LEAST_ROWS or min(good, len(target) - good) < FOLDS:
        raise CorpusError(
            f"{good} good and {len(target) - good} bad rows, expected at least {LEAST_ROWS} rows with at least {FOLDS} "
            "of each: label more passages"
        )
    vectors = np.column_stack((embedder.encode(texts).astype(np.float64), np.ones(len(texts))))
    # Folds follow from the texts, so that copies of a text are in one fold and the order of rows does not matter.
    folds = np.array([int(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), 16) for text in texts])
    folds = (folds % FOLDS).astype(np.int64)
    losses = {penalty: _held_out(vectors, target, folds, penalty) for penalty in PENALTIES}
    penalty = min(PENALTIES, key=lambda candidate: losses[candidate][0])
    weights = _fit(vectors, target, penalty)
    return QualityHead(
        embedder.model, embedder.revision, tuple(weights.tolist()), len(texts), losses[penalty][1], penalty
    )


def _held_out(
    vectors: NDArray[np.float64], target: NDArray[np.float64], folds: NDArray[np.int64], penalty: float
) -> tuple[float, float]:
    """Mean loss in nats, and share of rows on the right side of 0.5, each fold judged by the others."""
    scores = np.zeros(len(target))
    for fold in range(FOLDS):
        rest = folds != fold
        scores[~rest] = _sigmoid(vectors[~rest] @ _fit(vectors[rest], target[rest], penalty))
    safe = np.clip(scores, 1e-9, 1 - 1e-9)
    loss = -(target * np.log(safe) + (1 - target) * np.log(1 - safe)).mean()
    return float(loss), float(((scores >= 0.5) == (target >= 0.5)).mean())


def _fit(vectors: NDArray[np.float64], target: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Weights of a logistic regression, (d + 1,), by Newton's method; the bias is not penalised."""
    weights = np.zeros(vectors.shape[1])
    strength = np.full(len(weights), penalty)
    strength[-1] = 1e-6
    for _ in range(_STEPS):
        scores = _sigmoid(vectors @ weights)
        gradient = vectors.T @ (scores - target) + strength * weights
        curvature = (vectors * (scores * (1 - scores))[:, None]).T @ vectors + np.diag(strength)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    return weights


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -500, 500))))
