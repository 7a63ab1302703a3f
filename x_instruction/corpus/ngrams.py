"""The model of py3langid, applied to many texts at once.

The model (Lui and Baldwin 2012, as distributed by py3langid, BSD-3) is a byte automaton that emits features and a
naive Bayes table over them. py3langid walks the automaton one byte at a time in Python, about 300 ns per byte; here
all texts of a batch advance together, one position at a time, which is several times faster. A test checks that the
scores are those of py3langid.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class NgramModel:
    """The automaton and the naive Bayes table.

    Args:
        labels: the known languages, (labels,).
    """

    def __init__(self) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        model = LanguageIdentifier.from_model_file(MODEL_FILE)
        self._next = np.frombuffer(model.tk_nextmove, dtype=f"u{model.tk_nextmove.itemsize}")
        self._row = np.asarray(model.tk_row, dtype=np.int64) << 8
        self._emits = np.asarray(model.tk_output, dtype=np.int64)
        self._table = np.asarray(model.nb_ptc)
        self._prior = np.asarray(model.nb_pc, dtype=np.float32)
        # A language with two scripts has two columns.
        self._columns = list(model.nb_classes)
        self.labels = list(dict.fromkeys(self._columns))

    def columns(self, labels: list[str]) -> Columns:
        """The part of the model for these labels. Unknown labels are ignored."""
        indices = [i for i, label in enumerate(self._columns) if label in labels]
        # The table is stored in half precision, which CPUs multiply slowly.
        table = self._table[:, indices].astype(np.float32)
        return Columns(self, [self._columns[i] for i in indices], table, self._prior[indices])

    def features(self, texts: list[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Text number, feature and log(1 + count) of every feature of every text: three arrays, (features,)."""
        sizes = np.array([len(text) for text in texts], dtype=np.int64)
        order = np.argsort(-sizes, kind="stable")
        longest = int(sizes.max(initial=0))
        # One row per position, so that the bytes of one step are adjacent in memory.
        letters = np.zeros((longest, len(texts)), dtype=np.int64)
        for column, index in enumerate(order.tolist()):
            letters[: sizes[index], column] = np.frombuffer(texts[index], dtype=np.uint8)
        # Texts are sorted by length, so the first active[position] of them are long enough for this position.
        active = np.searchsorted(-sizes[order], -np.arange(longest), side="left").tolist()
        state = np.zeros(len(texts), dtype=np.int64)
        states = []
        for position, number in enumerate(active):
            places = self._row.take(state[:number])
            places += letters[position, :number]
            state = self._next.take(places)
            states.append(state)
        width = len(self._table)
        offsets = order * width
        emitted = self._emits.take(np.concatenate([order[:0], *states]))
        keys = np.concatenate([offsets[:0], *(offsets[:number] for number in active)]) + emitted
        keys = keys[emitted >= 0]
        unique_keys, counts = np.unique(keys, return_counts=True)
        return unique_keys // width, unique_keys % width, np.log1p(counts, dtype=np.float32)


class Columns:
    """The model restricted to some labels.

    Args:
        labels: label of each column, (columns,).
    """

    def __init__(
        self, model: NgramModel, labels: list[str], table: NDArray[np.float32], prior: NDArray[np.float32]
    ) -> None:
        self.labels = labels
        self._model, self._table, self._prior = model, table, prior

    def probabilities(self, texts: list[str]) -> NDArray[np.float32]:
        """Probability of each label for each text, (texts, labels), calibrated for length as py3langid does.

        A text without any known feature gives every label the same probability.
        """
        encoded = [encode(text) for text in texts]
        scores = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        numbers, features, weights = self._model.features(encoded)
        present, first = np.unique(numbers, return_index=True)
        # Empty if no text has a known feature.
        ends = [*first[1:].tolist(), len(numbers)][: len(present)]
        for number, start, end in zip(present.tolist(), first.tolist(), ends, strict=True):
            scores[number] = weights[start:end] @ self._table[features[start:end]]
        has_features = np.zeros(len(texts), dtype=bool)
        has_features[present] = True
        scores[has_features] += self._prior
        sizes = np.array([len(text) or 1 for text in encoded], dtype=np.float32)
        scores /= np.sqrt(sizes)[:, None]
        scores -= scores.max(axis=1, keepdims=True, initial=-np.inf)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        return scores


def encode(text: str) -> bytes:
    """The bytes of a text in the form that the model was trained on."""
    if text.isupper():
        text = text.lower()
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")


@cache
def model() -> NgramModel:
    """The model, loaded once (about 0.9 s)."""
    return NgramModel()
