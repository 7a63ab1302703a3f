"""A card's Markdown as HTML in which nothing of the card can run."""

from __future__ import annotations

import re
from urllib.parse import quote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

MAX_CARD = 500_000
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|/|#|\?")


def render(text: str, files: str) -> Markup:
    """HTML of a card; HTML in it is shown as text.

    Args:
        text: Markdown.
        files: address that links to the repository's own files begin with.
    """
    # Links to javascript:, data: and the like are left as text by the parser.
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = parser.parse(text[:MAX_CARD])
    for token in tokens:
        _relink([token, *(token.children or ())], files)
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _relink(tokens: list[Token], files: str) -> None:
    for token in tokens:
        for key in ("href", "src"):
            target = token.attrs.get(key)
            if isinstance(target, str) and target and not _ELSEWHERE.match(target):
                token.attrs[key] = f"{files}/{quote(target, safe='/%#?=&')}"
        if token.type == "link_open":
            token.attrs["rel"] = "nofollow noopener noreferrer"
