"""How many characters a script needs for the same text, so that one limit in characters means the same in all scripts.

Measured on the Universal Declaration of Human Rights (``benchmarks/languages.py --density``) as a share of the median
of 60 languages in Latin script. These range from 0.85 (Wolof) to 1.34 (Hausa), so scripts within this range count as 1.
"""

from __future__ import annotations

from x_instruction.config.corpus import Filters
from x_instruction.languages import Language

# ISO 15924 code to characters per character of Latin script. Chinese measures 0.25, but the declaration is terse in it,
# so Han has a more careful number: 200 Latin characters are 70 Han.
DENSITY: dict[str, float] = {
    "Ethi": 0.6,
    "Hani": 0.35,
    "Hans": 0.35,
    "Hant": 0.35,
    "Hebr": 0.65,
    "Jpan": 0.4,
    "Kore": 0.45,
    "Mymr": 1.45,
    "Thaa": 1.7,
    "Yiii": 0.3,
}


def scaled(limits: Filters, language: Language) -> Filters:
    """The limits with ``min_chars`` and ``max_chars`` in characters of the language's script.

    Args:
        limits: limits whose lengths are in characters of Latin script.
        language: the language of the passages.
    """
    density = DENSITY.get(language.script, 1.0)
    if not limits.lengths_by_script or density == 1.0:
        return limits
    lengths = {key: max(1, round(getattr(limits, key) * density)) for key in ("min_chars", "max_chars")}
    return limits.model_copy(update=lengths)
