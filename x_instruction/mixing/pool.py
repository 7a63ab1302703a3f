"""What a mix is drawn from: items, each asked and answered in some languages. Texts wait on disk, not in memory."""

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
Numbers = npt.NDArray[np.uint64]


class TextRef(NamedTuple):
    """An instruction, its input below it, or a response, and where it is from."""

    text: str
    source: str
    license: str


class ExamplePool:
    """Items by number, in order of their ids whatever order they came in.

    Args:
        folder: where the texts wait; their file is removed on closing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "texts.spool"
        self._stream = open(self._path, "w+b", buffering=1 << 20)  # noqa: SIM115
        self._end = self._written = 0
        self._numbers: dict[tuple[Kind, str], int] = {}
        # By role and language: where each item's text begins and how long it is, 0 for none.
        self._places: dict[tuple[str, str], tuple[array[int], array[int]]] = {}
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
        """Take one more pair; what it says must not contradict an earlier pair of the same id.

        Of two files of the same language that number their rows alike, the second is let go and never mixed up.
        """
        number = self._numbers.setdefault((kind, pair.id), len(self._numbers))
        new = [("ask", pair.instruction_language, pair.asked), ("answer", pair.language, pair.output)]
        for role, tag, text in new:
            there = self._piece(role, tag, number)
            if there is not None and there.text != text:
                detail = f"another {'instruction' if role == 'ask' else 'response'} in {tag} has this id"
                return dropped(pair.id, "conflicting_id", detail, text)
        for role, tag, text in new:
            if self._piece(role, tag, number) is None:
                self._write(role, tag, number, TextRef(text, pair.source, pair.license))
        return None

    def close(self) -> None:
        """No more pairs come: number the items by their ids."""
        ids = list(self._numbers)
        self._order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp)
        self._ids = [ids[number] for number in self._order]

    def has(self, role: str, tag: str) -> npt.NDArray[np.bool_]:
        """Which items have a text: ``ask`` or ``answer`` in a language, ``(items,)``."""
        found = np.zeros(len(self), dtype=bool)
        if (role, tag) in self._places:
            lengths = np.frombuffer(self._places[role, tag][1], dtype=np.int64)
            found[: len(lengths)] = lengths > 0
        return found[self._order]

    def kinds(self, kind: Kind) -> npt.NDArray[np.bool_]:
        """Which items are of a kind, ``(items,)``."""
        return np.fromiter((known == kind for known, _ in self._ids), dtype=bool, count=len(self))

    def keys(self, seed: int) -> Numbers:
        """A number for every item that only its id and the seed decide, ``(items,)``."""
        return np.fromiter((hashed(seed, *id) for id in self._ids), dtype=np.uint64, count=len(self))

    def id(self, item: int) -> tuple[Kind, str]:
        """Kind and id of an item."""
        return self._ids[item]

    def piece(self, role: str, tag: str, item: int) -> TextRef:
        """A text of an item.

        Raises:
            KeyError: it has none.
        """
        found = self._piece(role, tag, int(self._order[item]))
        if found is None:
            raise KeyError((role, tag, self._ids[item]))
        return found

    def _piece(self, role: str, tag: str, number: int) -> TextRef | None:
        starts, lengths = self._places.get((role, tag), (array("q"), array("q")))
        if number >= len(lengths) or not lengths[number]:
            return None
        if starts[number] + lengths[number] > self._written:
            self._stream.flush()
            self._written = self._end
        # Past the stream's buffer, which would be filled anew for every text.
        text, source, license = json.loads(os.pread(self._stream.fileno(), lengths[number], starts[number]))
        return TextRef(text, source, license)

    def _write(self, role: str, tag: str, number: int, piece: TextRef) -> None:
        starts, lengths = self._places.setdefault((role, tag), (array("q"), array("q")))
        missing = number + 1 - len(lengths)
        if missing > 0:
            starts.extend([0] * missing)
            lengths.extend([0] * missing)
        content = json.dumps(piece).encode()
        self._stream.write(content)
        starts[number], lengths[number] = self._end, len(content)
        self._end += len(content)


def hashed(*parts: object) -> int:
    """64 bits that plain values decide, the same on every machine."""
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def mix_hash(numbers: Numbers, *parts: object) -> Numbers:
    """Other numbers, as good as chance, that ``numbers`` and the parts decide (SplitMix64's last step)."""
    found = numbers ^ np.uint64(hashed(*parts))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return found ^ (found >> np.uint64(31))
