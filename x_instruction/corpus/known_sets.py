"""Evaluation sets that a recipe names without a path: their data sets on the Hub, and their configs by language."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from x_instruction.corpus import streamed
from x_instruction.corpus.files import fill
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError
from x_instruction.languages import Language


class KnownSet(NamedTuple):
    """A data set on the Hub.

    Args:
        dataset: its id.
        config: name of the config of a language, with the placeholders of paths.
    """

    dataset: str
    config: str


_FLORES = "{code}"
SETS = {
    "belebele": KnownSet("facebook/belebele", _FLORES),
    "flores": KnownSet("openlanguagedata/flores_plus", _FLORES),
    "global-mmlu": KnownSet("CohereLabs/Global-MMLU", "{tag}"),
    "mgsm": KnownSet("juletxara/mgsm", "{tag}"),
    "paws-x": KnownSet("google-research-datasets/paws-x", "{tag}"),
    "sib200": KnownSet("Davlan/sib200", _FLORES),
    "xcopa": KnownSet("cambridgeltl/xcopa", "{tag}"),
    "xnli": KnownSet("facebook/xnli", "{tag}"),
    "xquad": KnownSet("google/xquad", "xquad.{tag}"),
}
# Splits for training are no evaluation, and may be large.
_TRAINING = "train"


def named(paths: Sequence[str]) -> list[str]:
    """The entries of ``corpus.decontaminate`` that are names of sets."""
    return [path for path in paths if path in SETS]


def unnamed(paths: Sequence[str]) -> tuple[str, ...]:
    """The other entries, which are paths.

    Raises:
        CorpusError: an entry is neither a known name nor a path.
    """
    others = tuple(path for path in paths if path not in SETS)
    for path in others:
        if not set(path) & set("./\\*{"):
            close = difflib.get_close_matches(path, SETS, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise CorpusError(
                f"corpus.decontaminate names {path!r}, which is no evaluation set that is known by name; {hint}"
                f"expected one of {', '.join(SETS)}, or the path of a file"
            )
    return others


def rows(name: str, language: Language) -> Iterator[dict[str, Any]]:
    """Rows of a set in one language, of all splits but those for training; none if the set has no such language.

    Raises:
        CorpusError: no access, no connection, or a damaged file.
    """
    known = SETS[name]
    available = streamed.configs(known.dataset)
    for config in [config for config in _configs(known, language) if config in available][:1]:
        for split in streamed.splits(known.dataset, config):
            if not split.startswith(_TRAINING):
                for _, row in streamed.stream(known.dataset, config, split, "main"):
                    assert not isinstance(row, RowError)
                    yield row


def _configs(known: KnownSet, language: Language) -> list[str]:
    """The names that the config of a language may have."""
    if known.config != _FLORES:
        return [fill(known.config, language)]
    # FLORES has the codes of some macrolanguages (zho_Hans) and of some individual languages (swh_Latn).
    return [f"{alias}_{language.script}" for alias in language.aliases if len(alias) == 3]
