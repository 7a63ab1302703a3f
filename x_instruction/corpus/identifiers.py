"""What names the language of texts: py3langid's model, or a fastText model that the recipe names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from x_instruction.config.recipe import Filters
from x_instruction.errors import MissingExtra, RecipeError
from x_instruction.languages import Language, language

# Below this many letters a unit is a name, a command or a heading, and no evidence.
UNIT_LETTERS = 20
# A unit is foreign when another language is this likely, among those that a unit is compared with.
UNIT_CONFIDENCE = 0.7
# Languages that turn up in everyone's pages, by script; a unit is compared with these and not with 140, most of which a
# short unit cannot be told from. In other scripts the script itself tells foreign sentences.
COMMON: dict[str, tuple[str, ...]] = {
    "Arab": ("ar",),
    "Cyrl": ("ru",),
    "Deva": ("hi",),
    "Latn": ("en", "es", "fr", "de", "pt", "it", "nl", "pl"),
}
# Our tag -> py3langid's label where they differ.
LABELS = {"nb": "no", "fil": "tl"}


class Guess(NamedTuple):
    """What an identifier thinks of a text.

    Args:
        tag: the most likely language.
        shares: probability of the likeliest and of the languages that matter, by tag.
    """

    tag: str
    shares: dict[str, float]


class Identifier(Protocol):
    """What names the language of texts."""

    def best(self, texts: list[str]) -> list[Guess]:
        """The language of each text, among all that are known."""

    def foreign(self, units: list[str]) -> Sequence[bool]:
        """Whether each unit, a sentence or so, is surely in another language."""


def identifier(wanted: Language, limits: Filters) -> Identifier:
    """The identifier for a language.

    Raises:
        RecipeError: py3langid does not know the language and no other model is named, or the model cannot be read.
        MissingExtra: a fastText model is named and fastText is not installed.
    """
    if limits.lid_model is not None:
        return FastText(Path(limits.lid_model), wanted)
    from x_instruction.corpus import ngrams

    label = LABELS.get(wanted.tag, wanted.tag.split("-")[0])
    if label not in ngrams.model().labels:
        raise RecipeError(
            f"py3langid does not know {wanted.name} ({wanted.tag!r}): set corpus.filters.lid_model to the file of a "
            "fastText model that does (GlotLID knows 2,000 languages), or corpus.filters.language to false"
        )
    return Ngrams(wanted, label)


def enough_letters(unit: str) -> bool:
    """Whether a unit has enough letters to be evidence."""
    return sum(map(str.isalpha, unit)) >= UNIT_LETTERS


def _script_of(label: str) -> str | None:
    """The script that a language is normally written in, or None where no standard says."""
    import langcodes

    script: str | None = langcodes.Language.make(language=label).maximize().script
    return script


class Ngrams:
    """py3langid's model as an ``Identifier``.

    Only languages of the wanted one's script are compared: text that comes here is written in it, and so in no other.
    """

    def __init__(self, wanted: Language, label: str) -> None:
        from x_instruction.corpus import ngrams

        model = ngrams.model()
        self._tags = {label: wanted.tag}
        self._label = label
        self._all = model.columns([name for name in model.labels if name == label or _script_of(name) == wanted.script])
        self._near = [i for i, name in enumerate(self._all.labels) if name in (label, *wanted.confused_with)]
        others = [c for c in COMMON.get(wanted.script, ()) if c not in (label, *wanted.confused_with)]
        self._few = model.columns([label, *others]) if others else None

    def best(self, texts: list[str]) -> list[Guess]:
        """See ``Identifier``."""
        found = []
        for row in self._all.probabilities(texts) if texts else ():
            shares: dict[str, float] = {}
            likeliest = int(row.argmax())
            for index in {*self._near, likeliest}:
                # A language written in two scripts has two columns.
                tag = self._tags.get(self._all.labels[index], self._all.labels[index])
                shares[tag] = shares.get(tag, 0.0) + float(row[index])
            found.append(Guess(self._tags.get(self._all.labels[likeliest], self._all.labels[likeliest]), shares))
        return found

    def foreign(self, units: list[str]) -> Sequence[bool]:
        """See ``Identifier``."""
        if not units or self._few is None:
            return [False] * len(units)
        table = self._few.probabilities(units)
        own = [i for i, label in enumerate(self._few.labels) if label == self._label]
        table[:, own] = 0
        sure = (table.max(axis=1) >= UNIT_CONFIDENCE).tolist()
        return [found and enough_letters(unit) for found, unit in zip(sure, units, strict=True)]


class FastText:
    """A fastText model as an ``Identifier``; labels are read as ``__label__swh_Latn`` or ``__label__sw``.

    Raises:
        MissingExtra: the package ``fasttext`` is not there.
        RecipeError: the file cannot be read.
    """

    def __init__(self, path: Path, wanted: Language) -> None:
        try:
            import fasttext
        except ImportError:
            raise MissingExtra("fasttext", "lid") from None
        if not path.is_file():
            raise RecipeError(f"corpus.filters.lid_model {path} is not a file: name a fastText model (model.bin)")
        try:
            self._model = fasttext.load_model(str(path))
        except (ValueError, RuntimeError, OSError) as error:
            raise RecipeError(f"cannot read the fastText model {path}: {error}") from None
        self._wanted = wanted
        names = {alias.lower(): wanted.tag for alias in wanted.aliases}
        for tag in wanted.confused_with:
            names |= {alias.lower(): tag for alias in language(tag).aliases}
        self._names = names

    def _predict(self, text: str, number: int) -> list[tuple[str, float]]:
        labels, shares = self._model.predict(text.replace("\n", " "), k=number)
        found = []
        for label, share in zip(labels, shares, strict=True):
            name = label.removeprefix("__label__")
            found.append((self._names.get(name.lower(), name), min(1.0, float(share))))
        return found

    def best(self, texts: list[str]) -> list[Guess]:
        """See ``Identifier``."""
        found = []
        for text in texts:
            guesses = self._predict(text, 5) or [("und", 0.0)]
            shares: dict[str, float] = {}
            for tag, share in guesses:
                shares[tag] = shares.get(tag, 0.0) + share
            found.append(Guess(guesses[0][0], shares))
        return found

    def foreign(self, units: list[str]) -> Sequence[bool]:
        """See ``Identifier``."""
        found = []
        for unit in units:
            guesses = self._predict(unit, 1)
            close = (self._wanted.tag, *self._wanted.confused_with)
            sure = bool(guesses) and guesses[0][0] not in close and guesses[0][1] >= UNIT_CONFIDENCE
            found.append(sure and enough_letters(unit))
        return found
