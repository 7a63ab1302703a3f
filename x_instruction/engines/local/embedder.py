"""Sentence encoders through sentence-transformers: text in, one vector of unit length out.

Not an ``Engine``: it has none of the three verbs. It stands here because it loads and runs a model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.engines.models import locate
from x_instruction.errors import EngineError, MissingExtra

try:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "sentence_transformers", "embed") from error

# In a recipe ``embedded`` is the packaged model that fits the place: here the sentence encoder.
_EMBEDDED = {"embedded": "embedded-minilm"}


class Embedder:
    """A sentence encoder in this process, on a GPU where there is one.

    Args:
        name: ``embedded``, a Hub id or a local folder, of a model in the format of sentence-transformers.
        revision: branch, tag or commit, for the Hub.
        threads: CPU threads; part of the result, since sums over another number of threads round otherwise.
        batch_size: texts in one forward pass.

    Attributes:
        model: the name; ``embedded-minilm`` for ``embedded``, which also names a language model.
        revision: commit on the Hub, or digest of the files.
        dimension: numbers per vector, ``d``.

    Raises:
        EngineError: the model is not there, is no sentence encoder or cannot be loaded.
    """

    def __init__(self, name: str, revision: str = "main", threads: int = 1, batch_size: int = 64) -> None:
        files = locate(_EMBEDDED.get(name, name), revision)
        self.model = files.name
        self.revision = files.revision
        self.threads = threads
        self.batch_size = batch_size
        self._encoder = _load(files.name, files.folder)
        self.dimension = self._forward([""]).shape[1]

    def encode(self, texts: Sequence[str], seen: Callable[[int], None] = lambda done: None) -> npt.NDArray[np.float32]:
        """One row per text, ``(n, d)`` float32 of unit length.

        Equal texts are encoded once. Batches follow from the set of texts alone, so the order of ``texts`` does not
        touch the numbers. Text beyond the encoder's own limit (256 tokens for ``embedded``) is not read.

        Args:
            texts: in any order.
            seen: called with the number of texts done so far, after each batch.
        """
        places: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            places.setdefault(text, []).append(row)
        # By length, so that a batch pads little; longest first, so that too large a batch fails at once.
        distinct = sorted(places, key=lambda text: (-len(text), text))
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        done = 0
        for start in range(0, len(distinct), self.batch_size):
            batch = distinct[start : start + self.batch_size]
            for text, vector in zip(batch, self._forward(batch), strict=True):
                rows[places[text]] = vector
                done += len(places[text])
            seen(done)
        return rows

    def _forward(self, batch: list[str]) -> npt.NDArray[np.float32]:
        if self._encoder.device.type == "cpu":
            torch.set_num_threads(self.threads)
        vectors: npt.NDArray[np.float32] = self._encoder.encode(
            batch, batch_size=self.batch_size, show_progress_bar=False, normalize_embeddings=True
        )
        return vectors


def _load(name: str, folder: Path) -> Any:
    # Without this file sentence-transformers puts mean pooling on any transformer: numbers that mean little.
    if not (folder / "modules.json").exists():
        raise EngineError(
            f"{name!r} holds no modules.json, so it is no sentence encoder: name a model in the format of "
            "sentence-transformers, or 'embedded'"
        )
    try:
        with _quiet():
            # Half precision is a hundred times slower on most CPUs, and encoders are small enough for any GPU.
            return SentenceTransformer(str(folder), local_files_only=True, model_kwargs={"dtype": torch.float32})
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EngineError(f"cannot load {name!r} as a sentence encoder: {reason}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing a bar over the run's own progress."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()
