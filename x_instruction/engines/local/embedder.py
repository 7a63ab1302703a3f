"""Sentence encoders through sentence-transformers: each text becomes one vector of unit length.

Not an ``Engine``, since it has none of the three capabilities; it is in this package because it loads and runs a model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.engines.models import PLAIN, loading, locate
from x_instruction.errors import EngineError, MissingExtra

try:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "sentence_transformers", "embed") from error

# In a recipe ``embedded`` names the packaged model of the right type: here the sentence encoder.
_EMBEDDED = {"embedded": "embedded-minilm"}


class Embedder:
    """A sentence encoder in this process, on a GPU if there is one.

    Args:
        name: ``embedded``, or a Hub id or local folder of a model in sentence-transformers format.
        revision: branch, tag or commit on the Hub.
        threads: CPU threads. They affect the result: sums over another number of threads round differently.
        batch_size: texts per forward pass.

    Attributes:
        model: the model's name in records.
        revision: commit on the Hub, or digest of the files.
        dimension: length of a vector, ``d``.
        halved: whether batches have half the size, where a GPU has too little memory.

    Raises:
        EngineError: the model does not exist, is not a sentence encoder or cannot be loaded.
    """

    def __init__(self, name: str, revision: str = "main", threads: int = 1, batch_size: int = 64) -> None:
        files = locate(_EMBEDDED.get(name, name), revision)
        self.model = files.name
        self.revision = files.revision
        self.threads = threads
        self.batch_size = batch_size
        self.halved = False
        self._encoder = _load(files.name, files.folder)
        self.dimension = self._forward([""]).shape[1]

    def encode(
        self, texts: Sequence[str], on_progress: Callable[[int], None] = lambda done: None
    ) -> npt.NDArray[np.float32]:
        """Encode texts: ``(n, d)`` float32, rows of unit length.

        Equal texts are encoded once. Batches depend on the set of texts alone, so the order of ``texts`` does not
        change the vectors. Text beyond the encoder's limit (256 tokens for ``embedded``) is ignored.

        Args:
            texts: the texts, in any order.
            on_progress: called after each batch with the number of texts encoded so far.
        """
        rows: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            rows.setdefault(text, []).append(row)
        # Sorted by length, so that a batch has little padding; longest first, so that a batch that does not fit into
        # memory fails at once.
        distinct = sorted(rows, key=lambda text: (-len(text), text))
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        done = 0
        size = max(1, self.batch_size // 2) if self.halved else self.batch_size
        for start in range(0, len(distinct), size):
            batch = distinct[start : start + size]
            for text, vector in zip(batch, self._forward(batch), strict=True):
                vectors[rows[text]] = vector
                done += len(rows[text])
            on_progress(done)
        return vectors

    def _forward(self, batch: list[str]) -> npt.NDArray[np.float32]:
        if self._encoder.device.type == "cpu":
            torch.set_num_threads(self.threads)
        vectors: npt.NDArray[np.float32] = self._encoder.encode(
            batch, batch_size=self.batch_size, show_progress_bar=False, normalize_embeddings=True
        )
        return vectors


def _load(name: str, folder: Path) -> Any:
    # Without this file sentence-transformers adds mean pooling to any transformer, which gives poor sentence vectors.
    if not (folder / "modules.json").exists():
        raise EngineError(
            f"{name!r} is not a sentence encoder (it has no modules.json): name a model in sentence-transformers "
            "format, or 'embedded'"
        )
    with loading(f"{name!r} as a sentence encoder"), _quiet():
        # bfloat16 is about 100 times slower on CPUs without matrix instructions, and encoders fit on any GPU.
        options = {"dtype": torch.float32, "use_safetensors": True}
        return SentenceTransformer(str(folder), local_files_only=True, model_kwargs=options, **PLAIN)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide transformers' progress bar, which would overwrite the run's own."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()
