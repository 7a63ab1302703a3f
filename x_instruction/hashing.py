"""Digests of plain data, and seeds derived from them."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(value: Any) -> str:
    """Digest of plain data, independent of key order: 32 hex digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def derive_seed(seed: int, *parts: object, bits: int = 63) -> int:
    """A seed that depends on ``seed`` and on what it is for, and not on the order of the work.

    Args:
        seed: the recipe's seed.
        parts: what the seed is for, such as a document id and a candidate number.
        bits: size of the result; scikit-learn takes 32 at most.
    """
    return int(digest([seed, *map(str, parts)])[:16], 16) >> (64 - bits)
