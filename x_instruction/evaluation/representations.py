"""How a model's states of translations lie: measured before and after a tuning, over all layers if wanted.

The measures are plain arithmetic on two arrays ``(n, width)`` whose rows in one place are translations.
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

# Columns of the two shapes of rows; the first that a file has decides.
_PAIRS = ("sentence", "parallel", "language", "lang", "prompt_language")
_DOCUMENTS = ("text_en", "text", "language", "lang")
# Longest row that is read, in bytes.
_ROW = 16 << 20
# Rows of one block of cosines: 1,024 against 20,000 are 164 MB.
_BLOCK = 1_024
# Cosines that differ by less are one number: it is above what sums over equal rows differ by in float64.
_SAME = 1e-12


@dataclass(frozen=True, slots=True)
class Parallel:
    """A sentence and its translation.

    Args:
        language: of the pair; of the two, the one that is not the pivot.
        sentence: in the pivot where the source says which is.
        parallel: in ``language``.
    """

    language: str
    sentence: str
    parallel: str


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Shares of sentences whose translation is the nearest, 0 to 1.

    Args:
        forward: of left sentences, among all right ones.
        backward: of right sentences, among all left ones.
    """

    forward: float
    backward: float

    @property
    def mean(self) -> float:
        """Of both directions."""
        return (self.forward + self.backward) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One language at one layer.

    Args:
        language: of the pairs.
        layer: hidden state, 0 the embeddings.
        pairs: how many there are. Retrieval among more is harder: only equal numbers compare.
        forward, backward, retrieval: as ``Retrieval`` has them, and their mean.
        gap: as ``gap``.
        uniformity: mean of the sentences' and of their translations'.
    """

    language: str
    layer: int
    pairs: int
    forward: float
    backward: float
    retrieval: float
    gap: float
    uniformity: float


# Measures


def retrieval(left: Floats, right: Floats) -> Retrieval:
    """How often the nearest by cosine is the translation; of k that are equally near, each counts 1/k.

    So states that are all the same find ``1/n``, as drawing lots does, and not all or nothing by the order of rows.

    Raises:
        ValueError: shapes differ, there is no row, or a state is not a number.
    """
    one, other = _units(left, right)
    return Retrieval(_found(one, other), _found(other, one))


def _found(asked: Doubles, among: Doubles) -> float:
    hits = 0.0
    for start in range(0, len(asked), _BLOCK):
        cosines = asked[start : start + _BLOCK] @ among.T
        near = cosines >= cosines.max(axis=1, keepdims=True) - _SAME
        places = np.arange(len(cosines))
        hits += float((near[places, start + places] / near.sum(axis=1)).sum())
    return hits / len(asked)


def gap(left: Floats, right: Floats) -> float:
    """Mean cosine of translations minus mean cosine of all others, -2 to 2.

    Raises:
        ValueError: shapes differ, there are fewer than two rows, or a state is not a number.
    """
    one, other = _units(left, right)
    rows = len(one)
    if rows < 2:
        raise ValueError("one pair has no others: wanted two at least")
    own = float((one * other).sum())
    # The sum over all pairs of rows is the product of the two sums.
    return own / rows - (float(one.sum(axis=0) @ other.sum(axis=0)) - own) / (rows * (rows - 1))


def uniformity(rows: Floats) -> float:
    """``log mean exp(-2 |u - v|^2)`` over pairs of different rows of unit length (Wang & Isola, arXiv 2005.10242).

    0 when all are the same, -8 when two are opposite; lower is more evenly spread.

    Raises:
        ValueError: there are fewer than two rows, or a state is not a number.
    """
    units, _ = _units(rows, rows)
    number = len(units)
    if number < 2:
        raise ValueError("one state is not spread: wanted two at least")
    lengths = (units * units).sum(axis=1)
    total = 0.0
    for start in range(0, number, _BLOCK):
        block = units[start : start + _BLOCK]
        squared = lengths[start : start + _BLOCK, None] + lengths[None, :] - 2 * block @ units.T
        near = np.exp(-2 * np.maximum(squared, 0))
        places = np.arange(len(block))
        near[places, start + places] = 0
        total += float(near.sum())
    return float(np.log(total / (number * (number - 1))))


def _units(left: Floats, right: Floats) -> tuple[Doubles, Doubles]:
    """Rows of unit length, in float64; rows of zeros stay zeros."""
    if left.shape != right.shape or left.ndim != 2 or not len(left):
        raise ValueError(f"states are {left.shape} and {right.shape}, wanted the same number of rows, one at least")
    made = []
    for rows in (left, right):
        fine = rows.astype(np.float64)
        if not np.isfinite(fine).all():
            raise ValueError("a state is not a number")
        lengths = np.linalg.norm(fine, axis=1, keepdims=True)
        made.append(np.divide(fine, lengths, out=np.zeros_like(fine), where=lengths > 0))
    return made[0], made[1]


# Sentences


def read(names: Iterable[str], limit: int | None = None) -> dict[str, list[Parallel]]:
    """Parallel sentences by language, in the order of their first row.

    A file has rows with ``sentence``, ``parallel`` and ``language``; or is a mix with the mixer ``afp``, of which a
    folder may be named; or has documents with ``text_en`` and ``text``, of which the first lines are taken. A sentence
    that has come before in its language is passed over, on either side: of two same ones neither could be found.

    Args:
        names: ``PATH`` or ``TAG=PATH``, which says the language where rows do not.
        limit: pairs of each language, the first ones.

    Raises:
        CorpusError: a file cannot be read, is of no such shape, or no language has two pairs.
        RecipeError: no such language.
    """
    found: dict[str, list[Parallel]] = {}
    seen: set[tuple[str, int, str]] = set()
    for name in names:
        for source in sources(name, "web"):
            for pair in _read(source.path, source.tag):
                held = found.setdefault(pair.language, [])
                keys = {(pair.language, 0, pair.sentence), (pair.language, 1, pair.parallel)}
                if not keys & seen and (limit is None or len(held) < limit):
                    seen |= keys
                    held.append(pair)
    usable = {tag: pairs for tag, pairs in found.items() if len(pairs) >= 2}
    if not usable:
        most = max((len(pairs) for pairs in found.values()), default=0)
        raise CorpusError(f"nothing to compare: the most pairs that a language has are {most}, wanted two at least")
    return usable


def _read(path: Path, tag: str) -> Iterator[Parallel]:
    pivot = _pivot(path)
    for position, row in read_rows(path, (*_PAIRS, *_DOCUMENTS), _ROW):
        if isinstance(row, RowError):
            continue
        if row.get("sentence") is None and row.get("text_en") is None:
            there = ", ".join(map(repr, row)) or "none"
            raise CorpusError(
                f"{path}, row {position}: no column 'sentence' and no 'text_en', there are {there}; wanted sentence, "
                "parallel and language, a mix with the mixer afp, or documents with text_en and text"
            )
        pair = _pair(row, tag, pivot, f"{path}, row {position}")
        if pair.language and pair.sentence and pair.parallel:
            yield pair


def _pair(row: Mapping[str, Any], tag: str, pivot: str, place: str) -> Parallel:
    """The pair of a row, with an empty part where the row has none to use."""
    said = str(row.get("language") or row.get("lang") or tag)
    if not said:
        raise CorpusError(f"{place}: no language; write TAG=PATH for the file")
    said = language(said).tag
    if row.get("sentence") is None:
        return Parallel(said, _first(row["text_en"]), _first(row.get("text")))
    sentence, parallel = _whole(row["sentence"]), _whole(row.get("parallel"))
    asked = row.get("prompt_language")
    if not asked:
        return Parallel(said, sentence, parallel)
    asked = language(str(asked)).tag
    if asked != pivot:
        return Parallel(asked, parallel, sentence)
    # Asked and answered in the pivot, a mix does not say what the parallel sentence is in; its other rows do.
    return Parallel("" if said == pivot else said, sentence, parallel)


def _pivot(path: Path) -> str:
    """The language that a mix goes out from, as its report says; English of other files."""
    try:
        report = json.loads((path.parent / REPORT).read_text("utf-8"))
        return language(str(report["recipe"]["pivot"])).tag
    except (OSError, ValueError, KeyError, TypeError):
        return "en"


def _whole(text: Any) -> str:
    return " ".join(text.split()) if isinstance(text, str) else ""


def _first(text: Any) -> str:
    lines = text.splitlines() if isinstance(text, str) else []
    return next((_whole(line) for line in lines if line.strip()), "")


# States


class Encoder:
    """A language model as a maker of sentence states.

    Args:
        network: a causal language model of transformers.
        tokenizer: its own; sentences are read with the special tokens that it puts.
        max_tokens: longest sentence; the end of a longer one is not read.
        batch_size: sentences in one forward pass.
    """

    def __init__(self, network: Any, tokenizer: Any, max_tokens: int = 512, batch_size: int = 32) -> None:
        self.network, self.tokenizer = network, tokenizer
        self.max_tokens, self.batch_size = max_tokens, batch_size
        self.layers = int(network.config.get_text_config().num_hidden_layers)

    @classmethod
    def load(cls, settings: Model) -> Encoder:
        """The model of a recipe, with its adapter.

        Raises:
            EngineError: it is not there, or cannot be loaded.
        """
        loaded = TransformersEngine(settings)
        return cls(loaded.network, loaded.tokenizer, batch_size=settings.batch_size)

    def encode(self, texts: Sequence[str], layers: Sequence[int], pooling: Pooling) -> npt.NDArray[np.float32]:
        """States ``(layers, n, width)``; with one layer those above it are not run.

        Raises:
            RecipeError: the model has no such layer.
            CorpusError: a text has no tokens.
        """
        if wrong := [layer for layer in layers if not 0 <= layer <= self.layers]:
            raise RecipeError(f"layer is {wrong[0]}, wanted one from 0 (embeddings) to {self.layers}, or all")
        read = [list(self.tokenizer(t, truncation=True, max_length=self.max_tokens)["input_ids"]) for t in texts]
        if not all(read):
            raise CorpusError(f"a sentence has no tokens: {texts[[bool(ids) for ids in read].index(False)]!r}")
        # By length, so that a batch pads little; longest first, so that too large a batch fails at once.
        order = sorted(range(len(read)), key=lambda row: -len(read[row]))
        found = np.empty((0, 0, 0), dtype=np.float32)
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            pooled = self._pooled([read[place] for place in places], layers, pooling)
            if not start:
                found = np.empty((len(layers), len(texts), pooled.shape[2]), dtype=np.float32)
            found[:, places] = pooled
        return found

    def _pooled(self, batch: Sequence[Sequence[int]], layers: Sequence[int], pooling: Pooling) -> Floats:
        device = self.network.get_input_embeddings().weight.device
        ids = torch.zeros((len(batch), len(batch[0])), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(batch):
            ids[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
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
) -> Iterator[Measured]:
    """Every language at every layer, one language encoded at a time.

    Args:
        encoder: the model.
        data: pairs by language, as ``read`` gives them.
        layers: hidden states.
        pooling: as in ``Align``.
    """
    for tag, pairs in data.items():
        left = encoder.encode([pair.sentence for pair in pairs], layers, pooling)
        right = encoder.encode([pair.parallel for pair in pairs], layers, pooling)
        for layer, one, other in zip(layers, left, right, strict=True):
            near = retrieval(one, other)
            yield Measured(
                language=tag,
                layer=layer,
                pairs=len(pairs),
                forward=near.forward,
                backward=near.backward,
                retrieval=near.mean,
                gap=gap(one, other),
                uniformity=(uniformity(one) + uniformity(other)) / 2,
            )
