"""Write ``x_instruction/corpus/terminals.py``: the Unicode properties that the standard library lacks.

    python tools/make_terminals.py

Run it after an update of the package ``regex``, which has the properties; it is a dependency of transformers and not of
this package. ``tests/corpus/test_characters.py`` compares the table with ``regex``.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import regex

TARGET = Path(__file__).parent.parent / "x_instruction" / "corpus" / "terminals.py"
HEAD = '''"""Characters that end a sentence, and those that end a sentence or a part of it, in every script.

Written by ``tools/make_terminals.py`` from Unicode properties. Do not edit it by hand.
"""

from __future__ import annotations


def _characters(ranges: str) -> frozenset[str]:
    found = set()
    for part in ranges.split():
        first, _, last = part.partition("-")
        found |= set(map(chr, range(int(first, 16), int(last or first, 16) + 1)))
    return frozenset(found)

'''


def ranges(name: str) -> str:
    """The code points that have a property, as hexadecimal ranges."""
    pattern = regex.compile(rf"\p{{{name}}}")
    codes = [code for code in range(0x110000) if pattern.match(chr(code))]
    parts: list[list[int]] = []
    for code in codes:
        if parts and parts[-1][1] == code - 1:
            parts[-1][1] = code
        else:
            parts.append([code, code])
    return " ".join(f"{first:x}" if first == last else f"{first:x}-{last:x}" for first, last in parts)


def main() -> None:
    """Write the module."""
    text = HEAD
    for name in ("Sentence_Terminal", "Terminal_Punctuation"):
        lines = textwrap.fill(ranges(name), 112, initial_indent="    ", subsequent_indent="    ")
        text += f'\n{name.upper()} = _characters(\n    """\n{lines}\n    """\n)\n'
    TARGET.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
