"""One self-contained page: everything is inlined, and its content policy allows nothing else.

The policy lists the hash of each script and style, so text that becomes markup by mistake cannot run, load or send
anything. Trusted Types also forbid scripts to parse markup. Equal arguments give equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from x_instruction.pages.text import escape, visible

# In every page, so that a command tells an older page of its own from another file.
GENERATOR = '<meta name="generator" content="x-instruction">'
# What ends a script element or a line of JavaScript, and what an editor could reorder. JSON reads the escapes back.
_UNSAFE = re.compile("[<>&\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def page(
    title: str,
    body: str,
    *,
    data: Mapping[str, object] | None = None,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    language: str = "en",
    connect: bool = False,
) -> bytes:
    """A page as UTF-8.

    Args:
        title: Text of the title.
        body: HTML. Text in it went through ``escape``.
        data: Name to a value that JSON can hold. A script reads it with ``pages.data(name)``.
        styles: CSS after the base style.
        scripts: JavaScript after the base script, in order.
        language: BCP-47 tag of the page's own words.
        connect: Whether scripts may fetch files from where the page is served.

    Raises:
        ValueError: A style or script has an end tag in it, or a number is not finite.
    """
    for part in (*styles, *scripts):
        if re.search("</(?:script|style)", part, re.IGNORECASE):
            raise ValueError("a style or script has an end tag in it, expected none: HTML would end it there")
    all_styles = [asset("x_instruction.pages", "pages.css"), *styles]
    all_scripts = [asset("x_instruction.pages", "pages.js"), *scripts] if scripts else []
    blocks = [
        f'<script type="application/json" id="data-{escape(name)}">{inert_json(value)}</script>'
        for name, value in (data or {}).items()
    ]
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy(all_styles, all_scripts, connect=connect)}">',
        GENERATOR,
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(visible(title))}</title>",
        *(f"<style>{style}</style>" for style in all_styles),
    ]
    tail = [*blocks, *(f"<script>{script}</script>" for script in all_scripts)]
    lines = [
        "<!doctype html>",
        f'<html lang="{escape(language)}">',
        "<head>",
        *head,
        "</head>",
        "<body>",
        body,
        *tail,
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(lines).encode()


def policy(styles: Sequence[str], scripts: Sequence[str], *, connect: bool = False) -> str:
    """The content policy of a page with exactly these styles and scripts."""
    rules = {
        "default-src": "'none'",
        "script-src": _hashes(scripts),
        "style-src": _hashes(styles),
        "img-src": "data:",
        "connect-src": "'self'" if connect else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def inert_json(value: object) -> str:
    """JSON for a script element: no character of it can end the element, and lone surrogates are kept as escapes.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


@cache
def asset(package: str, name: str) -> str:
    """The text of a file beside a package's modules, such as its style or script."""
    return resources.files(package).joinpath(name).read_text("utf-8")


def _hashes(texts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
