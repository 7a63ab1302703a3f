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

import dataclasses
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from x_instruction.config.corpus import Corpus, Filters
from x_instruction.corpus import boilerplate, characters, markup
from x_instruction.corpus.clean import normalise
from x_instruction.corpus.completeness import whole
from x_instruction.corpus.contamination import ContaminationIndex, evaluation_sets
from x_instruction.corpus.dedup import Deduplicator, SeenTexts
from x_instruction.corpus.density import scaled
from x_instruction.corpus.filters import Reason, View, check
from x_instruction.corpus.identify import LanguageCheck, Verdict
from x_instruction.corpus.pii import mask_personal_data
from x_instruction.corpus.quality import load
from x_instruction.corpus.repeated_lines import without_echoes, without_repeated_lines
from x_instruction.corpus.segment import segment
from x_instruction.corpus.sources import Document, read
from x_instruction.languages import Language
from x_instruction.records import Dropped, Passage, dropped, text_digest

# Documents processed together, because the identifier is faster on many texts. Characters bound the memory.
BATCH = 256
BATCH_CHARACTERS = 1 << 19
# A segment of a document, and the whole sentences of it.
Piece = tuple[str, str]
# The verdict on a passage if languages are not checked.
UNCHECKED = Verdict("und", 0.0, None, "", 0.0, 1.0)


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
    corpus: Corpus, language: Language, folder: Path, seen: Callable[[int], None] = lambda documents: None
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

    Raises:
        CorpusError: the corpus or an evaluation set cannot be read, or the corpus holds no document.
        RecipeError: no identifier knows the language.
        MissingExtra: ``filters.lid_model`` is set and fastText is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    corpus = corpus.model_copy(update={"filters": scaled(corpus.filters, language)})
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corpus-", dir=folder)))
        seen_texts = SeenTexts(temporary)
        stack.callback(seen_texts.close)
        quota = Quota(corpus.passages)
        screened = stack.enter_context(closing(_screened(corpus, language, seen, quota)))
        unique = _unique(screened, seen_texts)
        if corpus.filters.near_duplicates:
            words = characters.spaced(language)
            near = stack.enter_context(Deduplicator(temporary, corpus.filters.near_duplicate_jaccard, words))
            unique = _unlike(unique, near, quota)
        yield from _bounded(unique, quota)


def _screened(
    corpus: Corpus, language: Language, seen: Callable[[int], None], quota: Quota
) -> Generator[Passage | Dropped, None, None]:
    """Passages that pass the filters and the language check, before duplicates are removed."""
    language_check = LanguageCheck(language, corpus.filters) if corpus.filters.language_check else None
    sets = evaluation_sets(corpus.decontaminate, language, corpus.overlap_words, corpus.max_row_bytes)
    quality = _quality(corpus.filters)
    batch: list[tuple[Document, list[Piece]]] = []
    size, limit, count = 0, 16, 0
    for count, (document, text) in enumerate(_tidied(corpus, language), start=1):
        if isinstance(document, Dropped):
            yield document
            continue
        segments = segment(text, corpus.filters.min_chars, corpus.filters.max_chars)
        if not segments and document.text:
            detail = "nothing but lines that many documents share"
            yield dropped(document.id, "repeated_lines", detail, document.text)
            continue
        if not segments:
            yield dropped(document.id, "no_text", "nothing but space, control characters and markup")
            continue
        trimmed = whole(text, segments, language.script) if corpus.filters.whole_sentences else segments
        batch.append((document, list(zip(segments, trimmed, strict=True))))
        size += len(text)
        if len(batch) >= limit or size >= BATCH_CHARACTERS:
            yield from quality(_judged(batch, corpus, language, language_check, sets))
            seen(count)
            # The first batches are small, so that a small corpus.passages reads little more than it needs.
            batch, size, limit = [], 0, min(2 * limit, BATCH)
            if quota.reached:
                return
    yield from quality(_judged(batch, corpus, language, language_check, sets))
    seen(count)


def _tidied(corpus: Corpus, language: Language) -> Iterator[tuple[Document | Dropped, str]]:
    """Documents with normalised text, and that text without the lines that many of them share."""
    documents = (_normalised(document, corpus.filters) for document in read(corpus, language))
    if corpus.filters.max_line_documents < 1:
        return without_repeated_lines(documents, corpus.filters.max_line_documents)
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
