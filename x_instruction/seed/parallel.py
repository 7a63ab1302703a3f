"""Seeds from parallel documents: pages that exist in English and in another language.

The English title and summary become the instruction; the response is the page itself in the other language, as people
wrote it. No model is used, so the instructions are simple.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from x_instruction.corpus.cells import license_of, text_of
from x_instruction.records import Dropped, dropped
from x_instruction.seed.chat import ShapeError
from x_instruction.seed.pairs import Pair, rows_as_pairs

COLUMNS = ("text", "title_en", "summary_en", "text_en", "id", "lang", "language", "source", "license", "url")
# Templates with and without a summary. The digest of a page selects one, so that not all seeds begin alike.
_WITH_SUMMARY = (
    "Write a help page called “{title}”. What it should tell the reader: {summary}",
    "Explain the topic “{title}”. Cover this: {summary}",
    "I want to read about “{title}”. {summary} Please give me the details.",
)
_WITHOUT = ("Explain: {title}.", "Write a short text about “{title}”.", "What should I know about “{title}”?")
_WORD = re.compile(r"[^\W\d_]{2,}")


def read_parallel(
    path: Path, limit: int, language: str, instruction_language: str = "en", license: str = "unknown"
) -> Iterator[Pair | Dropped]:
    """Pairs of a file of documents with ``title_en``, ``summary_en``, ``text_en`` and ``text``.

    Pages whose text equals the English one are dropped (``untranslated``), and pages without a summary whose title
    names no topic, such as "Article 7" (``no_topic``).

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
            instruction=instruction(title, summary),
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
        elif not summary and len(_WORD.findall(title)) < 2:
            yield dropped(record.id, "no_topic", f"the title is {title!r} and there is no summary", record.output)
        else:
            yield record


def instruction(title: str, summary: str) -> str:
    """An English instruction to which a page with this title and summary is a response. Deterministic."""
    forms = _WITH_SUMMARY if summary else _WITHOUT
    form = forms[hashlib.sha256(f"{title}\n{summary}".encode("utf-8", "replace")).digest()[0] % len(forms)]
    return form.format(
        title=title.rstrip(".:"), summary=summary if summary.endswith((".", "?", "!")) else f"{summary}."
    )
