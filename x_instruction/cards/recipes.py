"""The recipe of a run as a card shows it, without what belongs to one machine."""

from __future__ import annotations

import unicodedata

import tomli_w

from x_instruction.cards.escaping import JOINERS
from x_instruction.cards.facts import RecipeFacts
from x_instruction.config.recipe import Recipe
from x_instruction.config.section import portable

# Extras of this package that engines need.
_EXTRAS = {"transformers": "transformers", "vllm": "vllm", "openai": "http", "tgi": "http"}


def recipe_facts(recipe: Recipe) -> RecipeFacts:
    """What the card of a run's data set shows of its recipe."""
    models = recipe.models
    embedded = any(name.startswith("embedded") for name in (*(m.name for m in models), recipe.diversify.embedder))
    engines = {_EXTRAS[model.engine] for model in models if model.engine in _EXTRAS}
    # The extra of the embedded models includes transformers.
    extras = {"embedded", *engines - {"transformers"}} if embedded else {"embed", *engines}
    return RecipeFacts(
        name=recipe.name,
        toml=recipe_toml(recipe),
        languages=recipe.languages,
        corpus=recipe.corpus.dataset or "original",
        masked=recipe.corpus.filters.mask_personal_data,
        candidates=recipe.generate.candidates,
        rater=recipe.refine.rater,
        keep=recipe.refine.keep,
        selector=recipe.diversify.selector,
        quota=recipe.diversify.quota,
        extras=tuple(sorted(extras)),
    )


def recipe_toml(recipe: Recipe) -> str:
    """Every setting with a value, defaults too, as TOML.

    Folders are shortened to their last part, and addresses of servers are left out. Characters that are invisible or
    could open an HTML tag are escaped, so that a card can show the text.
    """
    text = tomli_w.dumps(portable(recipe))
    return "".join(c if _is_harmless(c) else f"\\U{ord(c):08x}" for c in text).strip()


def _is_harmless(character: str) -> bool:
    return character in f"\n {JOINERS}" or (character != "<" and unicodedata.category(character)[0] not in "CZ")
