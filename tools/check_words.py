"""Check that docs, help, errors, docstrings and comments avoid words that readers stumble over.

Usage: ``python tools/check_words.py [PATH ...]``; without paths, the whole project. Exits 1 and prints ``file:line:
word: text`` for each hit.

Python files are checked in comments and in string literals, docstrings included. Names of variables are not checked.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORDS = re.compile(
    r"\b(stands|told|let go|goes on|whoever|nobody|somebody|comes to|wanted|what of)\b",
    re.IGNORECASE,
)
FOLDERS = [
    "x_instruction",
    "builders",
    "hub_scripts",
    "examples",
    "tools",
    "model_cards",
    "recipes",
    "docs",
    "benchmarks",
]
# Data, not prose: phrases of web pages, verbs, prompts, sample text, and this list itself. The log records the past.
DATA = {
    "tools/check_words.py",
    "x_instruction/corpus/boilerplate.py",
    "x_instruction/corpus/close_languages.py",
    "x_instruction/diversify/verbs.py",
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of everything in a file that people read."""
    source = path.read_text("utf-8")
    if path.suffix != ".py":
        yield from enumerate(source.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield from enumerate(token.string.splitlines(), token.start[0])


def hits(path: Path) -> list[str]:
    """One line per forbidden word in a file."""
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
    if name in DATA:
        return []
    return [
        f"{name}:{line}: {match[0]}: {text.strip()[:100]}"
        for line, text in texts(path)
        for match in WORDS.finditer(text)
    ]


def files() -> Iterator[Path]:
    """Every file of the project that holds prose."""
    yield from (path for path in ROOT.glob("*.md"))
    yield from (ROOT / name for name in ("Makefile", "setup.cfg"))
    for folder in FOLDERS:
        for pattern in ("*.py", "*.md", "*.jinja", "*.toml", "*.html"):
            yield from sorted((ROOT / folder).rglob(pattern))


def main(paths: list[str]) -> int:
    """Print every hit; 1 if there is one."""
    found = [hit for path in (map(Path, paths) if paths else files()) for hit in hits(path.resolve())]
    print("\n".join(found) if found else "no forbidden word")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
