"""Slices of a corpus, which workers screen at the same time, each into a file of records in the order of its rows.

A corpus of files is divided into slices of ``corpus.slice_rows`` rows, so slices depend on the corpus and the recipe
alone. What is kept and what is dropped of a slice is stored in two files. The position of each passage among all
records of its slice gives the order back, and the end of its batch tells where reading stops when ``corpus.passages``
is reached. So the stage reads a slice that was made before as if it screened the rows now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from x_instruction.config.corpus import Corpus
from x_instruction.corpus import characters
from x_instruction.corpus.dedup import text_keys
from x_instruction.corpus.screen import Screen
from x_instruction.corpus.sources import Start, Tally, read_from
from x_instruction.languages import Language
from x_instruction.records import Dropped, Passage, Screened, extend


@dataclass(frozen=True, slots=True)
class MadeSlice:
    """A slice that was screened before.

    Args:
        documents: number of its rows that are documents.
        reasons: reason to number of what was dropped.
        kept, dropped: read what was kept and what was dropped, in order.
    """

    documents: int
    reasons: dict[str, int]
    kept: Callable[[], Iterable[Screened]]
    dropped: Callable[[], Iterable[Dropped]]

    def records(self, enough: Callable[[], bool]) -> Iterator[Passage | Dropped]:
        """All records in the order in which they were made, up to the end of the batch in which there are enough.

        Args:
            enough: called after each passage: whether enough passages are kept.
        """
        lost = iter(self.dropped())
        position = batch_end = 0
        for passage in self.kept():
            if passage.batch_end != batch_end and enough():
                break
            yield from islice(lost, passage.position - position)
            yield passage
            position, batch_end = passage.position + 1, passage.batch_end
        yield from islice(lost, batch_end - position if enough() else None)


def slice_records(
    corpus: Corpus, language: Language, screen: Screen, start: Start, tally: Tally, seen: Callable[[int], None]
) -> Iterator[Screened | Dropped]:
    """Screen one slice.

    Args:
        corpus: the corpus.
        language: its language.
        screen: screens documents of the language.
        start: where the slice begins.
        tally: counts the rows of the slice.
        seen: called with the number of rows screened so far.

    Raises:
        CorpusError: the corpus cannot be read.
    """
    rows = islice(read_from(corpus, language, start), corpus.slice_rows)
    near = corpus.filters.near_duplicates
    end = 0
    for batch, count in screen.batches(tally.counted(rows)):
        position, end = end, end + len(batch)
        texts = [record.text for record in batch if isinstance(record, Passage)] if near else []
        keys = iter(text_keys(texts, corpus.filters.near_duplicate_jaccard, characters.spaced(language)))
        for number, record in enumerate(batch, start=position):
            if isinstance(record, Passage):
                yield extend(record, Screened, position=number, batch_end=end, keys=next(keys, b""))
            else:
                yield record
        seen(count)
