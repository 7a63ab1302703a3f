"""Digests of plain data, and seeds derived from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

canonical: Callable[[Any], str] = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""Plain data as JSON, independent of key order."""


def digest(value: Any) -> str:
    """Digest of plain data, independent of key order: 32 hex digits."""
    return digest_of_json(canonical(value))


def digest_of_json(text: str) -> str:
    """As ``digest``, of what ``canonical`` returns."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def sealed(table: dict[str, Any]) -> dict[str, Any]:
    """A table for a JSON file, with a checksum of its fields last."""
    # Of the fields as they are read again: keys of JSON are texts.
    return table | {"checksum": _checksum(json.loads(json.dumps(table)))}


def unsealed(table: Any) -> dict[str, Any]:
    """The fields of a table that ``sealed`` made. Files of earlier versions have no checksum.

    Raises:
        TypeError, ValueError: it is no table, or a field was changed since.
    """
    if not isinstance(table, dict):
        raise TypeError(f"it has a {type(table).__name__}, expected an object")
    fields = {name: value for name, value in table.items() if name != "checksum"}
    if table.get("checksum", checksum := _checksum(fields)) != checksum:
        raise ValueError("its fields are not those that were written")
    return fields


def _checksum(table: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def derive_seed(seed: int, *parts: object, bits: int = 63) -> int:
    """A seed that depends on ``seed`` and on what it is for, and not on the order of the work.

    Args:
        seed: the recipe's seed.
        parts: what the seed is for, such as a document id and a candidate number.
        bits: size of the result; scikit-learn takes 32 at most.
    """
    return int(digest([seed, *map(str, parts)])[:16], 16) >> (64 - bits)
