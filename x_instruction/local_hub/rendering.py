"""A card's Markdown as HTML in which nothing of the card can run."""

from __future__ import annotations

import re
from urllib.parse import quote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

MAX_CARD = 500_000
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|/|#|\?")
# The one thing of HTML that cards are full of: what is folded away.
_FOLD = re.compile(r"<details>\s*<summary>([^<>]*)</summary>")
_BLOCKS = frozenset({"paragraph_open", "heading_open", "td_open", "th_open", "list_item_open", "blockquote_open"})


def render(text: str, files: str) -> Markup:
    """HTML of a card; HTML in it is shown as text, but for ``<details>`` with a summary on lines of their own.

    Args:
        text: Markdown.
        files: address that links to the repository's own files begin with.
    """
    # Links to javascript:, data: and the like are left as text by the parser.
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = _folded(parser.parse(text[:MAX_CARD]))
    for token in tokens:
        _relink([token, *(token.children or ())], files)
        if token.type in _BLOCKS:
            # Each block by itself: a card holds text from left to right and from right to left.
            token.attrSet("dir", "auto")
        if token.type == "table_open":
            # A wide table scrolls by itself, also by keyboard.
            token.attrSet("tabindex", "0")
        if "right" in str(token.attrs.pop("style", "")):
            token.attrSet("class", "number")
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _folded(tokens: list[Token]) -> list[Token]:
    """Paragraphs that open or close a fold, as folds; all of them stay text unless every one is closed."""
    found: list[Token] = []
    depth = 0
    at = 0
    while at < len(tokens):
        text = tokens[at + 1].content if tokens[at].type == "paragraph_open" and not tokens[at].level else ""
        opened = _FOLD.fullmatch(text)
        if opened or text == "</details>":
            depth += 1 if opened else -1
            html = f"<details>\n<summary>{escape(opened[1])}</summary>\n" if opened else "</details>\n"
            found.append(Token("html_block", "", 0, content=html))
            at += 3
        else:
            found.append(tokens[at])
            at += 1
        if depth < 0:
            return tokens
    return tokens if depth else found


def _relink(tokens: list[Token], files: str) -> None:
    for token in tokens:
        for key in ("href", "src"):
            target = token.attrs.get(key)
            if isinstance(target, str) and target and not _ELSEWHERE.match(target):
                token.attrs[key] = f"{files}/{quote(target, safe='/%#?=&')}"
        if token.type == "link_open":
            token.attrs["rel"] = "nofollow noopener noreferrer"
