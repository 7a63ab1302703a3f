"""Language identifiers: the model of py3langid, or a fastText model that the recipe names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from x_instruction.corpus.characters import SCRIPT_NAMES
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


def _labels(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The labels of py3langid, so that a language can be refused before its model is loaded.
PY3LANGID = _labels(
    """
    ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa fi fo fr fuv fy
    ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka kab kik kk km kn ko ku ky la lb lg
    lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no nso oc om or pa pcm pl ps pt qu ro ru rw sa sdh se si sk sl
    sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz uzs vec vi vo wa wuu xh yo yue zh zu zxx
    """
)
# Scripts that py3langid knows besides the usual one of a language.
SECOND_SCRIPTS = {"sr": "Latn", "uz": "Cyrl", "zh": "Hant", "yue": "Hans", "wuu": "Hant"}
# Languages that no identifier tells apart, by script: they count as one, and ``close_languages`` decides by words.
SUMMED = {"Latn": frozenset({"bs", "hr", "sr"}), "Cyrl": frozenset({"bs", "sr"})}
# Their common names in fastText models.
_SERBO_CROATIAN = ("sh", "hbs", "hbs_Latn", "cnr", "cnr_Latn")


class Guess(NamedTuple):
    """The result of an identifier for one text.

    Args:
        tag: the most likely language.
        shares: probabilities by tag: of the most likely language, the expected one and those it is confused with.
        note: why the tag is ``und``, for people.
    """

    tag: str
    shares: dict[str, float]
    note: str = ""


class Identifier(Protocol):
    """Identifies the language of texts."""

    def best(self, texts: list[str]) -> list[Guess]:
        """The most likely language of each text, among all known languages."""

    def foreign(self, units: list[str]) -> Sequence[bool]:
        """For each unit (about a sentence), whether it is clearly in another language."""


def enough_letters(unit: str) -> bool:
    """True if a unit has enough letters to identify its language."""
    # The beginning of most units has enough.
    return any(sum(map(str.isalpha, part)) >= UNIT_LETTERS for part in (unit[: 2 * UNIT_LETTERS], unit))


def kin(expected: Language) -> frozenset[str]:
    """Labels of the language itself and of those that no identifier tells from it in its script."""
    base = expected.tag.split("-")[0]
    group = SUMMED.get(expected.script, frozenset())
    return group if base in group else frozenset({LABELS.get(expected.tag, base)})


def known_labels(expected: Language) -> frozenset[str]:
    """Labels of py3langid for texts of the language. Empty if it does not know the language in its script."""
    return frozenset(label for label in kin(expected) & PY3LANGID if expected.script in _scripts(label))


def _scripts(label: str) -> tuple[str, ...]:
    """The scripts in which py3langid knows a language."""
    import langcodes

    usual: str | None = langcodes.Language.make(language=label).maximize().script
    return tuple(filter(None, (usual, SECOND_SCRIPTS.get(label))))


def _shares_letters(label: str, script: str) -> bool:
    """Whether a language is written with letters of a script: Korean and Chinese, for example, with ideographs."""
    letters = SCRIPT_NAMES.get(script, (script,))
    return any(not set(letters).isdisjoint(SCRIPT_NAMES.get(other, (other,))) for other in _scripts(label))


class Ngrams:
    """py3langid's model as an ``Identifier``.

    Only languages of scripts that share letters are compared, because texts in other scripts are dropped before.
    """

    def __init__(self, expected: Language) -> None:
        from x_instruction.corpus import ngrams

        model = ngrams.model()
        own = known_labels(expected)
        self._tag = expected.tag
        self._all = model.columns(
            [label for label in model.labels if label in own or _shares_letters(label, expected.script)]
        )
        self._own = [i for i, label in enumerate(self._all.labels) if label in own]
        self._near = [i for i, label in enumerate(self._all.labels) if label in expected.confused_with]
        others = [c for c in COMMON.get(expected.script, ()) if c not in own and c not in expected.confused_with]
        self._few = model.columns([*own, *others]) if others else None
        self._few_others = [i for i, label in enumerate(self._few.labels) if label not in own] if self._few else []

    def best(self, texts: list[str]) -> list[Guess]:
        """See ``Identifier``."""
        guesses = []
        for row in self._all.probabilities(texts) if texts else ():
            own = float(row[self._own].sum())
            shares = {self._all.labels[index]: float(row[index]) for index in self._near}
            row[self._own] = 0.0
            likeliest = int(row.argmax())
            tag, share = self._all.labels[likeliest], float(row[likeliest])
            shares |= {tag: share, self._tag: own}
            guesses.append(Guess(self._tag if own >= share else tag, shares))
        return guesses

    def foreign(self, units: list[str]) -> Sequence[bool]:
        """See ``Identifier``."""
        if not units or self._few is None:
            return [False] * len(units)
        sure = self._few.exceed(units, self._few_others, UNIT_CONFIDENCE)
        return [is_sure and enough_letters(unit) for is_sure, unit in zip(sure, units, strict=True)]


class FastText:
    """A fastText model as an ``Identifier``. Labels have the form ``__label__swh_Latn`` or ``__label__sw``.

    Raises:
        MissingExtra: the package ``fasttext`` is not installed.
        RecipeError: the file cannot be read.
    """

    def __init__(self, path: Path, expected: Language) -> None:
        self._model = _load(path)
        self._expected = expected
        self._names = dict.fromkeys(_names(expected), expected.tag)
        for tag in expected.confused_with:
            for alias in language(tag).aliases:
                self._names.setdefault(alias.lower(), tag)

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
            shares: dict[str, float] = {}
            for tag, share in self._predict(text, 5) or [("und", 0.0)]:
                shares[tag] = min(1.0, shares.get(tag, 0.0) + share)
            guesses.append(Guess(max(shares, key=shares.__getitem__), shares))
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


def fasttext_unknown(path: Path, languages: Sequence[Language]) -> list[Language]:
    """The languages that a fastText model has no label for.

    Raises:
        MissingExtra: the package ``fasttext`` is not installed.
        RecipeError: the file cannot be read.
    """
    # Every label, whatever its probability.
    labels, _ = _load(path).predict("a", k=1 << 20, threshold=-1.0)
    names = {label.removeprefix("__label__").lower() for label in labels}
    return [language for language in languages if names.isdisjoint(_names(language))]


def _names(expected: Language) -> set[str]:
    """Names of the language in fastText models, in lower case, with those of languages that no model tells from it."""
    names = {*expected.aliases, LABELS.get(expected.tag, expected.tag)}
    for label in kin(expected):
        if label != expected.tag:
            names |= {*language(label).aliases} if label in SUMMED.get(expected.script, ()) else set()
    if expected.script in ("Hans", "Hant"):
        # The characters tell one from the other.
        names |= {f"{expected.iso639_3}_Hani", f"{expected.iso639_3}_Hans", f"{expected.iso639_3}_Hant"}
        names.add(expected.tag.split("-")[0])
    if "sr" in kin(expected):
        names |= set(_SERBO_CROATIAN)
    return {name.lower() for name in names}


def _load(path: Path) -> Any:
    try:
        import fasttext
    except ImportError:
        raise MissingExtra("fasttext", "lid") from None
    if not path.is_file():
        raise RecipeError(f"lid_model {path} is not a file: name a fastText model (model.bin)")
    try:
        return fasttext.load_model(str(path))
    except (ValueError, RuntimeError, OSError) as error:
        raise RecipeError(f"cannot read the fastText model {path}: {error}") from None
