"""Stories of the African Storybook and Pratham Books as parallel documents, from which seed pairs are taken.

The Global Storybooks project holds them as Markdown, one folder per language; a story has the same number in all of
them. Stories under CC BY or in the public domain are taken, others are not::

    git clone https://github.com/global-asp/pb-source
    git clone https://github.com/global-asp/asp-source
    git clone https://github.com/global-asp/global-asp
    python examples/storybook_pages.py mr pb-source --out mr.jsonl
    python examples/storybook_pages.py de asp-source global-asp --out de.jsonl

If the English text is in another folder than the translation, both are named, as in the second line.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# Stories with less text than this are pictures with a word or two.
LEAST = 200
LICENSES = {"CC-BY": "CC-BY-4.0", "CC BY": "CC-BY-4.0", "Public Domain": "public domain"}
_NOTE = re.compile(r"^\* (License|Text|Translation): *\[?([^\]\n]*)\]?", re.MULTILINE)


def story(path: Path) -> tuple[str, str, dict[str, str]]:
    """Title, text (one page of the book a paragraph) and notes of a story: its licence, its author, its translator."""
    head, _, notes = path.read_text("utf-8-sig").partition("\n* License:")
    title, *lines = head.strip().splitlines() or [""]
    pages = [" ".join(page.split()) for page in "\n".join(lines).split("##")]
    found = {name: value.strip() for name, value in _NOTE.findall("* License:" + notes)}
    return title.lstrip("# ").strip(), "\n".join(page for page in pages if page), found


def numbered(folders: list[Path], language: str) -> dict[str, Path]:
    """Files of a language by the story's number; the first folder that has one counts."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / language).glob("[0-9]*_*.md")):
            found.setdefault(path.name.partition("_")[0], path)
    return found


def documents(folders: list[Path], language: str) -> Iterator[dict[str, str]]:
    """Rows with ``title_en``, ``text_en`` and ``text`` of stories that are there in English too, with its ``id``."""
    english = numbered(folders, "en")
    for number, path in numbered(folders, language).items():
        if number not in english:
            continue
        title, text_en, _ = story(english[number])
        _, text, notes = story(path)
        license = LICENSES.get(notes.get("License", ""))
        if title and license and len(text) >= LEAST and text != text_en:
            yield {
                "id": f"{english[number].parent.parent.name}-{number}",
                "title_en": title,
                "summary_en": "",
                "text_en": text_en,
                "text": text,
                "lang": language,
                "source": "global-storybooks",
                "license": license,
                "author": ", ".join(notes[name] for name in ("Text", "Translation") if notes.get(name)),
            }


def main(arguments: list[str] | None = None) -> None:
    """The command; see above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("language", help="name of the language's folder, as mr")
    parser.add_argument("folders", type=Path, nargs="+", help="clones that hold the language and English")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .jsonl")
    given = parser.parse_args(arguments)
    for name in ("en", given.language):
        if not any((folder / name).is_dir() for folder in given.folders):
            parser.error(f"no folder {name} in {', '.join(map(str, given.folders))}")
    rows = list(documents(given.folders, given.language))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    sys.stdout.write(f"{given.out}: {len(rows):,} documents\n")


if __name__ == "__main__":
    main()
