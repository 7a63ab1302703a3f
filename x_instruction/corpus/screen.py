"""Screens documents of one language: everything that the corpus stage does before it looks for duplicates.

What becomes of a document depends on the documents of its slice alone, so slices are screened in parallel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from x_instruction.config.corpus import Corpus, Filters
from x_instruction.corpus import boilerplate, characters, markup
from x_instruction.corpus.clean import normalise
from x_instruction.corpus.completeness import whole
from x_instruction.corpus.contamination import ContaminationIndex, evaluation_sets
from x_instruction.corpus.density import scaled
from x_instruction.corpus.filters import Reason, View, check
from x_instruction.corpus.identify import LanguageCheck, Verdict
from x_instruction.corpus.pii import mask_personal_data
from x_instruction.corpus.quality import load
from x_instruction.corpus.repeated_lines import without_echoes, without_repeated_lines
from x_instruction.corpus.segment import segment
from x_instruction.corpus.sources import Document
from x_instruction.languages import Language
from x_instruction.records import Dropped, Passage, dropped, text_digest

# Documents processed together, because the identifier is faster on many texts. Characters bound the memory.
BATCH = 256
BATCH_CHARACTERS = 1 << 19
# Rows that are dropped as they are read, held until the next batch.
HELD = 1_000
# A segment of a document, and the whole sentences of it.
Piece = tuple[str, str]
# The verdict on a passage if languages are not checked.
UNCHECKED = Verdict("und", 0.0, None, "", 0.0, 1.0)


class Screen:
    """The filters, the language check, the evaluation sets and the quality head of one language, loaded once.

    Args:
        corpus: the thresholds.
        language: the language of the documents.

    Raises:
        CorpusError: an evaluation set cannot be read.
        RecipeError: no identifier knows the language.
        MissingExtra: ``filters.lid_model`` is set and fastText is not installed.
    """

    def __init__(self, corpus: Corpus, language: Language) -> None:
        self._corpus = corpus.model_copy(update={"filters": scaled(corpus.filters, language)})
        self._language = language
        filters = self._corpus.filters
        self._check = LanguageCheck(language, filters) if filters.language_check else None
        self._sets = evaluation_sets(corpus.decontaminate, language, corpus.overlap_words, corpus.max_row_bytes)
        self._quality = _quality(filters)

    def batches(self, rows: Iterable[Document | Dropped]) -> Iterator[tuple[list[Passage | Dropped], int]]:
        """Passages that are kept and what is dropped, in batches, each with the number of rows up to its end.

        Args:
            rows: the rows of one slice. A line is repeated if it is in many documents of the slice.
        """
        filters = self._corpus.filters
        batch: list[tuple[Document, list[Piece]]] = []
        records: list[Passage | Dropped] = []
        size, limit, count = 0, 16, 0
        for count, (document, text) in enumerate(_tidied(rows, filters), start=1):
            if isinstance(document, Dropped):
                records.append(document)
            elif pieces := _pieces(text, filters, self._language.script):
                batch.append((document, pieces))
                size += len(text)
            elif document.text:
                detail = "nothing but lines that many documents share"
                records.append(dropped(document.id, "repeated_lines", detail, document.text))
            else:
                detail = "nothing but space, control characters and markup"
                records.append(dropped(document.id, "no_text", detail))
            if len(batch) >= limit or size >= BATCH_CHARACTERS:
                yield [*records, *self._screened(batch)], count
                # The first batches are small, so that a small corpus.passages reads little more than it needs.
                batch, records, size, limit = [], [], 0, min(2 * limit, BATCH)
            elif len(records) >= HELD:
                yield records, count
                records = []
        yield [*records, *self._screened(batch)], count

    def _screened(self, batch: list[tuple[Document, list[Piece]]]) -> Iterable[Passage | Dropped]:
        return self._quality(_judged(batch, self._corpus, self._language, self._check, self._sets))


def _pieces(text: str, filters: Filters, script: str) -> list[Piece]:
    """The segments of a text, each with its whole sentences."""
    segments = segment(text, filters.min_chars, filters.max_chars)
    trimmed = whole(text, segments, script) if filters.whole_sentences and segments else segments
    return list(zip(segments, trimmed, strict=True))


def _tidied(rows: Iterable[Document | Dropped], filters: Filters) -> Iterator[tuple[Document | Dropped, str]]:
    """Documents with normalised text, and that text without the lines that many of them share."""
    documents = (_normalised(row, filters) for row in rows)
    if filters.max_line_documents < 1:
        return without_repeated_lines(documents, filters.max_line_documents)
    return ((document, document.text) for document in documents)


def _normalised(document: Document | Dropped, filters: Filters) -> Document | Dropped:
    """The document with plain text in normal form and without personal data."""
    is_document = isinstance(document, Document)
    text = normalise(markup.plain(document.text) if filters.strip_markup and is_document else document.text)
    if "\n" in text:
        text = without_echoes(text)
    if filters.mask_personal_data:
        text = mask_personal_data(text)[0]
    if isinstance(document, Dropped):
        return dropped(document.id, document.reason, document.detail, text)
    return dataclasses.replace(document, text=text)


def _judged(
    batch: list[tuple[Document, list[Piece]]],
    corpus: Corpus,
    language: Language,
    language_check: LanguageCheck | None,
    sets: ContaminationIndex | None,
) -> Iterator[Passage | Dropped]:
    """Apply the filters and the identifier to a batch of documents."""
    passed: list[tuple[int, int]] = []
    phrases = boilerplate.phrases(language.tag)
    spaced = characters.spaced(language)
    for index, (document, pieces) in enumerate(batch):
        for number, (text, trimmed) in enumerate(pieces):
            reason = _incomplete(text, trimmed, corpus.filters.min_chars)
            reason = reason or check(View(trimmed, spaced, phrases, language.script), corpus.filters)
            if reason is None:
                passed.append((index, number))
            else:
                yield dropped(f"{document.id}#{number}", reason.name, reason.detail, text)
    # The language is judged with what was cut off, so that a page that is half in another is recognised.
    texts = [batch[index][1][number][0] for index, number in passed]
    verdicts = language_check.judge(texts) if language_check else [UNCHECKED] * len(texts)
    if language_check:
        verdicts = _by_document(passed, texts, verdicts, corpus.filters.max_foreign_lines)
    texts = [batch[index][1][number][1] for index, number in passed]
    if language_check:
        texts = _in_language(texts, verdicts, language_check, corpus.filters.whole_sentences, language.script)
    for (index, number), text, verdict in zip(passed, texts, verdicts, strict=True):
        document = batch[index][0]
        if verdict.reason is not None:
            yield dropped(f"{document.id}#{number}", verdict.reason, verdict.detail, text)
        elif verdict.foreign and len(text) < corpus.filters.min_chars:
            detail = f"{len(text)} characters without lines in another language, at least {corpus.filters.min_chars}"
            yield dropped(f"{document.id}#{number}", "too_short", detail, text)
        elif sets and (match := sets.shared(text, spaced, within=True)):
            yield dropped(f"{document.id}#{number}", "contaminated", match, text)
        else:
            yield _passage(document, number, text, verdict, language)


def _quality(filters: Filters) -> Callable[[Iterable[Passage | Dropped]], Iterable[Passage | Dropped]]:
    """Drops the passages of a batch that the quality head gives too little."""
    if filters.quality_head is None:
        return lambda records: records
    from x_instruction.engines.local.embedder import Embedder

    head = load(Path(filters.quality_head), filters.quality_embedder)
    embedder = Embedder(filters.quality_embedder)

    def judged(records: Iterable[Passage | Dropped]) -> Iterator[Passage | Dropped]:
        batch = list(records)
        texts = [record.text for record in batch if isinstance(record, Passage)]
        scores = iter(head.scores(embedder.encode(texts)).tolist() if texts else [])
        for record in batch:
            if isinstance(record, Passage) and (score := next(scores)) < filters.min_quality:
                detail = f"probability {score:.2f} of being good, at least {filters.min_quality:g}"
                record = dropped(f"{record.document_id}#{record.segment}", "low_quality", detail, record.text)
            yield record

    return judged


def _incomplete(text: str, trimmed: str, least: int) -> Reason | None:
    """The reason to drop a segment that is too short without its broken beginning and end."""
    if len(text) < least or len(trimmed) >= least:
        return None
    return Reason("incomplete", f"{len(trimmed)} of {len(text)} characters in whole sentences, at least {least}")


def _in_language(
    texts: list[str], verdicts: list[Verdict], language_check: LanguageCheck, sentences: bool, script: str
) -> list[str]:
    """Texts without lines in another language, which can leave half a sentence at their ends."""
    numbers = [n for n, verdict in enumerate(verdicts) if verdict.foreign and verdict.reason is None]
    results = list(texts)
    for n, text in zip(numbers, language_check.without_foreign_lines([texts[n] for n in numbers]), strict=True):
        results[n] = whole(text, [text], script)[0] if sentences and text != texts[n] else text
    return results


def _by_document(
    passed: list[tuple[int, int]], texts: list[str], verdicts: list[Verdict], max_foreign: float
) -> list[Verdict]:
    """The verdicts, with all passages of a document rejected if a large part of it is in another language."""
    sizes: dict[int, int] = {}
    foreign: dict[int, float] = {}
    for (index, _), text, verdict in zip(passed, texts, verdicts, strict=True):
        sizes[index] = sizes.get(index, 0) + len(text)
        share = 1.0 if verdict.reason in ("wrong_language", "wrong_script") else verdict.foreign
        foreign[index] = foreign.get(index, 0.0) + share * len(text)
    results = []
    for (index, _), verdict in zip(passed, verdicts, strict=True):
        share = foreign[index] / sizes[index]
        if verdict.reason is None and share > max_foreign:
            detail = f"{share:.0%} of its document is in another language, at most {max_foreign:g}"
            verdict = verdict._replace(reason="mixed_language", detail=detail)
        results.append(verdict)
    return results


def _passage(document: Document, number: int, text: str, verdict: Verdict, language: Language) -> Passage:
    digest = text_digest(text)
    return Passage(
        id=f"{language.tag}-{digest[:16]}",
        language=language.tag,
        text=text,
        document_id=document.id,
        segment=number,
        source=document.source,
        url=document.url,
        license=document.license,
        text_hash=digest,
        identified=verdict.identified,
        identified_confidence=verdict.confidence,
    )
