"""The pool of a mix: items with an instruction and a response in one or more languages. Texts are kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from x_instruction.records import Dropped, dropped
from x_instruction.seed.pairs import Pair

Kind = Literal["seed", "web"]
Role = Literal["instruction", "response"]
Numbers = npt.NDArray[np.uint64]


class TextRef(NamedTuple):
    """An instruction (with its input below it) or a response, with its source and licence."""

    text: str
    source: str
    license: str


class ExamplePool:
    """Items, numbered in the order of their ids whatever order they were added in.

    Args:
        folder: folder of the temporary file with the texts, which is removed on exit.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "texts.spool"
        self._stream = open(self._path, "w+b", buffering=1 << 20)  # noqa: SIM115
        # Bytes written, and bytes flushed so that they can be read.
        self._end = self._flushed = 0
        # Numbers in the order of arrival; ``freeze`` maps them to the order of ids.
        self._numbers: dict[tuple[Kind, str], int] = {}
        # By role and language: offset and length in the file of each item's text; length 0 for no text.
        self._spans: dict[tuple[Role, str], tuple[array[int], array[int]]] = {}
        self._order: npt.NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._ids: list[tuple[Kind, str]] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def __enter__(self) -> ExamplePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._path.unlink(missing_ok=True)

    def add(self, pair: Pair, kind: Kind) -> Dropped | None:
        """Add a pair. It is dropped if an earlier pair with its id has another text in the same language.

        So if two files of one language number their rows alike, the rows of the second are dropped, not mixed up.
        """
        number = self._numbers.setdefault((kind, pair.id), len(self._numbers))
        texts: list[tuple[Role, str, str]] = [
            ("instruction", pair.instruction_language, pair.asked),
            ("response", pair.language, pair.output),
        ]
        for role, tag, text in texts:
            earlier = self._read(role, tag, number)
            if earlier is not None and earlier.text != text:
                return dropped(pair.id, "conflicting_id", f"another {role} in {tag} has this id", text)
        for role, tag, text in texts:
            if self._read(role, tag, number) is None:
                self._write(role, tag, number, TextRef(text, pair.source, pair.license))
        return None

    def freeze(self) -> None:
        """Number the items in the order of their ids. Call it once, after the last pair."""
        ids = list(self._numbers)
        self._order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp)
        self._ids = [ids[number] for number in self._order]

    def has(self, role: Role, tag: str) -> npt.NDArray[np.bool_]:
        """Which items have an instruction or a response in a language, ``(items,)``."""
        present = np.zeros(len(self), dtype=bool)
        if (role, tag) in self._spans:
            lengths = np.frombuffer(self._spans[role, tag][1], dtype=np.int64)
            present[: len(lengths)] = lengths > 0
        return present[self._order]

    def of_kind(self, kind: Kind) -> npt.NDArray[np.bool_]:
        """Which items are of a kind, ``(items,)``."""
        return np.fromiter((own == kind for own, _ in self._ids), dtype=bool, count=len(self))

    def keys(self, seed: int) -> Numbers:
        """A hash for every item that depends on its id and the seed only, ``(items,)``."""
        return np.fromiter((hash64(seed, *id) for id in self._ids), dtype=np.uint64, count=len(self))

    def id(self, item: int) -> tuple[Kind, str]:
        """Kind and id of an item."""
        return self._ids[item]

    def text(self, role: Role, tag: str, item: int) -> TextRef:
        """The instruction or response of an item in a language.

        Raises:
            KeyError: the item has none.
        """
        text = self._read(role, tag, int(self._order[item]))
        if text is None:
            raise KeyError((role, tag, self._ids[item]))
        return text

    def _read(self, role: Role, tag: str, number: int) -> TextRef | None:
        starts, lengths = self._spans.get((role, tag), (array("q"), array("q")))
        if number >= len(lengths) or not lengths[number]:
            return None
        if starts[number] + lengths[number] > self._flushed:
            self._stream.flush()
            self._flushed = self._end
        # Bypasses the stream's buffer, which would be refilled for every text.
        text, source, license = json.loads(os.pread(self._stream.fileno(), lengths[number], starts[number]))
        return TextRef(text, source, license)

    def _write(self, role: Role, tag: str, number: int, text: TextRef) -> None:
        starts, lengths = self._spans.setdefault((role, tag), (array("q"), array("q")))
        missing = number + 1 - len(lengths)
        if missing > 0:
            starts.extend([0] * missing)
            lengths.extend([0] * missing)
        content = json.dumps(text).encode()
        self._stream.write(content)
        starts[number], lengths[number] = self._end, len(content)
        self._end += len(content)


def hash64(*parts: object) -> int:
    """A 64-bit hash of plain values, the same on every machine."""
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def mix_hash(numbers: Numbers, *parts: object) -> Numbers:
    """Pseudo-random numbers that depend on ``numbers`` and the parts only (the finalizer of SplitMix64)."""
    state = numbers ^ np.uint64(hash64(*parts))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    return state ^ (state >> np.uint64(31))
