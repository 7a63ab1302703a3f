import hashlib
import zlib

import numpy as np
import pytest

from x_instruction.records import Rated


@pytest.fixture
def rated():
    """Make a rated record; what is not named is filled in."""

    def make(instruction, score=0.0, language="sw", id=None, candidate=0, **values):
        number = id or hashlib.sha256(instruction.encode()).hexdigest()[:16]
        fields = {
            "id": f"{language}-{number}",
            "language": language,
            "text": "Jibu.",
            "document_id": "d",
            "segment": 0,
            "source": "sample",
            "url": "",
            "license": "CC0-1.0",
            "text_hash": "0" * 64,
            "identified": language,
            "identified_confidence": 1.0,
            "instruction": instruction,
            "instruction_language": "en",
            "style": "question",
            "candidate": candidate,
            "round": 0,
            "finish_reason": "stop",
            "generator": "g",
            "generator_revision": "1",
            "generator_prompt": "p",
            "rater": "pmi:g",
            "rater_revision": "1",
            "score": score,
            "p_best": None,
            "p_flawed": None,
            "p_worst": None,
        }
        return Rated(**fields | values)

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
