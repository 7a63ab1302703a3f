"""Unicode normalisation of text, and a count of damaged characters."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# Scripts whose spelling needs joiners: Arabic and related scripts, N'Ko, Indic, Tibetan, Myanmar, Khmer, Mongolian.
_JOINING = (
    "\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\ua880-\uaaff\ufb50-\ufdff\ufe70-\ufefc\U0001e900-\U0001e95f"
)
# Scripts without spaces between words, where a zero-width space may mark one: Thai, Lao, Myanmar, Khmer, Tai.
_ZERO_WIDTH_SPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
_PICTURES = "\ufe0f\u2190-\u2bff\U0001f000-\U0001faff"

# Control characters except tab and line feed, bidirectional controls, word joiner and similar, soft hyphen, byte order
# mark, interlinear annotation and language tags.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]+"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile("\r\n?|[\x85\u2028\u2029]")
# A set of characters at the start makes a search fast. What follows it looks at the character before.
_STRAY_JOINER = re.compile(f"[\u200c\u200d](?<![{_JOINING}{_PICTURES}].)[\u200c\u200d]*", re.DOTALL)
_STRAY_ZERO_WIDTH_SPACE = re.compile(
    f"(?<![{_ZERO_WIDTH_SPACED}])\u200b+|\u200b+(?![{_ZERO_WIDTH_SPACED}\u200b])|(?<=\u200b)\u200b+"
)
# Malayalam letters without a vowel: the older spelling with virama and joiner, and the letter of Unicode 5.1.
_CHILLUS = {"ണ": "ൺ", "ന": "ൻ", "ര": "ർ", "ല": "ൽ", "ള": "ൾ", "ക": "ൿ"}
_CHILLU = re.compile("([ണനരലളക])\u0d4d\u200d")
# A single ordinary space does not match, so that most text is scanned but not rebuilt.
_OTHER_SPACES = re.compile("[\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_TWO_SPACES = re.compile(" {2,}")
_AROUND_LINE = re.compile(" \n ?|\n ")
_BLANK_LINES = re.compile("\n{3,}")

# Mojibake: UTF-8 decoded as Latin-1 or Windows-1252. A lead byte's character, then as many as that byte announces.
_TAIL = "[\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
_MOJIBAKE = re.compile(f"[\xc2-\xdf]{_TAIL}|[\xe0-\xef]{_TAIL}{{2}}|[\xf0-\xf4]{_TAIL}{{3}}")
# From the first to the last combining mark that counts as damaged at the start of a word.
_NEAR_MARKS = re.compile("[\u0900-\u17d3]")
_MOJIBAKE_LEADS = re.compile(f"[\xc2-\xf4]{_TAIL}")


def normalise(text: str) -> str:
    """The text in NFC, with LF line ends, without control characters. Idempotent.

    Joiners are kept where a script needs them and inside emoji, zero-width spaces inside text of scripts without spaces
    between words. The two spellings of a Malayalam chillu become one. A lone surrogate becomes U+FFFD, because it
    cannot be encoded, and ``broken`` counts it. Runs of spaces become one space, runs of blank lines one blank line.
    """
    text = _tidy(text)
    while (composed := compose(text)) != text:
        # Composition moves marks, which can leave a stray joiner. Repeat until the text is tidy and in NFC.
        text = _tidy(composed)
    return text


def compose(text: str) -> str:
    """The text in NFC."""
    return text if is_composed(text) else unicodedata.normalize("NFC", text)


def is_composed(text: str) -> bool:
    """As ``unicodedata.is_normalized("NFC", text)``.

    Python composes a text with the second half of a vowel sign, such as the Bengali sign AA, to answer this. Where no
    first half is before it, the sign changes nothing.
    """
    if text.isascii():
        return True
    plain = text
    for second, wholes in _halves().items():
        if second in text and not any(whole in text for whole in wholes):
            plain = plain.replace(second, "!")
    return unicodedata.is_normalized("NFC", plain)


@cache
def _halves() -> dict[str, tuple[str, ...]]:
    """Second halves of vowel signs of Indic and South-East Asian scripts, to both halves."""
    found: dict[str, tuple[str, ...]] = {}
    for code in range(0x0900, 0x1100):
        parts = unicodedata.decomposition(chr(code)).split()
        is_whole = unicodedata.normalize("NFC", chr(code)) == chr(code)
        if len(parts) == 2 and parts[0][0] != "<" and is_whole:
            first, second = (chr(int(part, 16)) for part in parts)
            if not unicodedata.combining(second):
                found[second] = (*found.get(second, ()), first + second)
    return found


def _tidy(text: str) -> str:
    # Whatever the first patterns match is not printable, and this test of all characters is faster than one pattern.
    plain = text.replace("\n", "").replace("\u200b", "").replace("\u200c", "").replace("\u200d", "")
    unusual = not plain.isprintable()
    if unusual:
        text = _LINE_END.sub("\n", text)
        text = _SURROGATE.sub("\ufffd", text)
        text = _INVISIBLE.sub("", text)
    if "\u200b" in text:
        text = _STRAY_ZERO_WIDTH_SPACE.sub("", text)
    if "\u0d4d\u200d" in text:
        text = _CHILLU.sub(lambda match: _CHILLUS[match[1]], text)
    if "\u200c" in text or "\u200d" in text:
        text = _STRAY_JOINER.sub("", text)
    if unusual:
        text = _OTHER_SPACES.sub(" ", text)
    if "  " in text:
        text = _TWO_SPACES.sub(" ", text)
    if "\n " in text or " \n" in text:
        text = _AROUND_LINE.sub("\n", text)
    if "\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n", text)
    return text.strip(" \n")


def broken(text: str) -> int:
    """Number of damaged characters that single code points do not reveal: mojibake, and marks that begin a word.

    ``characters.kinds`` counts replacement characters, private use and unassigned code points.
    """
    if text.isascii():
        return 0
    count = 0
    if _NEAR_MARKS.search(text):
        # With a space before the text, one pattern finds a mark at its beginning too.
        count = len(_orphan_mark().findall(f" {text}"))
    if _MOJIBAKE_LEADS.search(text):
        count += sum(len(match) for match in _MOJIBAKE.findall(text))
    return count


@cache
def _orphan_mark() -> re.Pattern[str]:
    """Pattern of a combining mark of an Indic or South-East Asian script at the start of a word."""
    blocks = (*range(0x0900, 0x0E00), *range(0x0E31, 0x0E50), *range(0x0EB1, 0x0ED0), *range(0x102B, 0x103F))
    marks = "".join(chr(c) for c in (*blocks, *range(0x17B4, 0x17D4)) if unicodedata.category(chr(c)) in ("Mn", "Mc"))
    return re.compile(f"[ \n][{marks}]")
