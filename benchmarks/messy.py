"""What the corpus stage makes of messy texts: what is dropped, what is cleaned, and what is left of the prose.

    python benchmarks/messy.py --data MESSY
    python benchmarks/messy.py --data MESSY --prose MORE --pages PAGES

``MESSY`` holds ``<tag>.jsonl`` with messy texts, whose field ``mess`` names the kind and ends in what should happen:
``drop``, ``clean`` or ``strip``. ``MORE`` holds ``<tag>.jsonl`` with connected prose, all of which should be kept, and
``PAGES`` real pages of which some have English lines, such as a footer that was never translated.

Marks and prose are counted with the patterns of this file, which share nothing with the package. A mark is a tag, an
entity, a link, a heading sign, code, a footnote number and so on. Prose is every sentence of a line of 80 characters
and more (40 without spaces between words). A row is right if it should be dropped and is, or if it should be cleaned
and it has at most one mark left and at least 80 % of its prose, or none of its prose and is dropped.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from x_instruction.config.corpus import Corpus
from x_instruction.corpus import characters
from x_instruction.corpus.stage import passages
from x_instruction.errors import RecipeError
from x_instruction.languages import language
from x_instruction.records import Passage

MARKS = re.compile(
    r"</?[a-zA-Z][^<>\n]*>|<!--|&(?:#\d+|[a-zA-Z]+);"  # HTML
    r"|!?\[[^\]\n]*\]\([^)\n]*\)|\*\*|`+|^#{1,6}(?: |$)|^\|[-| :]+\|?$"  # Markdown
    r"|\[\[|\]\]|\{\{|\}\}|'''|^={2,6} |\(\(\(|^\[[a-z]+(?:,[^\]]*)?\]$|^-{4,}$|^\$ "  # wikis and AsciiDoc
    r"|(?<=\S)\[\d{1,3}\]|\[USERNAME\]|\[URL\]|https?://\S+|#\w+",
    re.MULTILINE,
)
CODE = re.compile(r"^```.*?^```|^----\n.*?^----$|<(script|style).*?</\1>", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)")
END = re.compile(r"(?<=[.!?…؟۔।॥።။។。！？])\s+")


ENGLISH = re.compile(r"^(?=.*\b(?:the|of|and|your|this)\b)(?:[A-Za-z'’,.?!-]+ ){4,}[A-Za-z.?!]+$", re.MULTILINE)
PAGES = ("fi", "id", "tr", "vi")


def texts(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            yield path.stem, json.loads(line)


def kept(tag: str, text: str, folder: Path) -> str:
    """The passages that the stage makes of one text, joined."""
    source = folder / f"{tag}.jsonl"
    source.write_text(json.dumps({"text": text}), "utf-8")
    corpus = Corpus(source="files", paths=(str(source),))
    try:
        records = list(passages(corpus, language(tag), folder / "scratch"))
    except RecipeError:  # no identifier knows the language
        corpus = corpus.replace(filters=corpus.filters.replace(language_check=False))
        records = list(passages(corpus, language(tag), folder / "scratch"))
    return "\n".join(record.text for record in records if isinstance(record, Passage))


def english_lines(tag: str, folder: Path, scratch: Path) -> tuple[int, int]:
    """Number of passages that are kept of real pages, and of those with a line of English."""
    corpus = Corpus(source="files", paths=(str(folder / f"{tag}.jsonl"),))
    found = [record.text for record in passages(corpus, language(tag), scratch) if isinstance(record, Passage)]
    return len(found), sum(bool(ENGLISH.search(text)) for text in found)


def letters(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFC", text) if c.isalpha())


def prose(tag: str, text: str) -> list[str]:
    """The letters of each sentence of the long lines of a text."""
    text = html.unescape(LINK.sub(r"\1", CODE.sub("\n", text)))
    text = re.sub(r"<[^<>]*>", "", text)
    least = 80 if characters.spaced(language(tag)) else 40
    lines = [line.strip() for line in re.split(r"\n+", text)]
    if max(map(len, lines)) < least:
        # The lines of a paragraph are wrapped.
        lines = [" ".join(part.split()) for part in re.split(r"\n\s*\n|#+", text)]
    # A bullet, a table row or a line cut from an attribute is no prose.
    lines = [line for line in lines if len(line) >= least and not re.match(r"[*|<=-]|\d+[.)]|\S*=\"", line)]
    pieces = [piece for line in lines for piece in END.split(line)[1:-1] or [line]]
    known = [letters(piece) for piece in pieces if not re.search(r"[{}]|https?:|`|\(\(\(", piece)]
    return [piece for piece in known if len(piece) >= 30]


def share(parts: list[str], whole: str) -> float:
    found = letters(whole)
    sizes = [len(part) for part in parts]
    return sum(size for part, size in zip(parts, sizes, strict=True) if part in found) / max(1, sum(sizes))


def judge(tag: str, row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the stage did with one row, and whether that is right."""
    left = kept(tag, row["text"], folder)
    parts = prose(tag, row["text"])
    ending = row["mess"].rsplit(":", 1)[1]
    marks, prose_left = len(MARKS.findall(left)), share(parts, left) if parts else 1.0
    clean = bool(left) and marks <= 1 and prose_left >= 0.8
    right = (not left and "drop" in ending) or (clean and ("clean" in ending or "strip" in ending))
    return {
        "dropped": not left, "right": right or (not left and not parts), "marks": len(MARKS.findall(row["text"])),
        "left": marks, "prose": sum(map(len, parts)), "prose_left": prose_left * sum(map(len, parts)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of messy texts")
    parser.add_argument("--prose", type=Path, help="folder of connected prose")
    parser.add_argument("--pages", type=Path, help="folder of real pages")
    parser.add_argument("--show", metavar="TEXT", help="print what is kept of the kinds that begin with this text")
    options = parser.parse_args()
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for tag, row in texts(options.data):
            if options.show is None:
                kinds[row["mess"]].append(judge(tag, row, folder))
            elif row["mess"].startswith(options.show):
                print(f"===== {row['id']}\n{row['text']}\n----- kept\n{kept(tag, row['text'], folder)}")
        if options.show is not None:
            return
        print("| kind | rows | dropped | right | marks | marks left | prose kept |\n|---|---|---|---|---|---|---|")
        kinds["all"] = [row for rows in kinds.values() for row in rows]
        for kind, rows in sorted(kinds.items()):
            sums = {key: sum(row[key] for row in rows) for key in rows[0]}
            part = f"{sums['prose_left'] / sums['prose']:.2f}" if sums["prose"] else "-"
            counts = f"{len(rows)} | {sums['dropped']} | {sums['right']} | {sums['marks']} | {sums['left']}"
            print(f"| {kind} | {counts} | {part} |")
        if options.prose:
            by_tag: dict[str, list[float]] = defaultdict(list)
            for tag, row in texts(options.prose):
                if len(row["text"]) >= 200:
                    parts = prose(tag, row["text"]) or [letters(row["text"])]
                    by_tag[tag].append(share(parts, kept(tag, row["text"], folder)))
            print("\n| prose | texts | kept | share of sentences kept |\n|---|---|---|---|")
            for tag, shares in by_tag.items():
                whole = sum(part > 0.5 for part in shares)
                print(f"| {tag} | {len(shares)} | {whole} | {sum(shares) / len(shares):.3f} |")
        if options.pages:
            print("\n| pages | passages kept | with a line of English |\n|---|---|---|")
            for tag in PAGES:
                print("| {} | {} | {} |".format(tag, *english_lines(tag, options.pages, folder / "scratch")))


if __name__ == "__main__":
    main()
