"""Make the pool of documents that the experiments use, from parallel documents with an English title.

Each row is a story or a help page in one language, with its English title and text, as the converters in ``examples/``
read them. ``x_instruction/experiments/claims/POOL.md`` lists sources, versions and licences::

    git clone https://github.com/global-asp/asp-source
    git clone https://github.com/global-asp/global-asp
    git clone https://github.com/global-asp/pb-source
    apt-get download libreoffice-help-en-us libreoffice-help-fi ...
    for package in *.deb; do dpkg-deb -x $package .; done
    python tools/make_pool.py .

Sources of the same versions give the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))

import libreoffice_pages  # noqa: E402
import storybook_pages  # noqa: E402

from x_instruction.config.corpus import Filters, LanguageThresholds  # noqa: E402
from x_instruction.corpus import characters  # noqa: E402
from x_instruction.corpus.clean import normalise  # noqa: E402
from x_instruction.corpus.completeness import unfinished, whole  # noqa: E402
from x_instruction.corpus.density import scaled  # noqa: E402
from x_instruction.corpus.identifiers import known_labels  # noqa: E402
from x_instruction.corpus.identify import LanguageCheck  # noqa: E402
from x_instruction.corpus.repeated_lines import without_echoes  # noqa: E402
from x_instruction.corpus.segment import segment  # noqa: E402
from x_instruction.corpus.words import words  # noqa: E402
from x_instruction.errors import UnknownLanguage  # noqa: E402
from x_instruction.experiments.claims.pool import SHIPPED, Document  # noqa: E402
from x_instruction.hashing import digest  # noqa: E402
from x_instruction.languages import Language, language  # noqa: E402

# Length of a text in characters of Latin script.
SHORTEST, LONGEST = 150, 700
AFRICAN, PRATHAM, HELP = "african-storybook", "pratham-books", "libreoffice-help"
# Help pages on which the adapters that ship were trained (docs/training.md), in some language.
LEFT_OUT_PAGES = frozenset(Path(__file__).with_name("pool_left_out.txt").read_text("utf-8").split())
# Largest share of a text in lines that end no sentence, such as lists.
MOST_UNFINISHED = 0.4
# A line with more characters that is in the English text too was not translated.
LONGEST_NAME = 20
# Most rows of a language, and of it from one source.
MOST_ROWS = 130
MOST = {AFRICAN: 100, PRATHAM: 40, HELP: 70}
# With fewer rows of a source, a language is not trained on.
FEWEST_ROWS = 8
# Folders of help pages that explain how to do something. Others are lists of functions, menus and buttons.
GUIDES = ("text/swriter/guide", "text/scalc/guide", "text/simpress/guide", "text/sdraw/guide", "text/shared/guide")
# Regional variants of the folders of help pages.
HELP_LANGUAGES = {"pt-BR": "pt", "zh-CN": "zh"}
# Languages that are left out: the embedded model has 2.8 tokens of Odia for one of English, and at most 2.3 of all
# others; Dari is a variety of Persian, which is there.
LEFT_OUT = frozenset({"or", "prs"})


def candidates(root: Path, tag: str) -> Iterator[Document]:
    """Every document of a language: its stories, then its help pages in an order that its digest decides."""
    asp, pb = [root / "asp-source", root / "global-asp"], [root / "pb-source"]
    for source, folders in ((AFRICAN, asp), (PRATHAM, pb)):
        for row in storybook_pages.documents(folders, tag):
            yield document(row, source, row["id"])
    folder = next((name for name, shorter in HELP_LANGUAGES.items() if shorter == tag), tag)
    pages = [
        document(row | {"lang": tag}, HELP, row["id"])
        for row in libreoffice_pages.documents(root / "usr/share/libreoffice/help", folder, GUIDES)
        if row["id"] not in LEFT_OUT_PAGES
    ]
    # Each language has other pages, so that there are more pages in all.
    yield from sorted(pages, key=lambda page: digest(page.id))


def document(row: dict[str, str], source: str, name: str) -> Document:
    """The row of a converter as a row of the pool, with its text as it is."""
    tag = language(row["lang"]).tag
    return Document(
        id=f"{tag}-{name}",
        document=name,
        language=tag,
        source=source,
        title=" ".join(row["title_en"].split()).rstrip("."),
        text=row["text"],
        text_en=row["text_en"],
        license=row["license"],
        author=row.get("author", "LibreOffice contributors"),
    )


def shortened(text: str, into: Language) -> str:
    """The first passage of a text in whole sentences; empty if it is too short."""
    limits = scaled(Filters(min_chars=SHORTEST, max_chars=LONGEST), into)
    tidy = without_echoes(normalise(text))
    parts = segment(tidy, limits.min_chars, limits.max_chars)[:1]
    lines = "".join(whole(tidy, parts, into.script)).split("\n")
    # An abbreviation that was cut off from its sentence, such as "См.".
    if characters.spaced(into) and len(words(lines[-1])) < 2:
        del lines[-1]
    first = "\n".join(lines)
    is_prose = unfinished(first, into.script) <= MOST_UNFINISHED * len(first)
    return first if is_prose and len(first) >= limits.min_chars else ""


def chosen(documents: Iterator[Document], into: Language) -> Iterator[Document]:
    """Documents that have a title of at least two words and text in their language, shortened, without duplicates."""
    titled = (one for one in documents if len(words(one.title)) >= 2)
    english = language("en")
    short = [
        dataclasses.replace(one, text=shortened(one.text, into), text_en=shortened(one.text_en, english))
        for one in titled
    ]
    short = [one for one in short if one.text and one.text_en]
    texts = LanguageCheck(into, LanguageThresholds()).judge([one.text for one in short])
    texts_en = LanguageCheck(english, LanguageThresholds()).judge([one.text_en for one in short])
    known: set[str] = set()
    taken: Counter[str] = Counter()
    for one, verdict, verdict_en in zip(short, texts, texts_en, strict=True):
        texts_of_it = {one.text, one.title.casefold()}
        left = set(one.text.split("\n")) & set(one.text_en.split("\n"))
        if verdict.reason or verdict_en.reason or any(len(line) > LONGEST_NAME for line in left):
            continue
        if texts_of_it & known or taken[one.source] >= MOST[one.source]:
            continue
        taken[one.source] += 1
        known |= texts_of_it
        yield one


def pool_of(root: Path, tag: str) -> list[Document]:
    """The rows of a language, by the name of its folder."""
    rows = list(chosen(candidates(root, tag), language(tag)))[:MOST_ROWS]
    sizes = Counter(row.source for row in rows)
    return [row for row in rows if sizes[row.source] >= FEWEST_ROWS]


def languages(root: Path) -> list[str]:
    """Languages of all sources that the language identifier knows."""
    found = {HELP_LANGUAGES.get(path.name, path.name) for path in (root / "usr/share/libreoffice/help").iterdir()}
    found |= {path.name for name in ("asp-source", "global-asp", "pb-source") for path in (root / name).iterdir()}
    known = []
    for tag in sorted(found - {"en", "en-US"} - LEFT_OUT):
        try:
            if len(tag) <= 3 and known_labels(language(tag)):
                known.append(tag)
        except UnknownLanguage:
            continue
    return known


def main(arguments: list[str] | None = None) -> None:
    """The command; see above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path, help="folder that holds the clones and the unpacked packages")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="file to write, .jsonl.gz")
    given = parser.parse_args(arguments)
    rows = [row for tag in languages(given.root) for row in pool_of(given.root, tag)]
    lines = "".join(json.dumps(dataclasses.asdict(row), ensure_ascii=False) + "\n" for row in rows)
    # Without a time, so that the same rows give the same bytes.
    given.out.write_bytes(gzip.compress(lines.encode(), 9, mtime=0))
    for tag, sources in sorted(_counts(rows).items()):
        sys.stdout.write(f"{tag}\t{sources.total()}\t{dict(sources)}\n")
    sys.stdout.write(f"{given.out.name}: {len(rows):,} rows, {given.out.stat().st_size:,} bytes\n")


def _counts(rows: list[Document]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row.language, Counter())[row.source] += 1
    return counts


if __name__ == "__main__":
    main()
