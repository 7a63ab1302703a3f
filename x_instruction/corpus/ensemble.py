"""Which identifiers check a language: one, or several that must agree (``lid_ensemble``).

An identifier always names one of the languages that it knows, also for a text in none of them. Several seldom agree on
the same wrong one, so an ensemble can answer "none of these".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from x_instruction.config.corpus import LanguageThresholds
from x_instruction.corpus import characters
from x_instruction.corpus.close_languages import closer
from x_instruction.corpus.identifiers import FastText, Guess, Identifier, Ngrams, fasttext_unknown, known_labels
from x_instruction.errors import RecipeError
from x_instruction.languages import Language

# The name of the identifier that needs no file.
BUILT_IN = "py3langid"


def identifier(expected: Language, limits: LanguageThresholds) -> Identifier:
    """The identifier for a language, as the settings say.

    Raises:
        RecipeError: no identifier knows the language, or the file of a fastText model cannot be read.
        MissingExtra: a fastText model is named and fastText is not installed.
    """
    check([expected], limits)
    members = [name for name in _members(limits) if not _unknown(name, [expected])]
    if not limits.lid_ensemble:
        return _member(members[0], expected)
    return Ensemble(expected, {Path(name).name: _member(name, expected) for name in members})


def check(languages: Sequence[Language], limits: LanguageThresholds) -> None:
    """Refuse languages that cannot be checked, before work starts.

    Args:
        languages: languages of passages or responses.
        limits: names the identifiers. Nothing is refused without ``language_check``.

    Raises:
        RecipeError: no identifier knows one of the languages, or the file of a fastText model cannot be read.
        CorpusError: a script has no letters in Python's Unicode tables.
        MissingExtra: a fastText model is named and fastText is not installed.
    """
    if not limits.language_check:
        return
    unknown = list(languages)
    for name in _members(limits):
        unknown = _unknown(name, unknown)
    if unknown:
        names = " and ".join(f"{language.name} ({language.tag!r})" for language in unknown)
        members = [Path(name).name for name in _members(limits)]
        verb = "does" if len(members) == 1 else "do"
        raise RecipeError(
            f"{' and '.join(members)} {verb} not know {names}: set lid_model to the file of a fastText model that does "
            "(GlotLID knows 2,000 languages), or language_check = false (corpus.filters, seeds)"
        )
    for language in languages:
        characters.script_kinds(language.script)


def _members(limits: LanguageThresholds) -> tuple[str, ...]:
    return limits.lid_ensemble or (limits.lid_model or BUILT_IN,)


def _unknown(name: str, languages: Sequence[Language]) -> list[Language]:
    """The languages that an identifier does not know."""
    if name == BUILT_IN:
        return [language for language in languages if not known_labels(language)]
    return fasttext_unknown(Path(name), languages) if languages else []


def _member(name: str, expected: Language) -> Identifier:
    return Ngrams(expected) if name == BUILT_IN else FastText(Path(name), expected)


class Ensemble:
    """Several identifiers as one: a text is in a language if all say so, and in none of them otherwise.

    Args:
        expected: the expected language.
        members: identifiers that know it, by name.
    """

    def __init__(self, expected: Language, members: dict[str, Identifier]) -> None:
        self._expected = expected
        self._members = members

    def best(self, texts: list[str]) -> list[Guess]:
        """See ``Identifier``. The probability of a language is the least that a member gives it."""
        rows = [member.best(texts) for member in self._members.values()]
        return [self._agreed(text, guesses) for text, guesses in zip(texts, zip(*rows, strict=True), strict=True)]

    def _agreed(self, text: str, guesses: Sequence[Guess]) -> Guess:
        found = [closer(text, self._expected.tag, guess) for guess in guesses]
        tags = {tag for tag, _ in found}
        if len(tags) == 1:
            tag = tags.pop()
            return Guess(tag, {tag: min(share for _, share in found)})
        said = ", ".join(
            f"{name} says {tag} ({share:.2f})" for name, (tag, share) in zip(self._members, found, strict=True)
        )
        return Guess("und", {"und": 0.0}, f"none of these: {said}")

    def foreign(self, units: list[str]) -> Sequence[bool]:
        """See ``Identifier``. A unit is foreign if all members say so."""
        rows = [member.foreign(units) for member in self._members.values()]
        return [all(row) for row in zip(*rows, strict=True)] if units else []
