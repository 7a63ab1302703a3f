"""Plain text of documents with markup: HTML, Markdown, AsciiDoc and the markup of wikis.

Prose and list items stay. Tags, marks, code blocks, tables, templates, footnote numbers, and lines and blocks that
are mostly links go. Documents are often cut in the middle of a tag or list, so each mark is recognised by itself and
no document has to be well formed. Unknown tags such as ``<Enter>`` are text.
"""

from __future__ import annotations

import html
import re
from collections import Counter

# A document with none of these has no markup. Most have none, and this test costs little.
_SIGNS = ("<", "&", "]", "**", "__", "`", "# ", "##", "==", "{{", "{|", "'''", "(((")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BLOCKS = _names(
    "address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer form "
    "h1 h2 h3 h4 h5 h6 header hr html legend li main nav ol option p pre section summary table tbody td tfoot th thead "
    "tr ul"
)
_INLINE = _names(
    "a abbr acronym area audio b base basefont bdi bdo big br button canvas cite code col colgroup data datalist del "
    "dfn em embed font frame frameset gallery head i iframe img input ins kbd label link map mark math menu meta nobr "
    "noscript nowiki object output param picture poem progress q ref references rp rt ruby s samp script select small "
    "source span strike strong style sub sup svg template textarea time title track tt u var video wbr"
)
# Elements whose content is not prose of the page.
_HIDDEN = _names(
    "aside button footer form gallery head header iframe math nav noscript object pre ref references script select "
    "style svg template textarea title"
)
# In these, a tag is text until the element ends.
_RAW = frozenset({"script", "style"})

# Bounded repetitions keep the time linear in the length of a damaged document.
_TAG = re.compile(
    r"<!--.*?(?:-->|\Z)|<[!?][a-zA-Z\[][^>]{0,2000}>"
    r"|<(?P<end>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]*)"
    r"(?:(?=[\s/>])(?>(?:[^<>\"']|\"[^\"]{0,4000}\"|'[^']{0,4000}'){0,400})>|[\s/][^<>]{0,2000}>)",
    re.DOTALL,
)
# The end of a tag whose beginning is cut off, and a tag whose end is cut off.
_CUT_START = re.compile(r"\A[^<>]{0,4000}?[\"'/]\s*>")
_CUT_END = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s[^<>]*)?\Z")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_SPACE = re.compile(r"\s+")
# A sign for a line break that the markup asks for, while other line breaks are spaces.
_BREAK = "\ue000"
# A page with fewer tags per line has line breaks of its own. Those that Markdown needs around it do not count.
_TAGS_PER_LINE = 0.3
_AROUND = _names("a center details div img summary")

_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")
_TABLE = re.compile(r"^\{\|.*?(?:^\|\}|\Z)", re.MULTILINE | re.DOTALL)
_WIKI_LINK = re.compile(r"\[\[([^\[\]\n]{1,2000})\]\]")
_ANCHOR = re.compile(r"^\[\[[\w-]+(?:,[^\]\n]*)?\]\]$", re.MULTILINE)
_WEB_LINK = re.compile(r"\[https?://[^\s\[\]]+(?: ([^\[\]\n]*))?\](?!\()")
_QUOTES = re.compile(r"'{2,5}(?=\S)([^'\n]{1,500}(?:'[^'\n]{1,500}){0,20})(?<=\S)'{2,5}")
_WIKI_HEADING = re.compile(r"^={1,6} ?([^=\n]+?) ?(?:={1,6})?$", re.MULTILINE)
_DEPTH = 10

_INDEX = re.compile(r"\(\(\([^()\n]{1,200}\)\)\)|<<[^<>\n]{1,200}>>")
_ATTRIBUTES = re.compile(r"^(?:\[[a-zA-Z.#%][^\]\n]{0,200}\]|image::?\S*\[.*\]|ifdef::.*|endif::.*)$", re.MULTILINE)
_ASCIIDOC = re.compile(r"\(\(\(|^\[(?:source|role|horizontal|cols|NOTE|TIP)|^-{4}$|^={2,6} [^=\n]+$", re.MULTILINE)
_FENCE = re.compile(r"^\s*(`{3,}|~{3,}|-{4,}|\.{4,}|/{4,}|\|={3,})(.*)$")

_IMAGE = re.compile(r"!\[[^\[\]\n]{0,500}\]\((?:[^()\n]|\([^()\n]*\)){0,2000}\)")
_LINK = re.compile(r"\[([^\[\]\n]{0,500})\]\((?:[^()\n]|\([^()\n]*\)){0,2000}\)")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]\n]{1,200}\]: *\S.*$", re.MULTILINE)
_HALF_LINK = re.compile(r"\A[^\[\n]{0,500}\]\([^()\n]{0,2000}\)|\]\([^()\n]{0,2000}\Z|^\[?!?\[[^\]\n]*\Z", re.MULTILINE)
_ADDRESS = re.compile(r" ?\(https?://[^\s()]*\)|<https?://[^\s<>]*>|^\s*https?://\S+$", re.MULTILINE)
_STRONG = re.compile(r"(\*\*|__)(?=\S)([^\n]{1,1000}?)(?<=\S)\1")
# Bold text whose other end is cut off, links that are defined elsewhere, and what is left of empty ones.
_HALF_STRONG = re.compile(r"(?<![\w*])\*\*(?=\w)|(?<=\w)\*\*(?![\w*])")
_NAMED_LINK = re.compile(r"\[([^\[\]\n]{1,200})\]\[[^\[\]\n]{0,100}\]")
_EMPTY_LINK = re.compile(r"!?\[ ?\](?:\([^()\n]{0,500}\))?")
_EMPHASIS = re.compile(
    r"(?<![a-zA-Z0-9*\\])(\*)(?=[^\s*])([^*\n]{1,500}?)(?<=[^\s*\\])\1(?![a-zA-Z0-9*])"
    r"|(?<![\w\\])(_)(?=[^\s_])([^_\n]{1,500}?)(?<=[^\s_\\])\3(?!\w)"
)
_CODE = re.compile(r"(`{1,2})(?!`)([^`\n]{1,300})\1")
_HEADING = re.compile(r"^ {0,3}#{1,6}(?:[ \t]+(.*?))?[ \t]*#*$", re.MULTILINE)
_RULE = re.compile(r"^ {0,3}(?:[-=_*] ?){3,}$|^\|.*\|$|^[|:-]*-\|[|: -]*$", re.MULTILINE)
_QUOTED = re.compile(r"^(?:> ?)+", re.MULTILINE)
_BULLET = re.compile(r"^(\s*)[*+•‣](?=\s)", re.MULTILINE)
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+.!<>|-])")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d+[.)])\s+")

_NOTE = re.compile(r"\[\d{1,3}\]")
_FOOTNOTE = re.compile(r"(?<=[^\s\[\](])(?:\[\d{1,3}\])+|(?<=[.,!?।۔။።]) (?:\[\d{1,3}\] ?)+(?=\s|$)", re.MULTILINE)
# A link to the editor, behind a heading: "History[edit | edit source]".
_EDIT = re.compile(r"^([^\[\]\n]{1,80}?) ?\[[^\W\d][^\[\]\n]{0,60}\]$", re.MULTILINE)
# A text with none of these has no marks that are left.
_MARK_SIGNS = ("<", '="', "='", "](", "{", "}", "`", ");")
_MARKS = re.compile(r"</?(?P<name>[a-zA-Z][a-zA-Z0-9]*)[\s/>]|[a-z-]+=[\"']|\]\(|[{}]{2}|`|[{}]$|\);$", re.MULTILINE)


def plain(text: str) -> str:
    """The text without markup; a text that has none is returned unchanged."""
    # The search for one character is faster.
    if not any(sign[0] in text and sign in text for sign in _SIGNS):
        return text
    text = text.replace("\r\n", "\n")
    if "<" in text:
        text = _without_tags(text)
    if "&" in text:
        text = _decoded(text)
    is_asciidoc = ("(((" in text or "[" in text or "==" in text) and _ASCIIDOC.search(text) is not None
    if is_asciidoc:
        text = _without_code(_ATTRIBUTES.sub("", _INDEX.sub("", _ANCHOR.sub("", text))))
    if "]" in text or "{" in text or "'''" in text or "==" in text:
        text = _without_wiki(text)
    if is_asciidoc or any(sign in text for sign in ("](", "][", "**", "__", "`", "# ", "##", "]:")):
        text = _without_markdown(text)
    return text


def marks(text: str) -> int:
    """Number of characters in tags, attributes, links, braces and code that are left in a plain text."""
    if not any(sign[0] in text and sign in text for sign in _MARK_SIGNS):
        return 0
    return sum(len(match[0]) for match in _MARKS.finditer(text) if _is_tag(match))


def _decoded(text: str) -> str:
    # Twice, because an exported page is often escaped once more.
    for _ in range(2):
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    return text


class _Blocks:
    """The blocks of a page, and how much of each is links."""

    def __init__(self, keeps_lines: bool) -> None:
        self._blocks: list[str] = []
        self._keeps_lines = keeps_lines
        self._parts: list[str] = []
        self._linked = 0

    def text(self) -> str:
        """All blocks."""
        return ("\n\n" if self._keeps_lines else "\n").join(self._blocks)

    def add(self, text: str, linked: bool) -> None:
        """Add text to the block."""
        self._parts.append(text)
        self._linked += len("".join(text.split())) if linked else 0

    def end(self, start: str = "\n") -> None:
        """End the block, and begin one with a mark such as that of a list item."""
        text = "".join(self._parts)
        if not self._keeps_lines:
            text = _SPACE.sub(" ", text)
        text = text.replace(_BREAK, "\n")
        size = len("".join(text.split()))
        if size > 1 and self._linked <= size / 2:
            self._blocks.append(text.strip(" \n" if self._keeps_lines else " "))
        self._parts, self._linked = [], 0
        if start != "\n":
            self._parts.append(start)


def _without_tags(text: str) -> str:
    tags = [match for match in _TAG.finditer(text) if _is_tag(match)]
    if not tags:
        return text
    ends = Counter(match["name"].lower() for match in tags if match["name"] and match["end"])
    number = sum((match["name"] or "div").lower() not in _AROUND for match in tags)
    blocks = _Blocks(number < _TAGS_PER_LINE * text.count("\n"))
    cut = _CUT_START.match(text)
    position = cut.end() if cut else 0
    hidden, depth, links = "", 0, 0
    for match in tags:
        if match.start() >= position and not hidden:
            blocks.add(text[position : match.start()], links > 0)
        position = max(position, match.end())
        name, is_end = (match["name"] or "").lower(), bool(match["end"])
        ends[name] -= is_end
        if hidden:
            depth += (1 if not is_end else -1) if name == hidden else 0
            hidden = hidden if depth else ""
        elif name in _HIDDEN and not is_end and (ends[name] or name in _RAW) and not match[0].endswith("/>"):
            # Without an end tag, all that follows would be lost.
            hidden, depth = name, 1
        elif name == "a":
            links = 0 if is_end else 1
        elif name == "br":
            blocks.add(_BREAK, False)
        elif name in _BLOCKS:
            links = 0
            blocks.end("- " if name == "li" and not is_end else "\n")
    if not hidden:
        blocks.add(_CUT_END.sub("", text[position:]), links > 0)
    blocks.end()
    return blocks.text()


def _is_tag(match: re.Match[str]) -> bool:
    name = (match["name"] or "").lower()
    return not name or name in _BLOCKS or name in _INLINE


def _without_wiki(text: str) -> str:
    for _ in range(_DEPTH):
        shorter = _TEMPLATE.sub("", text) if "{{" in text else text
        if shorter == text:
            break
        text = shorter
    if "{|" in text:
        text = _TABLE.sub("", text)
    if "[[" in text:
        for _ in range(3):
            text = _WIKI_LINK.sub(_label, text)
    if "[http" in text:
        text = _WEB_LINK.sub(lambda match: match[1] or "", text)
    if "''" in text:
        text = _QUOTES.sub(r"\1", text)
    if "==" in text:
        text = _WIKI_HEADING.sub(r"\1", text)
    if "]" in text:
        if _NOTE.search(text):
            text = _FOOTNOTE.sub("", text)
        if "]\n" in text or text.endswith("]"):
            text = _EDIT.sub(r"\1", text)
    return text


def _label(match: re.Match[str]) -> str:
    """The text of a link of a wiki; none of images, categories and other languages."""
    target, *rest = match[1].split("|")
    if re.match(r":?[^\W\d_][\w -]{0,30}:\S", target) and (not rest or len(rest) > 1):
        return ""
    return rest[-1] if rest else target


def _without_code(text: str) -> str:
    """The text without the blocks of code between fences."""
    kept: list[str] = []
    fence = ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if fence:
            fence = "" if found and found[1].startswith(fence) and not found[2].strip() else fence
        elif found and not (found[1][0] in "-./|" and found[2].strip()):
            fence = found[1]
        else:
            kept.append(line)
    return "\n".join(kept)


def _without_markdown(text: str) -> str:
    if "```" in text or "~~~" in text:
        text = _without_code(text)
    text = _HALF_LINK.sub("", _IMAGE.sub("", _REFERENCE.sub("", text)))
    if "](" in text:
        text = "\n".join(_without_links(line) for line in text.split("\n"))
    text = _EMPTY_LINK.sub("", _NAMED_LINK.sub(r"\1", text))
    text = _CODE.sub(r"\2", _HALF_STRONG.sub("", _STRONG.sub(r"\2", text)))
    text = _ADDRESS.sub("", _EMPHASIS.sub(lambda match: match[2] or match[4], text))
    wrapped = _HEADING.search(text) is not None
    text = _RULE.sub("", _HEADING.sub(lambda match: f"\n{match[1] or ''}\n", text))
    text = _ESCAPE.sub(r"\1", _BULLET.sub(r"\1-", _QUOTED.sub("", text)))
    return _unwrapped(text) if wrapped else text


def _without_links(line: str) -> str:
    """The line with the text of its links; an empty one if links are most of it."""
    if "](" not in line:
        return line
    linked = sum(len(match[1]) for match in _LINK.finditer(line))
    text = _LINK.sub(r"\1", line)
    return text if linked <= len(text.strip(" *+-")) / 2 else ""


def _unwrapped(text: str) -> str:
    """The text with the lines of a paragraph joined: a line break within a sentence is none of Markdown's."""
    lines: list[str] = []
    for line in text.split("\n"):
        if lines and _goes_on(lines[-1]) and line.strip() and not _ITEM.match(line):
            lines[-1] = f"{lines[-1].rstrip()} {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines)


def _goes_on(line: str) -> bool:
    last = line.rstrip()[-1:]
    return bool(last) and (last.isalnum() or last in ",;،") and not line.endswith("  ")
