"""Pages of LibreOffice's help as parallel documents, for `x-instruction seeds collect` and for recipes.

Debian's packages hold them in 34 languages, two thousand pages each (Mozilla Public License 2.0)::

    apt-get download libreoffice-help-en-us libreoffice-help-tr
    for package in *.deb; do dpkg-deb -x $package pages; done
    python examples/libreoffice_pages.py pages/usr/share/libreoffice/help tr --out tr.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

LICENSE = "MPL-2.0"
# Pages with less text than this are lists of links.
LEAST = 200
_BLOCKS = {"h1", "h2", "h3", "h4", "p", "li", "td", "th", "div", "pre"}
_SILENT = {"script", "style", "nav", "aside", "footer"}
# Wording for other systems, which a page holds beside the usual one.
_OTHER_SYSTEMS = {"MAC", "UNIX"}


class _Page(HTMLParser):
    """Title and paragraphs of a page: the text in its ``DisplayArea``, headings and related topics left out."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.paragraphs: list[str] = []
        self._inside = False
        self._silent = 0
        self._spans: list[bool] = []
        self._block = ""
        self._words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self._inside = self._inside or named.get("id") == "DisplayArea"
        self._silent += tag in _SILENT
        if tag == "span":
            self._spans.append(named.get("class") in _OTHER_SYSTEMS)
        if tag in _BLOCKS:
            self._end()
            self._block = "related" if "relatedtopics" in (named.get("class") or "") else tag
        elif tag == "br":
            self._words.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _SILENT and self._silent > 0
        if tag == "span" and self._spans:
            self._spans.pop()
        if tag in _BLOCKS:
            self._end()

    def handle_data(self, data: str) -> None:
        if self._inside and not self._silent and not any(self._spans):
            self._words.append(data)

    def _end(self) -> None:
        text = " ".join("".join(self._words).split())
        self._words = []
        if self._block == "h1" and text and not self.title:
            self.title = text
        elif self._block == "p" and text:
            self.paragraphs.append(text)
        self._block = ""


def page(path: Path) -> tuple[str, str]:
    """Title and text of a page, one paragraph a line."""
    parser = _Page()
    parser.feed(path.read_text("utf-8"))
    parser.close()
    return parser.title, "\n".join(parser.paragraphs)


def documents(root: Path, language: str, folders: Sequence[str] = ("",)) -> Iterator[dict[str, str]]:
    """Rows with ``title_en``, ``text_en`` and ``text``; pages that are the English one, or hardly any text, are not.

    Args:
        root: folder that holds en-US and the language.
        language: name of the language's folder.
        folders: folders of pages within it, such as ``text/scalc/guide``.
    """
    for path in sorted(path for folder in folders for path in (root / language / folder).rglob("*.html")):
        name = path.relative_to(root / language)
        english = root / "en-US" / name
        if not english.is_file():
            continue
        title, text_en = page(english)
        _, text = page(path)
        if title and len(text) >= LEAST and text != text_en:
            yield {
                "id": f"libreoffice-{name.with_suffix('').as_posix()}",
                "title_en": title,
                "summary_en": "",
                "text_en": text_en,
                "text": text,
                "lang": language,
                "source": "libreoffice-help",
                "license": LICENSE,
            }


def main(arguments: list[str] | None = None) -> None:
    """The command; see above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path, help="folder that holds en-US and the language")
    parser.add_argument("language", help="name of the language's folder, as tr")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .jsonl")
    parser.add_argument("--count", type=int, help="only so many pages, spread evenly over all of them")
    given = parser.parse_args(arguments)
    for folder in ("en-US", given.language):
        if not (given.root / folder).is_dir():
            parser.error(f"{given.root} has no folder {folder}: install the packages of both languages")
    rows = list(documents(given.root, given.language))
    if given.count is not None:
        if given.count < 1:
            parser.error(f"--count {given.count}: expected 1 or more")
        rows = rows[:: max(1, len(rows) // given.count)][: given.count]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    sys.stdout.write(f"{given.out}: {len(rows):,} documents\n")


if __name__ == "__main__":
    main()
