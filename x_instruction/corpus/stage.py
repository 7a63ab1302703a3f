"""The corpus stage: from documents to passages of one language.

    read -> strip markup -> normalise -> mask personal data -> repeated lines -> segment -> whole sentences
    -> filters -> identify -> lines in another language -> evaluation sets
    -> quality -> exact and near duplicates

Personal data is masked before documents are cut and passages dropped, so that no cut splits a phone number and dropped
text is masked too. The quality filters run before the identifier because they are cheaper. The language is checked per
passage and then per document: if too much of a document is in another language, all its passages are dropped, because
a half-translated page is rarely good text.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from x_instruction.config.corpus import Corpus
from x_instruction.corpus import characters
from x_instruction.corpus.contamination import evaluation_sets
from x_instruction.corpus.dedup import Deduplicator, SeenTexts
from x_instruction.corpus.quality import load
from x_instruction.corpus.screen import Screen
from x_instruction.corpus.slices import MadeSlice
from x_instruction.corpus.sources import BEGINNING, Start, Tally, read_from
from x_instruction.languages import Language
from x_instruction.records import Dropped, Passage, dropped


@dataclass(slots=True)
class Quota:
    """The maximum number of passages, and whether it is reached, so that reading can stop."""

    limit: int | None
    reached: bool = False


def check_inputs(corpus: Corpus, languages: Iterable[Language]) -> None:
    """Read what the stage needs besides the corpus, so that nothing is made before an error in it is found.

    Raises:
        CorpusError: an evaluation set cannot be read.
        RecipeError: the quality head cannot be read, or is of another embedder.
    """
    if corpus.filters.quality_head:
        load(Path(corpus.filters.quality_head), corpus.filters.quality_embedder)
    for language in languages:
        evaluation_sets(corpus.decontaminate, language, corpus.overlap_words, corpus.max_row_bytes)


def passages(
    corpus: Corpus,
    language: Language,
    folder: Path,
    seen: Callable[[int], None] = lambda documents: None,
    made: Sequence[MadeSlice] = (),
    rest: Start | None = BEGINNING,
) -> Iterator[Passage | Dropped]:
    """Passages of one language, and what was dropped.

    Every row becomes passages or ``Dropped`` with a reason. Dropped rows are yielded immediately. Passages are yielded
    in the order of the corpus: immediately without ``near_duplicates``, else after the comparison. With
    ``corpus.passages``, reading stops when enough passages are kept, and what was read ahead is dropped with
    ``passage_limit``. The kept passages are the same as if the whole corpus had been read.

    Args:
        corpus: settings of the source and the thresholds.
        language: the language to read.
        folder: folder for temporary files, about twice the size of the kept text; they are removed at the end and on
            errors.
        seen: called with the number of rows read so far.
        made: the first slices of the corpus, screened before. The result is the same without them.
        rest: the row after these slices; None if they are all of the corpus.

    Raises:
        CorpusError: the corpus or an evaluation set cannot be read, or the corpus holds no document.
        RecipeError: no identifier knows the language.
        MissingExtra: ``filters.lid_model`` is set and fastText is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corpus-", dir=folder)))
        seen_texts = SeenTexts(temporary)
        stack.callback(seen_texts.close)
        quota = Quota(corpus.passages)
        screened = stack.enter_context(closing(_screened(corpus, language, seen, quota, made, rest)))
        unique = _unique(screened, seen_texts)
        if corpus.filters.near_duplicates:
            words = characters.spaced(language)
            near = stack.enter_context(Deduplicator(temporary, corpus.filters.near_duplicate_jaccard, words))
            unique = _unlike(unique, near, quota)
        yield from _bounded(unique, quota)


def _screened(
    corpus: Corpus,
    language: Language,
    seen: Callable[[int], None],
    quota: Quota,
    made: Sequence[MadeSlice],
    rest: Start | None,
) -> Generator[Passage | Dropped, None, None]:
    """Passages that pass the filters and the language check, before duplicates are removed, slice by slice."""
    tally = Tally()
    for piece in made:
        yield from piece.records(lambda: quota.reached)
        tally.rows += piece.documents
        tally.documents += piece.documents
        tally.errors.update(piece.reasons)
        seen(tally.rows)
        if quota.reached:
            return
    rows = tally.counted(read_from(corpus, language, rest)) if rest else iter(())
    size = corpus.slice_rows if corpus.source == "files" else sys.maxsize
    screen = None
    while first := next(rows, None):
        screen = screen or Screen(corpus, language)
        before = tally.rows - 1
        for batch, count in screen.batches(chain([first], islice(rows, size - 1))):
            yield from batch
            seen(before + count)
            if quota.reached:
                return
    tally.check(corpus, language)


def _unique(records: Iterator[Passage | Dropped], seen_texts: SeenTexts) -> Iterator[Passage | Dropped]:
    """Records with passages dropped whose text occurred before."""
    for record in records:
        if isinstance(record, Passage):
            first = seen_texts.first(record.text_hash, record.document_id)
            if first is not None:
                id = f"{record.document_id}#{record.segment}"
                record = dropped(id, "exact_duplicate", f"of {first}", record.text)
        yield record


def _unlike(records: Iterator[Passage | Dropped], near: Deduplicator, quota: Quota) -> Iterator[Passage | Dropped]:
    """Records with near duplicates dropped. Sets ``quota.reached`` when enough passages are kept."""
    target = quota.limit
    for record in records:
        if isinstance(record, Dropped):
            yield record
        elif quota.reached:
            yield _surplus(record)
        else:
            near.add(record)
            if quota.limit is not None and len(near) == target:
                # Later passages never change a decision, so it can be made early. Waiting for a quarter more each time
                # keeps the repeated work within a small factor.
                missing = quota.limit - near.decide()
                quota.reached = missing <= 0
                target = len(near) + max(missing, len(near) // 4)
    near.decide()
    yield from near.survivors()


def _bounded(records: Iterator[Passage | Dropped], quota: Quota) -> Iterator[Passage | Dropped]:
    """Records up to the limit of passages; those read ahead are dropped with ``passage_limit``."""
    kept = 0
    for record in records:
        if isinstance(record, Passage):
            if kept == quota.limit:
                yield _surplus(record)
                continue
            kept += 1
            quota.reached = quota.reached or kept == quota.limit
        yield record


def _surplus(passage: Passage) -> Dropped:
    return dropped(passage.id, "passage_limit", "read ahead of corpus.passages", passage.text)
