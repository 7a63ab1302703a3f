"""How alike the rows in a report are: a map of their instructions, and near-duplicates."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from x_instruction.corpus.characters import spaced
from x_instruction.corpus.dedup import Deduplicator
from x_instruction.corpus.words import words
from x_instruction.languages import language
from x_instruction.records import Dropped, Passage

# Words that the map tells instructions apart by.
MOST_WORDS = 2_000
# Texts with at least this Jaccard similarity of their shingles are near-duplicates, as in the corpus stage.
JACCARD = 0.7


def positions(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """A point for each text, ``(n, 2)``: the first components of TF-IDF, as in latent semantic analysis.

    Runs do not store embeddings, and these need no model.
    """
    found = [words(text) for text in texts]
    frequency = Counter(word for one in found for word in set(one))
    usual = sorted(frequency.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS]
    column = {word: number for number, (word, count) in enumerate(usual) if count > 1}
    counts = np.zeros((len(texts), len(column)))
    for row, one in enumerate(found):
        for word in one:
            if word in column:
                counts[row, column[word]] += 1
    weights = np.log(len(texts) / np.array([frequency[word] for word in column]))
    values = np.log1p(counts) * weights
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    values = np.divide(values, norms, out=values, where=norms > 0)
    values -= values.mean(axis=0)
    if min(values.shape) < 2:
        return np.zeros((len(texts), 2))
    points = _components(values)
    # The sign of a component is arbitrary, and the last digits depend on the processor.
    points *= np.where(points[np.abs(points).argmax(axis=0), [0, 1]] < 0, -1, 1)
    rounded: npt.NDArray[np.float64] = np.round(points, 3) + 0.0
    return rounded


def _components(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows along the first two principal axes, ``(n, 2)``.

    They are the eigenvectors of the products of columns, or follow from those of the products of rows, whichever are
    fewer. This takes a third of the time of a singular value decomposition.
    """
    rows, columns = values.shape
    if columns < rows:
        return np.asarray(values @ np.linalg.eigh(values.T @ values)[1][:, :-3:-1])
    squares, axes = np.linalg.eigh(values @ values.T)
    return np.asarray(axes[:, :-3:-1] * np.sqrt(np.maximum(squares[:-3:-1], 0)))


def near_duplicates(tag: str, ids: Sequence[str], texts: Sequence[str]) -> list[tuple[str, str]]:
    """Ids of texts that are near-duplicates of an earlier one, each with what it is like.

    Args:
        tag: Language of the texts.
        ids: Id of each text.
        texts: The texts.
    """
    with tempfile.TemporaryDirectory() as folder, Deduplicator(Path(folder), JACCARD, spaced(language(tag))) as seen:
        for id, text in zip(ids, texts, strict=True):
            seen.add(_passage(id, tag, text))
        seen.decide()
        return [(record.id, record.detail) for record in seen.survivors() if isinstance(record, Dropped)]


def _passage(id: str, tag: str, text: str) -> Passage:
    return Passage(
        id=id,
        language=tag,
        text=text,
        document_id=id,
        segment=0,
        source="",
        url="",
        license="",
        text_hash="",
        identified=tag,
        identified_confidence=1.0,
    )
