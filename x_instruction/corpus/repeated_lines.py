"""Remove lines that many documents of a source share, such as footers, menus and licence notes.

Documents are read in blocks, and a line of a block is repeated if more documents of it than the threshold have it.
What is known of a source holds for its later blocks too. So every document is judged with the documents of its own
block and all before it, memory is bounded, a limit of passages reads at most one block more than it needs, and the
result depends on the order of the corpus alone.

Documents that are mostly repeated lines do not count, because copies of one document repeat all of its lines; finding
copies is left to the search for duplicates. A short repeated line between other text is a heading and stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise

from x_instruction.corpus.sources import Document
from x_instruction.records import Dropped

# Documents and characters of a block. They bound the memory.
DOCUMENTS = 2_000
CHARACTERS = 1 << 23
# Documents that must have a line, whatever their share.
LEAST = 5
# Repeated lines that are remembered of a source.
KNOWN = 1 << 17
# Share of a document that must be its own for the document to count.
OWN = 1 / 3
# A line of so many characters is no heading, and is removed wherever it is.
LONG_LINE = 60


def without_repeated_lines(
    documents: Iterable[Document | Dropped], share: float
) -> Iterator[tuple[Document | Dropped, str]]:
    """Each document with its text without repeated lines, in order. Dropped rows pass.

    Args:
        documents: normalised documents. Those of one source must follow each other.
        share: largest share of the documents of a block in which a line may occur, 0 to 1. A line in fewer than
            ``LEAST`` documents is never removed.
    """
    known: set[int] = set()
    for block, is_new in _blocks(documents):
        known = set() if is_new else known
        texts = [document.text if isinstance(document, Document) else "" for document in block]
        # Hashes of strings differ between processes, and are only compared within this loop.
        lines = [{hash(line) for line in text.split("\n") if line} for text in texts]
        found = _repeated(texts, lines, share)
        if len(known) < KNOWN:
            known |= found
        for document, text, own in zip(block, texts, lines, strict=True):
            yield document, text if own.isdisjoint(known) else _without(text, known)


def without_echoes(text: str) -> str:
    """The text without lines that repeat the one before them, as titles of pages do."""
    lines = text.split("\n")
    filled = [number for number, line in enumerate(lines) if line]
    echoes = {later for earlier, later in pairwise(filled) if lines[earlier] == lines[later]}
    return "\n".join(line for number, line in enumerate(lines) if number not in echoes) if echoes else text


def _blocks(documents: Iterable[Document | Dropped]) -> Iterator[tuple[list[Document | Dropped], bool]]:
    """Documents of one source, and whether they are the first of it."""
    block: list[Document | Dropped] = []
    source, size, is_new = None, 0, True
    for document in documents:
        changes = isinstance(document, Document) and source not in (None, document.source)
        if block and (changes or len(block) >= DOCUMENTS or size >= CHARACTERS):
            yield block, is_new
            block, size, is_new = [], 0, changes
        if isinstance(document, Document):
            source = document.source
            size += len(document.text)
        block.append(document)
    if block:
        yield block, is_new


def _repeated(texts: list[str], lines: list[set[int]], share: float) -> set[int]:
    """Hashes of the lines that are in more documents than ``share`` allows."""
    most = max(LEAST - 1, share * sum(map(bool, texts)))
    counts: Counter[int] = Counter()
    for own in lines:
        counts.update(own)
    frequent = {line for line, count in counts.items() if count > most}
    if not frequent:
        return frequent
    evidence: Counter[int] = Counter()
    for text, own in zip(texts, lines, strict=True):
        shared = own & frequent
        if shared:
            left = sum(len(line) for line in text.split("\n") if hash(line) not in frequent)
            if left >= OWN * len(text):
                evidence.update(shared)
    return {line for line, count in evidence.items() if count > most}


def _without(text: str, known: set[int]) -> str:
    """The text without known lines: those at its beginning and end, long ones, and several in a row."""
    lines = text.split("\n")
    filled = [number for number, line in enumerate(lines) if line]
    removed: set[int] = set()
    for is_known, group in groupby(filled, key=lambda number: hash(lines[number]) in known):
        run = list(group)
        if is_known and (
            len(run) > 1 or run[0] == filled[0] or run[-1] == filled[-1] or len(lines[run[0]]) >= LONG_LINE
        ):
            removed.update(run)
    return "\n".join(line for number, line in enumerate(lines) if number not in removed).strip("\n")
