"""The model of py3langid, applied to many texts at once.

The model (Lui and Baldwin 2012, as distributed by py3langid, BSD-3) is a byte automaton that emits features and a
naive Bayes table over them. py3langid walks the automaton one byte at a time in Python, about 300 ns per byte. Here
all texts of a batch are one stream, which is cut into strips of equal length that advance together: the state of the
automaton follows from the last few bytes, so a strip begins a few bytes earlier. Tests check that the features and
scores are those of py3langid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from x_instruction.corpus.clean import compose, is_composed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.signedinteger[Any]]
    Product = Callable[[Integers, NDArray[np.float32], Integers], NDArray[np.float32]]

# The state of the automaton follows from the last bytes that it read. So many are enough, from any state.
MEMORY = 6
# Most bytes of a strip: with longer ones a step has fewer strips to advance, with shorter ones more bytes are read
# twice. Few texts have shorter strips.
STRIP = 160
# No text in UTF-8 has this byte, so it takes the automaton back to its first state.
_BREAK = b"\xff"
# Keys of all texts are sorted text by text where padding to the longest one makes at most so many times as many.
MOST_PADDING = 4
# Far more than the largest difference of two probabilities whose sums are rounded in another order.
ROUNDING = 0.001


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
        self._table = np.asarray(model.nb_ptc)
        emits = np.asarray(model.tk_output, dtype=np.int32)
        self._emits = np.where(emits < 0, np.int32(len(self._table)), emits)
        self._prior = np.asarray(model.nb_pc, dtype=np.float32)
        # A language with two scripts has two columns.
        self._columns = list(model.nb_classes)
        self.labels = list(dict.fromkeys(self._columns))

    def columns(self, labels: list[str]) -> Columns:
        """The part of the model for these labels. Unknown labels are ignored."""
        indices = [i for i, label in enumerate(self._columns) if label in labels]
        # The table is stored in half precision, which CPUs multiply slowly.
        table = np.ascontiguousarray(self._table[:, indices], dtype=np.float32)
        return Columns(self, [self._columns[i] for i in indices], table, self._prior[indices])

    def features(self, texts: list[bytes]) -> tuple[Integers, Integers, NDArray[np.float32]]:
        """Text number, feature and log(1 + count) of every feature of every text: three arrays, (features,)."""
        sizes = np.array([len(text) + 1 for text in texts], dtype=np.int64)
        total = int(sizes.sum())
        size = max(MEMORY, min(STRIP, total // STRIP))
        strips = -(-total // size)
        stream = b"".join([_BREAK * MEMORY, *(text + _BREAK for text in texts), _BREAK * (strips * size - total)])
        letters = np.frombuffer(stream, dtype=np.uint8)
        # One row per position in a strip, so that the bytes of one step are adjacent in memory.
        strided = np.lib.stride_tricks.as_strided(letters, (size + MEMORY, strips), (1, size), writeable=False)
        steps = strided.astype(np.int64)
        state: NDArray[np.integer[Any]] = np.zeros(strips, dtype=np.int64)
        # The feature that each state emits. Where it emits none, a number after the last feature.
        emitted = np.empty((size, strips), dtype=self._emits.dtype)
        for position, places in enumerate(steps, start=-MEMORY):
            places += self._row.take(state)
            state = self._next.take(places)
            if position >= 0:
                emitted[position] = self._emits.take(state)
        width = len(self._table) + 1
        owners: Integers = np.arange(len(texts), dtype=np.int64) * width
        if len(texts) * width < 1 << 31:
            owners = owners.astype(np.int32)
        keys = _sorted(np.repeat(owners, sizes) + emitted.T.ravel()[:total], sizes, owners + width - 1)
        first = _first(keys)
        numbers, features = np.divmod(keys[first], width)
        counts = np.diff(first, append=len(keys))
        is_feature = features < width - 1
        return numbers[is_feature], features[is_feature], np.log1p(counts[is_feature], dtype=np.float32)


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
        if len(self.labels) == 1:
            return np.ones((len(texts), 1), dtype=np.float32)
        return self._calibrated(texts, self._products)

    def exceed(self, texts: list[str], columns: list[int], least: float) -> list[bool]:
        """For each text, whether a label of these columns has at least this probability.

        The probabilities of all texts are computed at once, with sums that are rounded in another order than those of
        ``probabilities``. Where this could matter, ``probabilities`` decides.
        """
        if not columns:
            return [False] * len(texts)
        largest = self._calibrated(texts, self._sums)[:, columns].max(axis=1, initial=0)
        results: list[bool] = (largest >= least).tolist()
        close = np.flatnonzero(np.abs(largest - least) < ROUNDING).tolist()
        if close:
            exact = self.probabilities([texts[number] for number in close])[:, columns].max(axis=1) >= least
            for number, result in zip(close, exact.tolist(), strict=True):
                results[number] = result
        return results

    def _calibrated(self, texts: list[str], multiply: Product) -> NDArray[np.float32]:
        encoded = encode(texts)
        scores = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        numbers, features, weights = self._model.features(encoded)
        first = _first(numbers)
        # Empty if no text has a known feature.
        present = numbers[first]
        if len(first):
            scores[present] = multiply(features, weights, first) + self._prior
        sizes = np.array([len(text) or 1 for text in encoded], dtype=np.float32)
        scores /= np.sqrt(sizes)[:, None]
        scores -= scores.max(axis=1, keepdims=True, initial=-np.inf)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        return scores

    def _products(self, features: Integers, weights: NDArray[np.float32], first: Integers) -> NDArray[np.float32]:
        """The product of each text with the table, one after the other."""
        starts = first.tolist()
        ends = [*starts[1:], len(features)]
        products = np.empty((len(starts), len(self.labels)), dtype=np.float32)
        for product, start, end in zip(products, starts, ends, strict=True):
            np.matmul(weights[start:end], self._table.take(features[start:end], axis=0), out=product)
        return products

    def _sums(self, features: Integers, weights: NDArray[np.float32], first: Integers) -> NDArray[np.float32]:
        """As ``_products``, label by label, for all texts at once."""
        sums = [np.add.reduceat(column.take(features) * weights, first) for column in self._transposed]
        return np.stack(sums, axis=1)

    @cached_property
    def _transposed(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self._table.T)


def _first(values: Integers) -> Integers:
    """Places of the first of equal neighbours."""
    is_first = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=is_first[1:])
    return np.flatnonzero(is_first)


def _sorted(keys: Integers, sizes: Integers, last: Integers) -> Integers:
    """Keys in order, where all keys of a text are smaller than those of the next one.

    Args:
        keys: those of all texts, one text after the other.
        sizes: number of keys of each text.
        last: a key of each text that is not smaller than its others. The result may have more of these.
    """
    longest = int(sizes.max(initial=0))
    if len(sizes) * longest > MOST_PADDING * len(keys):
        return np.sort(keys)
    # Short rows are sorted in a tenth of the time.
    rows = np.repeat(last[:, None], longest, axis=1)
    rows[np.arange(longest) < sizes[:, None]] = keys
    rows.sort(axis=1)
    return rows.ravel()


def encode(texts: Sequence[str]) -> list[bytes]:
    """The bytes of texts in the form that the model was trained on."""
    cased = [text.lower() if text.isupper() else text for text in texts]
    # A part of a text in NFC is in NFC.
    if not is_composed("\n".join(cased)):
        cased = list(map(compose, cased))
    return [text.encode("utf-8", "surrogatepass") for text in cased]


@cache
def model() -> NgramModel:
    """The model, loaded once (about 0.9 s)."""
    return NgramModel()
