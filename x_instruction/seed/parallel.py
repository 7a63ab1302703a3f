"""Seeds from parallel documents: pages that exist in English and in another language.

The English title and summary, or the first English sentence, become the instruction; the response is the page itself in
the other language, as people wrote it. No model is used, so the instructions are simple.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from x_instruction.corpus.cells import license_of, text_of
from x_instruction.corpus.segment import sentences
from x_instruction.records import Dropped, dropped
from x_instruction.seed.chat import ShapeError
from x_instruction.seed.pairs import Pair, rows_as_pairs

COLUMNS = ("text", "title_en", "summary_en", "text_en", "id", "lang", "language", "source", "license", "url")
# Templates by what a page has. The digest of a page selects one, so that not all seeds begin alike. Titles are quoted,
# because they may be a noun, an order or a sentence.
_WITH_SUMMARY = (
    "Write a guide called “{title}”. Its main point: {summary}",
    "Explain “{title}” to a beginner. The main point is this: {summary}",
    "I am looking for help with “{title}”. What I need to know: {summary}",
    "Please cover “{title}” in detail. Start from this point: {summary}",
    "Give me the details on “{title}”. In one sentence, it is about this: {summary}",
    "What should I know about “{title}”? In particular: {summary}",
)
_WITHOUT = (
    "Explain “{title}”.",
    "Write about “{title}”.",
    "What should I know about “{title}”?",
    "Give an overview of “{title}”.",
    "Tell me about “{title}”.",
    "Describe “{title}” for a general reader.",
)
# A title that is a question itself. A summary would answer it.
_QUESTION = ("{title}", "{title} Please explain.", "A question for you: {title}")
# A title such as "Article 7" names no topic: then the first English sentence does.
_BY_SENTENCE = (
    "Write a passage that opens with this idea: “{sentence}”",
    "State this with everything that belongs to it: “{sentence}”",
    "I need wording for this point: “{sentence}” Please write it out in full.",
    "How would you put this in full? “{sentence}”",
)
# Longest first sentence that is quoted as a whole, in characters.
_LONGEST = 200
_WORD = re.compile(r"[^\W\d_]{2,}")


def read_parallel(
    path: Path, limit: int, language: str, instruction_language: str = "en", license: str = "unknown"
) -> Iterator[Pair | Dropped]:
    """Pairs of a file of documents with ``title_en``, ``summary_en``, ``text_en`` and ``text``.

    Pages whose text equals the English one are dropped (``untranslated``). If a page has no summary and its title names
    no topic, such as "Article 7", the first sentence of its English text does; without one the page is dropped
    (``no_topic``).

    Args:
        path: the file.
        limit: bytes of the longest row that is read.
        language: language tag of ``text``, for rows that do not give one.
        instruction_language: must be ``en``, since titles and summaries are in English; else all rows are dropped.
        license: licence, for rows that do not give one.

    Raises:
        CorpusError: the file cannot be read, or its first row has another layout.
    """
    topics: dict[str, tuple[str, str, str]] = {}

    def make(row: Mapping[str, Any], id: str) -> Pair:
        texts = [row.get(name) for name in ("text", "title_en", "summary_en", "text_en")]
        if row.get("text") is None or row.get("title_en") is None or not all(isinstance(t or "", str) for t in texts):
            raise ShapeError(f"expected columns text and title_en, there are {', '.join(map(repr, row)) or 'none'}")
        text, title, summary, english = (
            " ".join(text_of(t).split()) if number else text_of(t) for number, t in enumerate(texts)
        )
        id = text_of(row.get("id")) or id
        topics[id] = (title, summary, english)
        return Pair(
            id=id,
            instruction=instruction(title, summary, english),
            output=text,
            language=text_of(row.get("language") or row.get("lang")) or language,
            instruction_language="en",
            source=text_of(row.get("source")) or path.name,
            license=license_of(row.get("license")) or license,
            url=text_of(row.get("url")),
        )

    for record in rows_as_pairs(path, COLUMNS, limit, make):
        if isinstance(record, Dropped):
            yield record
            continue
        title, summary, english = topics.pop(record.id)
        if instruction_language != "en":
            yield dropped(record.id, "other_language", f"titles are in English, expected {instruction_language}", title)
        elif " ".join(record.output.split()) == english:
            yield dropped(record.id, "untranslated", "the text is the English one", record.output)
        elif not (summary or _names_topic(title) or _first_sentence(english)):
            detail = f"the title is {title!r}, and there is neither a summary nor an English text"
            yield dropped(record.id, "no_topic", detail, record.output)
        else:
            yield record


def instruction(title: str, summary: str, english: str = "") -> str:
    """An English instruction to which a page with this title and summary is a response. Deterministic.

    Args:
        title: the English title.
        summary: the English summary, or empty.
        english: the English text. Its first sentence is the topic of a page without a summary whose title names none.
    """
    sentence = "" if summary or _names_topic(title) else _first_sentence(english)
    forms: tuple[str, ...] = _BY_SENTENCE if sentence else _WITH_SUMMARY if summary else _WITHOUT
    if title.endswith("?"):
        forms = _QUESTION
    topic = f"{title}\n{summary or sentence}"
    form = forms[hashlib.sha256(topic.encode("utf-8", "replace")).digest()[0] % len(forms)]
    return form.format(
        title=title.rstrip(".:"),
        summary=summary if summary.endswith((".", "?", "!")) else f"{summary}.",
        sentence=sentence,
    )


def _names_topic(title: str) -> bool:
    """Whether a title has more than one word, as "Article 7" has not."""
    return len(_WORD.findall(title)) >= 2


def _first_sentence(text: str) -> str:
    """The first sentence of an English text with at least two words, cut between its parts if it is long; or empty."""
    parts = (text[start:end] for start, end in sentences(text, spaced=True))
    first = next((part for part in parts if _names_topic(part)), "")
    if len(first) <= _LONGEST:
        return first
    start = first[:_LONGEST]
    cut = max(start.rfind(mark) for mark in ",;:")
    # A piece that is too short says little: better cut between any two words.
    return f"{start[: cut if cut > _LONGEST // 4 else start.rfind(' ')]}…"
