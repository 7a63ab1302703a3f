"""The class of every character (letter of a script, digit, space, ...), looked up for a whole text at once.

Scripts are taken from the first word of the Unicode name (``DEVANAGARI LETTER KA``), because the standard library has
names but no scripts. The table has one byte per code point and takes about 50 ms to build, once per process.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from x_instruction.corpus.terminals import TERMINAL_PUNCTUATION
from x_instruction.errors import CorpusError
from x_instruction.languages import Language

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Character classes. A letter or mark of a script has the number of its script, from FIRST_SCRIPT on. PUNCTUATION is
# that of ordinary prose in any script; all other punctuation, such as bullets, is SYMBOL.
OTHER, SPACE, NEWLINE, DIGIT, SYMBOL, PUNCTUATION, BROKEN, MARK = range(8)
FIRST_SCRIPT = 8

# ISO 15924 code -> first words of the Unicode names of its letters.
SCRIPT_NAMES: dict[str, tuple[str, ...]] = {
    "Adlm": ("ADLAM",),
    "Arab": ("ARABIC",),
    "Armn": ("ARMENIAN",),
    "Beng": ("BENGALI",),
    "Cans": ("CANADIAN",),
    "Cher": ("CHEROKEE",),
    "Cyrl": ("CYRILLIC",),
    "Deva": ("DEVANAGARI",),
    "Ethi": ("ETHIOPIC",),
    "Geor": ("GEORGIAN",),
    "Grek": ("GREEK",),
    "Gujr": ("GUJARATI",),
    "Guru": ("GURMUKHI",),
    "Hani": ("CJK",),
    "Hans": ("CJK",),
    "Hant": ("CJK",),
    "Hebr": ("HEBREW",),
    "Jpan": ("CJK", "HIRAGANA", "KATAKANA"),
    "Khmr": ("KHMER",),
    "Knda": ("KANNADA",),
    "Kore": ("HANGUL", "CJK"),
    "Laoo": ("LAO",),
    "Latn": ("LATIN",),
    "Mlym": ("MALAYALAM",),
    "Mong": ("MONGOLIAN",),
    "Mtei": ("MEETEI",),
    "Mymr": ("MYANMAR",),
    "Nkoo": ("NKO",),
    "Olck": ("OL",),
    "Orya": ("ORIYA",),
    "Sinh": ("SINHALA",),
    "Syrc": ("SYRIAC",),
    "Taml": ("TAMIL",),
    "Telu": ("TELUGU",),
    "Tfng": ("TIFINAGH",),
    "Thaa": ("THAANA",),
    "Thai": ("THAI",),
    "Tibt": ("TIBETAN",),
    "Vaii": ("VAI",),
    "Yiii": ("YI",),
}

# Scripts without spaces between words. Character n-grams replace words for these.
UNSPACED = frozenset({"Hani", "Hans", "Hant", "Jpan", "Khmr", "Laoo", "Mymr", "Thai", "Tibt", "Yiii"})

# Large blocks of one script, filled as slices: looking up 100,000 names would take most of the time.
_BLOCKS = (
    (0x3400, 0x4DC0, "CJK"),
    (0x4E00, 0xA000, "CJK"),
    (0xAC00, 0xD7A4, "HANGUL"),
    (0xF900, 0xFB00, "CJK"),
    (0x17000, 0x18D09, "TANGUT"),
    (0x20000, 0x323B0, "CJK"),
)
_PREFIXES = ("HALFWIDTH ", "FULLWIDTH ")
_MODIFIER = "MODIFIER LETTER "
# Punctuation of prose that the Unicode properties do not tell from other signs.
_ORDINARY = frozenset(".,;:!?'\"()-/<>%¿¡·…‥٪・･〃")
# First words of the names of some letters that are no script.
_NOT_SCRIPTS = frozenset({"BLACK", "DOUBLE", "TURNED", "VERTICAL"})
_SCRIPT_WORDS = frozenset(name for names in SCRIPT_NAMES.values() for name in names)


def spaced(language: Language) -> bool:
    """True if the script of the language puts spaces between words."""
    return language.script not in UNSPACED


def code_points(text: str) -> NDArray[np.uint32]:
    """Code point of each character, (characters,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def kinds(text: str) -> NDArray[np.uint8]:
    """Class of each character, (characters,): one of the constants above or the number of a script."""
    return kinds_of(code_points(text))


def kinds_of(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """As ``kinds``, of code points."""
    return _table()[0].take(codes)


def script_kinds(script: str) -> list[int]:
    """Class numbers of the letters of a script.

    Args:
        script: ISO 15924 code such as ``Latn``.

    Raises:
        CorpusError: Python's Unicode tables have no letters of this script.
    """
    names = SCRIPT_NAMES.get(script) or (_script_name(script),)
    known = _table()[1]
    numbers = [known[name] for name in names if name in known]
    if not numbers:
        raise CorpusError(
            f"the script {script!r} has no letters in this Python's Unicode tables: "
            "set language_check = false to read the corpus without language checks"
        )
    return numbers


def _script_name(script: str) -> str:
    import langcodes

    return str(langcodes.Language.make(script=script).script_name()).upper().split()[0].split("-")[0]


@cache
def _table() -> tuple[NDArray[np.uint8], dict[str, int]]:
    """Class of every code point, (0x110000,), and the number of each script by name."""
    table = np.full(0x110000, BROKEN, dtype=np.uint8)
    numbers: dict[str, int] = {}
    is_filled = np.zeros(0x20000, dtype=bool)
    for start, end, name in _BLOCKS:
        table[start:end] = numbers.setdefault(name, FIRST_SCRIPT + len(numbers))
        is_filled[start:end] = True
    for code in (*np.flatnonzero(~is_filled).tolist(), *range(0xE0000, 0xE0200)):
        table[code] = _kind(chr(code), numbers)
    scripts = numbers.keys() - _NOT_SCRIPTS
    for code in np.flatnonzero(table == SYMBOL).tolist():
        if code >= 0x80 and _is_script_sign(code, scripts):
            table[code] = PUNCTUATION
    return table, numbers


def _kind(character: str, numbers: dict[str, int]) -> int:
    category = unicodedata.category(character)
    if character == "\n":
        return NEWLINE
    if category in ("Cn", "Co", "Cs") or character == "\ufffd":
        return BROKEN
    if category[0] == "Z" or character == "\t":
        return SPACE
    if character in _ORDINARY or (category[0] == "P" and _is_ordinary(character, category)):
        return PUNCTUATION
    simple = {"N": DIGIT, "S": SYMBOL, "P": SYMBOL, "C": OTHER}.get(category[0])
    if simple is not None:
        return simple
    name = unicodedata.name(character, "")
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    is_modifier = name.startswith(_MODIFIER)
    script = name.removeprefix(_MODIFIER).split(" ")[0].split("-")[0]
    # Letters such as the Hawaiian okina belong to several scripts.
    if script in ("COMBINING", "VARIATION", "") or (is_modifier and script not in _SCRIPT_WORDS):
        return MARK
    if script == "IDEOGRAPHIC":
        script = "CJK"
    # One byte has room for 248 scripts. Unicode has fewer than 170, but rare first words must not overflow it.
    return min(numbers.setdefault(script, FIRST_SCRIPT + len(numbers)), 255)


def _is_ordinary(character: str, category: str) -> bool:
    """True if punctuation is ordinary in prose: quotes, dashes, brackets, and what ends a sentence or a part of it.

    ASCII has brackets and dashes that code and markup use, so its ordinary punctuation is listed.
    """
    is_known = category in ("Pd", "Pi", "Pf", "Ps", "Pe") or character in TERMINAL_PUNCTUATION
    return is_known and character >= "\x80"


def _is_script_sign(code: int, scripts: set[str]) -> bool:
    """True if a sign belongs to one script, such as the Tibetan tsheg, the Ethiopic word space or the Hebrew geresh."""
    name = unicodedata.name(chr(code), "")
    return unicodedata.category(chr(code)) == "Po" and name.split(" ")[0].split("-")[0] in scripts
