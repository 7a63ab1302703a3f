"""Language identifiers: the model of py3langid, or a fastText model that the recipe names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from x_instruction.config.corpus import LanguageThresholds
from x_instruction.errors import MissingExtra, RecipeError
from x_instruction.languages import Language, language

# With fewer letters a unit is a name, a command or a heading, and not enough to identify a language.
UNIT_LETTERS = 20
# A unit is foreign if another language has at least this probability, among the languages it is compared with.
UNIT_CONFIDENCE = 0.7
# Languages that are common on web pages, by script. A unit is compared with these instead of all 140, because it is too
# short to distinguish most of them. In other scripts, foreign sentences are recognised by their script alone.
COMMON: dict[str, tuple[str, ...]] = {
    "Arab": ("ar",),
    "Cyrl": ("ru",),
    "Deva": ("hi",),
    "Latn": ("en", "es", "fr", "de", "pt", "it", "nl", "pl"),
}
# Tags whose label in py3langid differs.
LABELS = {"nb": "no", "fil": "tl"}


class Guess(NamedTuple):
    """The result of an identifier for one text.

    Args:
        tag: the most likely language.
        shares: probabilities by tag: of the most likely language, the expected one and those it is confused with.
    """

    tag: str
    shares: dict[str, float]


class Identifier(Protocol):
    """Identifies the language of texts."""

    def best(self, texts: list[str]) -> list[Guess]:
        """The most likely language of each text, among all known languages."""

    def foreign(self, units: list[str]) -> Sequence[bool]:
        """For each unit (about a sentence), whether it is clearly in another language."""


def identifier(expected: Language, limits: LanguageThresholds) -> Identifier:
    """The identifier for a language, as the settings say.

    Raises:
        RecipeError: py3langid does not know the language and ``lid_model`` is not set, or its file cannot be read.
        MissingExtra: ``lid_model`` is set and fastText is not installed.
    """
    if limits.lid_model is not None:
        return FastText(Path(limits.lid_model), expected)
    from x_instruction.corpus import ngrams

    label = LABELS.get(expected.tag, expected.tag.split("-")[0])
    if label not in ngrams.model().labels:
        raise RecipeError(
            f"py3langid does not know {expected.name} ({expected.tag!r}): set lid_model to the file of a fastText "
            "model that does (GlotLID knows 2,000 languages), or language_check = false (corpus.filters, seeds)"
        )
    return Ngrams(expected, label)


def enough_letters(unit: str) -> bool:
    """True if a unit has enough letters to identify its language."""
    return sum(map(str.isalpha, unit)) >= UNIT_LETTERS


def _script_of(label: str) -> str | None:
    """The usual script of a language, or None if no standard gives one."""
    import langcodes

    script: str | None = langcodes.Language.make(language=label).maximize().script
    return script


class Ngrams:
    """py3langid's model as an ``Identifier``.

    Only languages of the same script are compared, because texts in other scripts are dropped before.
    """

    def __init__(self, expected: Language, label: str) -> None:
        from x_instruction.corpus import ngrams

        model = ngrams.model()
        self._tags = {label: expected.tag}
        self._label = label
        self._all = model.columns(
            [name for name in model.labels if name == label or _script_of(name) == expected.script]
        )
        self._near = [i for i, name in enumerate(self._all.labels) if name in (label, *expected.confused_with)]
        others = [c for c in COMMON.get(expected.script, ()) if c not in (label, *expected.confused_with)]
        self._few = model.columns([label, *others]) if others else None

    def best(self, texts: list[str]) -> list[Guess]:
        """See ``Identifier``."""
        guesses = []
        for row in self._all.probabilities(texts) if texts else ():
            shares: dict[str, float] = {}
            likeliest = int(row.argmax())
            for index in {*self._near, likeliest}:
                # A language with two scripts has two columns.
                tag = self._tags.get(self._all.labels[index], self._all.labels[index])
                shares[tag] = shares.get(tag, 0.0) + float(row[index])
            guesses.append(Guess(self._tags.get(self._all.labels[likeliest], self._all.labels[likeliest]), shares))
        return guesses

    def foreign(self, units: list[str]) -> Sequence[bool]:
        """See ``Identifier``."""
        if not units or self._few is None:
            return [False] * len(units)
        table = self._few.probabilities(units)
        own = [i for i, label in enumerate(self._few.labels) if label == self._label]
        table[:, own] = 0
        sure = (table.max(axis=1) >= UNIT_CONFIDENCE).tolist()
        return [is_sure and enough_letters(unit) for is_sure, unit in zip(sure, units, strict=True)]


class FastText:
    """A fastText model as an ``Identifier``. Labels have the form ``__label__swh_Latn`` or ``__label__sw``.

    Raises:
        MissingExtra: the package ``fasttext`` is not installed.
        RecipeError: the file cannot be read.
    """

    def __init__(self, path: Path, expected: Language) -> None:
        try:
            import fasttext
        except ImportError:
            raise MissingExtra("fasttext", "lid") from None
        if not path.is_file():
            raise RecipeError(f"lid_model {path} is not a file: name a fastText model (model.bin)")
        try:
            self._model = fasttext.load_model(str(path))
        except (ValueError, RuntimeError, OSError) as error:
            raise RecipeError(f"cannot read the fastText model {path}: {error}") from None
        self._expected = expected
        names = {alias.lower(): expected.tag for alias in expected.aliases}
        for tag in expected.confused_with:
            names |= {alias.lower(): tag for alias in language(tag).aliases}
        self._names = names

    def _predict(self, text: str, number: int) -> list[tuple[str, float]]:
        labels, shares = self._model.predict(text.replace("\n", " "), k=number)
        predictions = []
        for label, share in zip(labels, shares, strict=True):
            name = label.removeprefix("__label__")
            predictions.append((self._names.get(name.lower(), name), min(1.0, float(share))))
        return predictions

    def best(self, texts: list[str]) -> list[Guess]:
        """See ``Identifier``."""
        guesses = []
        for text in texts:
            predictions = self._predict(text, 5) or [("und", 0.0)]
            shares: dict[str, float] = {}
            for tag, share in predictions:
                shares[tag] = shares.get(tag, 0.0) + share
            guesses.append(Guess(predictions[0][0], shares))
        return guesses

    def foreign(self, units: list[str]) -> Sequence[bool]:
        """See ``Identifier``."""
        results = []
        for unit in units:
            guesses = self._predict(unit, 1)
            close = (self._expected.tag, *self._expected.confused_with)
            is_other = bool(guesses) and guesses[0][0] not in close and guesses[0][1] >= UNIT_CONFIDENCE
            results.append(is_other and enough_letters(unit))
        return results
