"""Text from corpora, models and recipes, made safe to show. No one has checked it."""

from __future__ import annotations

import re
import unicodedata

SHOWN_CHARS = 120
# Joiners belong to letters in Persian and Indic scripts. Every other format character is dropped.
JOINERS = "\u200c\u200d"

# What Markdown or HTML could read as markup, and nothing else, so that prose stays readable in the source. Backslashes
# where every renderer takes them; character references, which are never structure (CommonMark 0.31, section 2.5),
# where a table, LaTeX or an automatic link would still see the character.
_BACKSLASH = r"[*`\[\]~] | (?<![^\W_])_ | _(?![^\W_])"
_REFERENCE = r"[\\|<$@] | &(?=\#?\w+;) | \{(?=[{%\#]) | :(?=//) | (?<!\d):(?=[\w+-]+:) | (?<=www)\."
_MARKUP = re.compile(f"(?P<backslash>{_BACKSLASH}) | {_REFERENCE}", re.VERBOSE | re.IGNORECASE)


class Safe(str):
    """Markdown that this project wrote, such as a column name. It is shown as it is."""


def escape(value: object, chars: int = SHOWN_CHARS) -> object:
    """Escape text for a paragraph or a table cell of Markdown. It must not stand at the start of a line.

    Controls, line breaks and text-direction overrides become spaces, and long text is shortened.

    Args:
        value: Text. Other values and ``Safe`` text pass unchanged.
        chars: Longer text is shortened to this length.
    """
    if not isinstance(value, str) or isinstance(value, Safe):
        return value
    return _MARKUP.sub(lambda m: f"\\{m[0]}" if m["backslash"] else f"&#{ord(m[0])};", plain(value, chars))


def sample(value: str, chars: int) -> Safe:
    """Escaped text of a row. Isolated, so that right-to-left text does not reorder its surroundings."""
    return Safe(f"\u2068{escape(value, chars)}\u2069")


def code(value: str) -> Safe:
    """Text as inline code, or escaped where it could end a code span or a table cell."""
    text = plain(value)
    return Safe(f"`{text}`" if text and not {"`", "|"} & set(text) else str(escape(text)))


def code_block(text: str, language: str) -> Safe:
    """Text as a code block. Its fence is longer than any run of backticks in the text.

    Args:
        text: Lines of text. Characters that are invisible and could reorder it are replaced.
        language: Name of the syntax.
    """
    kept = f"\n\t{JOINERS}"
    visible = "".join(c if c in kept or unicodedata.category(c)[0] != "C" else "\ufffd" for c in text).rstrip()
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", visible)), default=0))
    return Safe(f"{fence}{language}\n{visible}\n{fence}")


def plain(value: str, chars: int = SHOWN_CHARS) -> str:
    """One line of limited length, without controls and format characters."""
    text = "".join(c if c in JOINERS or unicodedata.category(c)[0] not in "CZ" else " " for c in value)
    text = " ".join(text.split())
    return text if len(text) <= chars else f"{text[:chars]}…"


def model(name: str) -> str:
    """The name of a model, and of its adapter after a plus, without folders of this machine."""
    if "+" in name:
        return "+".join(map(model, name.split("+")))
    prefix, colon, rest = name.rpartition(":")
    # A Hub id has one slash and none in front. Anything else with slashes is a path and is cut to its last part.
    is_path = rest.startswith(("/", ".", "~")) or rest.count("/") > 1 or "\\" in rest
    return f"{prefix}{colon}{rest.replace(chr(92), '/').rstrip('/').rpartition('/')[2]}" if is_path else name
