"""Languages by BCP-47 tag, FLORES code or English name.

Any BCP-47 tag works: names and scripts come from ``langcodes``. ``SPECIFIC`` holds only facts that the standard lacks:
the individual language of a macrolanguage, which published corpora use in their names, and the related languages that
language identifiers confuse.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from x_instruction.errors import UnknownLanguage

if TYPE_CHECKING:
    import langcodes

# The ten languages of the paper (arXiv 2405.19744, section 4.1), in its order: two tiers of resources.
PAPER_LANGUAGES = ("fi", "id", "th", "tr", "vi", "bn", "hi", "sw", "ta", "ur")

# ISO 15924 codes of scripts that run from right to left. pages.js has the same list.
RIGHT_TO_LEFT = frozenset({"Adlm", "Arab", "Aran", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa"})

# Codes for "undetermined", "multiple", "uncoded" and "no linguistic content", which are not languages.
_NO_LANGUAGE = frozenset({"und", "mul", "mis", "zxx"})


@dataclass(frozen=True, slots=True)
class Language:
    """A language.

    Args:
        tag: the shortest BCP-47 tag, also the name of the data set's config (``sw``).
        name: English name, used in prompts and cards (``Swahili``).
        native_name: name in the language itself (``Kiswahili``).
        script: ISO 15924 code of its usual script (``Latn``).
        iso639_3: three-letter code of the individual language (``swh``).
        confused_with: tags of languages that identifiers confuse with it; see ``corpus.close_languages``.
    """

    tag: str
    name: str
    native_name: str
    script: str
    iso639_3: str
    confused_with: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """ISO 639-3 code and script, as in FineWeb-2, FLORES and GlotLID (``swh_Latn``)."""
        return f"{self.iso639_3}_{self.script}"

    @property
    def aliases(self) -> tuple[str, ...]:
        """All accepted names, the canonical tag first."""
        return tuple(dict.fromkeys((self.tag, self.code, self.iso639_3, _macro_code(self.tag), self.name)))


# Tag to (individual language of the macrolanguage or None, languages that it is confused with).
SPECIFIC: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "ar": ("arb", ()),
    "az": ("azj", ()),
    "et": ("ekk", ()),
    "fa": ("pes", ()),
    "hi": (None, ("ur", "mr", "ne")),
    "id": (None, ("ms", "jv", "su")),
    "lv": ("lvs", ()),
    "mg": ("plt", ()),
    "mn": ("khk", ()),
    "ms": ("zsm", ("id",)),
    "ne": ("npi", ("hi",)),
    "no": ("nob", ("da", "sv")),
    "or": ("ory", ()),
    "sq": ("als", ()),
    "sw": ("swh", ("rw", "zu")),
    "ur": (None, ("hi", "fa", "pa")),
    "uz": ("uzn", ()),
    "yue": (None, ("zh",)),
    "zh": ("cmn", ("yue",)),
}


@cache
def language(tag: str) -> Language:
    """Look up a language by a tag, a code such as ``swh_Latn`` or an English name.

    Raises:
        UnknownLanguage: no standard has the tag. The message suggests the closest known name.
    """
    import langcodes

    name_or_tag = tag.strip()
    known = _by_alias().get(name_or_tag.lower())
    if known is not None:
        name_or_tag = known
    if not name_or_tag.isprintable():
        raise UnknownLanguage(_unknown(tag))
    try:
        parsed = langcodes.Language.get(name_or_tag)
    except (LookupError, ValueError):
        parsed = _by_name(name_or_tag)
    # "Zulu" also has the form of a tag.
    if not parsed.is_valid() and len(name_or_tag) > 3:
        parsed = _by_name(name_or_tag)
    if not parsed.is_valid() or not parsed.language or parsed.language in _NO_LANGUAGE:
        raise UnknownLanguage(_unknown(tag))
    plain = langcodes.Language.make(**{**parsed.to_dict(), "script": None})
    if parsed.script == plain.maximize().script:
        parsed = plain
    canonical = parsed.to_tag()
    individual, confused = SPECIFIC.get(parsed.language, (None, ()))
    name = langcodes.Language.get(canonical).display_name()
    if name.startswith("Unknown language"):
        raise UnknownLanguage(_unknown(tag))
    script = parsed.maximize().script
    if not script:
        raise UnknownLanguage(f"{tag!r} has no known script: add one, for example '{parsed.language}-Latn'")
    return Language(
        tag=canonical,
        name=name,
        native_name=parsed.autonym(),
        script=script,
        iso639_3=individual or parsed.to_alpha3(),
        confused_with=confused,
    )


def direction(tag: str) -> str:
    """The direction of a language's script for HTML: ``ltr``, ``rtl``, or ``auto`` if the language is unknown."""
    try:
        return "rtl" if language(tag).script in RIGHT_TO_LEFT else "ltr"
    except UnknownLanguage:
        return "auto"


@cache
def _by_alias() -> dict[str, str]:
    """Tag by lower-case alias, for the languages in the tables above."""
    import langcodes

    table: dict[str, str] = {}
    for tag in dict.fromkeys((*PAPER_LANGUAGES, *SPECIFIC)):
        parsed = langcodes.Language.get(tag)
        individual = SPECIFIC.get(tag, (None, ()))[0]
        script = parsed.maximize().script or ""
        codes = [_macro_code(tag), parsed.display_name(), *([individual] if individual else [])]
        for code in codes:
            table[code.lower()] = tag
            table[f"{code}_{script}".lower()] = tag
            table[f"{code}-{script}".lower()] = tag
    return table


def _macro_code(tag: str) -> str:
    import langcodes

    return str(langcodes.Language.get(tag).to_alpha3())


def _by_name(name: str) -> langcodes.Language:
    import langcodes

    try:
        return langcodes.find(name)
    except LookupError:
        raise UnknownLanguage(_unknown(name)) from None


def _unknown(tag: str) -> str:
    close = difflib.get_close_matches(tag.lower(), _by_alias(), n=1)
    hint = f", did you mean {_by_alias()[close[0]]!r}?" if close else ""
    return (
        f"unknown language {tag!r}{hint} (expected a BCP-47 tag such as 'sw', 'zh-Hans', or a code such as 'swh_Latn')"
    )
