"""Parallel documents: a page in English and in another language gives an instruction and a natural response.

The English title and summary say what the page is about; the response is the page itself, as people wrote it in its
language. No model is asked, so the instructions are plain.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from x_instruction.records import Dropped, dropped
from x_instruction.seed.pairs import Pair, Shape, shaped, string

COLUMNS = ("text", "title_en", "summary_en", "text_en", "id", "lang", "language", "source", "license", "url")
# With a summary and without; a page's digest decides which, so that not all seeds begin alike.
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

    Dropped are pages whose text is the English one (``untranslated``), and those whose title says nothing, as
    "Article 7", where no summary helps (``no_topic``).

    Args:
        path: the file.
        limit: bytes of the longest row that is read.
        language: of ``text``, where rows do not say.
        instruction_language: the English columns are in English, so anything else finds nothing.
        license: where rows do not say.

    Raises:
        CorpusError: the file cannot be read, or its first row is of another shape.
    """
    topics: dict[str, tuple[str, str, str]] = {}

    def make(row: Mapping[str, Any], id: str) -> Pair:
        texts = [row.get(name) for name in ("text", "title_en", "summary_en", "text_en")]
        if row.get("text") is None or row.get("title_en") is None or not all(isinstance(t or "", str) for t in texts):
            raise Shape(f"wanted text and title_en, there are {', '.join(map(repr, row)) or 'none'}")
        text, title, summary, english = (
            " ".join(string(t).split()) if place else string(t) for place, t in enumerate(texts)
        )
        id = string(row.get("id")) or id
        topics[id] = (title, summary, english)
        return Pair(
            id=id,
            instruction=instruction(title, summary),
            output=text,
            language=string(row.get("language") or row.get("lang")) or language,
            instruction_language="en",
            source=string(row.get("source")) or path.name,
            license=string(row.get("license")) or license,
            url=string(row.get("url")),
        )

    for made in shaped(path, COLUMNS, limit, make):
        if isinstance(made, Dropped):
            yield made
            continue
        title, summary, english = topics.pop(made.id)
        if instruction_language != "en":
            yield dropped(made.id, "other_language", f"titles are English, wanted {instruction_language}", title)
        elif " ".join(made.output.split()) == english:
            yield dropped(made.id, "untranslated", "the text is the English one", made.output)
        elif not summary and len(_WORD.findall(title)) < 2:
            yield dropped(made.id, "no_topic", f"the title is {title!r} and there is no summary", made.output)
        else:
            yield made


def instruction(title: str, summary: str) -> str:
    """An English instruction that a page with this title and summary answers; equal pages get equal ones."""
    forms = _WITH_SUMMARY if summary else _WITHOUT
    form = forms[hashlib.sha256(f"{title}\n{summary}".encode("utf-8", "replace")).digest()[0] % len(forms)]
    return form.format(
        title=title.rstrip(".:"), summary=summary if summary.endswith((".", "?", "!")) else f"{summary}."
    )
