import hashlib
import zlib

import factories
import numpy as np
import pytest


@pytest.fixture
def rated():
    """Make a rated record; omitted fields get defaults."""

    def make(instruction, score=0.0, language="sw", id=None, candidate=0, **values):
        number = id or hashlib.sha256(instruction.encode()).hexdigest()[:16]
        fields = {"id": f"{language}-{number}", "instruction": instruction, "score": score, "candidate": candidate}
        return factories.rated(tag=language, **fields | values)

    return make


class WordEncoder:
    """Adds up one fixed random direction per word: texts that share words are near."""

    model = "words"
    revision = "1"

    def __init__(self, size=16):
        self.size = size
        self.calls = []

    def encode(self, texts, seen=lambda done: None):
        self.calls.append(list(texts))
        rows = np.array([self._vector(text) for text in texts], dtype=np.float32).reshape(len(texts), self.size)
        seen(len(texts))
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)

    def _vector(self, text):
        words = text.casefold().split()
        return sum(np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.size) for word in words)


@pytest.fixture
def encoder():
    return WordEncoder()
