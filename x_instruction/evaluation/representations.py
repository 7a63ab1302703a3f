"""Cross-lingual alignment of a model's sentence representations, for one layer or all.

The metrics (retrieval, cosine gap, uniformity) take two arrays ``(n, width)`` whose rows with equal index are
translations of each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.config.model import Model
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError, MissingExtra, RecipeError
from x_instruction.languages import language
from x_instruction.mixing.files import REPORT, sources
from x_instruction.seed.files import read_rows

try:
    import torch

    from x_instruction.engines.local.hidden_states import Pooling, hidden_states, pool
    from x_instruction.engines.local.transformers import TransformersEngine
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "transformers", "train") from error

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]

# Columns of the two formats of rows; ``sentence`` or ``text_en`` tells which.
_PAIRS = ("sentence", "parallel", "language", "lang", "prompt_language")
_DOCUMENTS = ("text_en", "text", "language", "lang")
# Longest row that is read, in bytes.
_MAX_ROW_BYTES = 16 << 20
# Rows per block of cosines: 1,024 by 20,000 take 164 MB.
_BLOCK = 1_024
# Cosines that differ by less count as equal. It is above the rounding error of float64 sums over equal rows.
_EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class Parallel:
    """A sentence and its translation.

    Args:
        language: language of the pair: the one of the two that is not the pivot.
        sentence: the sentence in the pivot, if the source tells which it is.
        parallel: the sentence in ``language``.
    """

    language: str
    sentence: str
    parallel: str


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Retrieval accuracy: share of sentences whose nearest neighbour is their translation, 0 to 1.

    Args:
        forward: from left sentences to right ones.
        backward: from right sentences to left ones.
    """

    forward: float
    backward: float

    @property
    def mean(self) -> float:
        """Mean of both directions."""
        return (self.forward + self.backward) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Metrics of one language at one layer.

    Args:
        language: language of the pairs.
        layer: number of the hidden state; 0 is the embeddings.
        pairs: number of pairs. Retrieval among more pairs is harder, so compare equal numbers only.
        forward, backward, retrieval: retrieval accuracy in both directions, and their mean.
        gap: see ``gap``.
        uniformity: mean uniformity of the sentences and of their translations.
    """

    language: str
    layer: int
    pairs: int
    forward: float
    backward: float
    retrieval: float
    gap: float
    uniformity: float


# Metrics


def retrieval(left: Floats, right: Floats) -> Retrieval:
    """How often the nearest neighbour by cosine is the translation. Each of k tied neighbours counts 1/k.

    So if all states are equal, the accuracy is ``1/n``, that of a random guess, and does not depend on the order.

    Raises:
        ValueError: shapes differ, there is no row, or a state is not finite.
    """
    x, y = _units(left, right)
    return Retrieval(_accuracy(x, y), _accuracy(y, x))


def hits(queries: Floats, targets: Floats, owners: Sequence[object]) -> Doubles:
    """For each query, the share of its nearest targets by cosine that have its owner, ``(n,)``.

    Mostly 0 or 1: several targets are nearest only if they are equally near.

    Args:
        queries, targets: ``(n, width)``.
        owners: of each query, and of the target at the same index. Several rows may have the same owner.

    Raises:
        ValueError: shapes differ, there is no row, or a state is not finite.
    """
    x, y = _units(queries, targets)
    numbers = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    return _hits(x, y, np.array([numbers[owner] for owner in owners]))


def _accuracy(queries: Doubles, targets: Doubles) -> float:
    return float(_hits(queries, targets, np.arange(len(targets))).mean())


def _hits(queries: Doubles, targets: Doubles, owners: npt.NDArray[np.int_]) -> Doubles:
    found = []
    for start in range(0, len(queries), _BLOCK):
        cosines = queries[start : start + _BLOCK] @ targets.T
        nearest = cosines >= cosines.max(axis=1, keepdims=True) - _EPSILON
        own = owners[start : start + _BLOCK, None] == owners
        found.append((nearest & own).sum(axis=1) / nearest.sum(axis=1))
    return np.concatenate(found)


def gap(left: Floats, right: Floats) -> float:
    """Mean cosine of translations minus mean cosine of all other pairs, -2 to 2.

    Raises:
        ValueError: shapes differ, there are fewer than two rows, or a state is not finite.
    """
    x, y = _units(left, right)
    rows = len(x)
    if rows < 2:
        raise ValueError(f"there is {rows} pair, expected at least 2 to compare it with")
    own = float((x * y).sum())
    # The sum of the cosines of all pairs is the product of the two sums.
    return own / rows - (float(x.sum(axis=0) @ y.sum(axis=0)) - own) / (rows * (rows - 1))


def uniformity(rows: Floats) -> float:
    """``log mean exp(-2 |u - v|^2)`` over pairs of different unit-length rows (Wang & Isola, arXiv 2005.10242).

    0 if all rows are equal, -8 for two opposite rows; lower means more evenly spread.

    Raises:
        ValueError: there are fewer than two rows, or a state is not finite.
    """
    units, _ = _units(rows, rows)
    number = len(units)
    if number < 2:
        raise ValueError(f"there is {number} state, expected at least 2")
    lengths = (units * units).sum(axis=1)
    total = 0.0
    for start in range(0, number, _BLOCK):
        block = units[start : start + _BLOCK]
        squared = lengths[start : start + _BLOCK, None] + lengths[None, :] - 2 * block @ units.T
        # Rounding can make the distance of equal rows slightly negative.
        kernel = np.exp(-2 * np.maximum(squared, 0))
        own = np.arange(len(block))
        kernel[own, start + own] = 0
        total += float(kernel.sum())
    return float(np.log(total / (number * (number - 1))))


def _units(left: Floats, right: Floats) -> tuple[Doubles, Doubles]:
    """Rows scaled to unit length, in float64. Rows of zeros stay zeros."""
    if left.shape != right.shape or left.ndim != 2 or not len(left):
        raise ValueError(f"states are {left.shape} and {right.shape}, expected the same number of rows, at least 1")
    units = []
    for rows in (left, right):
        doubles = rows.astype(np.float64)
        if not np.isfinite(doubles).all():
            raise ValueError("a state is infinite or not a number")
        lengths = np.linalg.norm(doubles, axis=1, keepdims=True)
        units.append(np.divide(doubles, lengths, out=np.zeros_like(doubles), where=lengths > 0))
    return units[0], units[1]


# Sentences


def read(names: Iterable[str], limit: int | None = None) -> dict[str, list[Parallel]]:
    """Parallel sentences by language, in the order of their first row.

    There are three formats: rows with ``sentence``, ``parallel`` and ``language``; a mix with the mixer ``afp`` (a file
    or its folder); documents with ``text_en`` and ``text``, whose first lines are used. A pair is skipped if one of its
    sentences was in an earlier pair of the language: retrieval cannot tell two equal sentences apart.

    Args:
        names: ``PATH``, or ``TAG=PATH`` for rows that name no language.
        limit: maximum number of pairs per language; the first ones are used.

    Raises:
        CorpusError: a file cannot be read, has another format, or no language has two pairs.
        RecipeError: no such language.
    """
    by_language: dict[str, list[Parallel]] = {}
    seen: set[tuple[str, int, str]] = set()
    for name in names:
        for source in sources(name, "web"):
            for pair in _read(source.path, source.tag):
                pairs = by_language.setdefault(pair.language, [])
                keys = {(pair.language, 0, pair.sentence), (pair.language, 1, pair.parallel)}
                if not keys & seen and (limit is None or len(pairs) < limit):
                    seen |= keys
                    pairs.append(pair)
    usable = {tag: pairs for tag, pairs in by_language.items() if len(pairs) >= 2}
    if not usable:
        most = max((len(pairs) for pairs in by_language.values()), default=0)
        raise CorpusError(f"nothing to compare: the language with the most pairs has {most}, expected at least 2")
    return usable


def _read(path: Path, tag: str) -> Iterator[Parallel]:
    pivot = _pivot(path)
    for position, row in read_rows(path, (*_PAIRS, *_DOCUMENTS), _MAX_ROW_BYTES):
        if isinstance(row, RowError):
            continue
        if row.get("sentence") is None and row.get("text_en") is None:
            columns = ", ".join(map(repr, row)) or "none"
            raise CorpusError(
                f"{path}, row {position} has the columns {columns}, expected sentence, parallel and language, a mix "
                "with the mixer afp, or documents with text_en and text"
            )
        pair = _pair(row, tag, pivot, f"{path}, row {position}")
        if pair.language and pair.sentence and pair.parallel:
            yield pair


def _pair(row: Mapping[str, Any], tag: str, pivot: str, place: str) -> Parallel:
    """The pair of a row. A part is empty if the row has no usable value for it."""
    name = str(row.get("language") or row.get("lang") or tag)
    if not name:
        raise CorpusError(f"{place} names no language: write TAG=PATH for the file")
    own = language(name).tag
    if row.get("sentence") is None:
        return Parallel(own, _first_line(row["text_en"]), _first_line(row.get("text")))
    sentence, parallel = _one_line(row["sentence"]), _one_line(row.get("parallel"))
    prompt_language = row.get("prompt_language")
    if not prompt_language:
        return Parallel(own, sentence, parallel)
    prompt_language = language(str(prompt_language)).tag
    if prompt_language != pivot:
        return Parallel(prompt_language, parallel, sentence)
    # A row of a mix with prompt and answer in the pivot does not tell the language of its parallel sentence. Other rows
    # of the mix have the same pair.
    return Parallel("" if own == pivot else own, sentence, parallel)


def _pivot(path: Path) -> str:
    """The pivot of a mix, from its report; English for other files."""
    try:
        report = json.loads((path.parent / REPORT).read_text("utf-8"))
        return language(str(report["recipe"]["pivot"])).tag
    except (OSError, ValueError, KeyError, TypeError):
        return "en"


def _one_line(text: Any) -> str:
    return " ".join(text.split()) if isinstance(text, str) else ""


def _first_line(text: Any) -> str:
    lines = text.splitlines() if isinstance(text, str) else []
    return next((_one_line(line) for line in lines if line.strip()), "")


# States


class Encoder:
    """Computes sentence representations with a language model.

    Args:
        network: a causal language model of transformers.
        tokenizer: its tokenizer; sentences are encoded with its special tokens.
        max_tokens: longer sentences are truncated.
        batch_size: sentences per forward pass.
    """

    def __init__(self, network: Any, tokenizer: Any, max_tokens: int = 512, batch_size: int = 32) -> None:
        self.network, self.tokenizer = network, tokenizer
        self.max_tokens, self.batch_size = max_tokens, batch_size
        self.layers = int(network.config.get_text_config().num_hidden_layers)

    @classmethod
    def load(cls, settings: Model) -> Encoder:
        """Load the model of a recipe, with its adapter.

        Raises:
            EngineError: the model does not exist or cannot be loaded.
        """
        engine = TransformersEngine(settings)
        return cls(engine.network, engine.tokenizer, batch_size=settings.batch_size)

    def encode(self, texts: Sequence[str], layers: Sequence[int], pooling: Pooling) -> npt.NDArray[np.float32]:
        """Representations ``(layers, n, width)``. For a single layer, the layers above it are not run.

        Raises:
            RecipeError: the model has no such layer.
            CorpusError: a text has no tokens.
        """
        if wrong := [layer for layer in layers if not 0 <= layer <= self.layers]:
            raise RecipeError(f"layer is {wrong[0]}, expected 0 (embeddings) to {self.layers}, or all")
        encoded = [
            list(self.tokenizer(t, truncation=True, max_length=self.max_tokens, split_special_tokens=True)["input_ids"])
            for t in texts
        ]
        if not all(encoded):
            raise CorpusError(f"a sentence has no tokens: {texts[[bool(ids) for ids in encoded].index(False)]!r}")
        # By length, so that a batch has little padding; longest first, so that a batch that does not fit into memory
        # fails at once.
        order = sorted(range(len(encoded)), key=lambda row: -len(encoded[row]))
        result = np.empty((0, 0, 0), dtype=np.float32)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            pooled = self._pooled([encoded[row] for row in rows], layers, pooling)
            # The width is known only after the first batch.
            if not start:
                result = np.empty((len(layers), len(texts), pooled.shape[2]), dtype=np.float32)
            result[:, rows] = pooled
        return result

    def _pooled(self, batch: Sequence[Sequence[int]], layers: Sequence[int], pooling: Pooling) -> Floats:
        device = self.network.get_input_embeddings().weight.device
        ids = torch.zeros((len(batch), len(batch[0])), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = ids.to(device), mask.to(device)
        with torch.inference_mode():
            if len(layers) == 1:
                hidden = {layers[0]: hidden_states(self.network, ids, mask, layers[0])}
            else:
                out = self.network.get_decoder()(
                    input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True
                )
                hidden = {layer: out.hidden_states[layer] for layer in layers}
            pooled: Floats = torch.stack([pool(hidden[layer], mask, pooling).float() for layer in layers]).cpu().numpy()
        return pooled


def measure(
    encoder: Encoder, data: Mapping[str, Sequence[Parallel]], layers: Sequence[int], pooling: Pooling
) -> Iterator[Alignment]:
    """Metrics of every language at every layer. One language is encoded at a time.

    Args:
        encoder: the model.
        data: pairs by language, from ``read``.
        layers: numbers of the hidden states.
        pooling: ``last`` or ``mean``.
    """
    for tag, pairs in data.items():
        left = encoder.encode([pair.sentence for pair in pairs], layers, pooling)
        right = encoder.encode([pair.parallel for pair in pairs], layers, pooling)
        for layer, sentences, translations in zip(layers, left, right, strict=True):
            accuracy = retrieval(sentences, translations)
            yield Alignment(
                language=tag,
                layer=layer,
                pairs=len(pairs),
                forward=accuracy.forward,
                backward=accuracy.backward,
                retrieval=accuracy.mean,
                gap=gap(sentences, translations),
                uniformity=(uniformity(sentences) + uniformity(translations)) / 2,
            )
