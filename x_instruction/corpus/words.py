"""Words of a text, without a tokenizer."""

from __future__ import annotations

import string

# Besides ASCII: quotes, dashes, and the punctuation of Arabic, Indic scripts, Chinese and Spanish.
_PUNCTUATION = string.punctuation + "“”‘’«»„…–—¿¡،؛؟।॥。、？！：；（）"


def stripped(part: str) -> str:
    """A part of a text between white space without the punctuation around it. Empty if it has nothing else."""
    return part.strip(_PUNCTUATION)


def words(text: str) -> list[str]:
    """Words in lower case, without the punctuation around them.

    The text is split at white space and not by a pattern of letters, because Python does not count the vowel signs of
    Indic scripts as letters. In a script without spaces between words, a "word" is a phrase.
    """
    return [word for part in text.casefold().split() if (word := part.strip(_PUNCTUATION))]
