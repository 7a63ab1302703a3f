"""What the card of a whole data set shows: facts over all of its languages, for Markdown and Croissant alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from x_instruction import __version__
from x_instruction.cards.facts import LanguageSet, RecipeFacts, RowFacts, StageFacts, splits_of
from x_instruction.cards.licenses import license_metadata
from x_instruction.cards.templates import render
from x_instruction.corpus.sources import SAMPLE_SOURCE
from x_instruction.hashing import digest


@dataclass(frozen=True, slots=True)
class RecipeUse:
    """A recipe, and the languages that were made with it."""

    recipe: RecipeFacts
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """Facts over all languages of a data set.

    Args:
        sets: Tag to language, the default first.
        pretty_name: Title.
        facts: What the rows state.
        recipes: The recipes, each with its languages.
    """

    sets: Mapping[str, LanguageSet]
    pretty_name: str
    facts: RowFacts
    recipes: list[RecipeUse]

    @classmethod
    def of(cls, sets: Mapping[str, LanguageSet], pretty_name: str) -> DatasetFacts:
        """The facts of some languages."""
        recipes: dict[str, RecipeUse] = {}
        for tag, language_set in sets.items():
            recipe = language_set.provenance.recipe
            recipes.setdefault(recipe.toml, RecipeUse(recipe)).tags.append(tag)
        facts = RowFacts.over(language_set.facts for language_set in sets.values())
        return cls(sets, pretty_name, facts, list(recipes.values()))

    @property
    def default(self) -> str:
        """Tag of the default config."""
        return next(iter(self.sets))

    @property
    def splits(self) -> list[str]:
        """The splits that any language has."""
        return splits_of(self.sets.values())

    @property
    def rows(self) -> int:
        """Rows of all languages."""
        return sum(language_set.rows for language_set in self.sets.values())

    @property
    def synthetic(self) -> bool:
        """True if every response is from the sample corpus, which a language model wrote."""
        origins = (origin for language_set in self.sets.values() for origin, _ in language_set.facts.origins.shown())
        return all(source == SAMPLE_SOURCE for source, *_ in origins)

    @property
    def masked(self) -> bool:
        """True if personal data was masked in every language."""
        return all(use.recipe.masked for use in self.recipes)

    @property
    def missing(self) -> list[str]:
        """Tags of languages that a recipe asks for and that have no rows."""
        requested = dict.fromkeys(tag for use in self.recipes for tag in use.recipe.languages)
        return [tag for tag in requested if tag not in self.sets]

    @property
    def instruction_tags(self) -> list[str]:
        """Tags of the languages of the instructions."""
        return sorted(tag for (tag,) in self.facts.instruction_languages.counts)

    @property
    def licence(self) -> dict[str, str]:
        """Card metadata for the licences of the rows."""
        return license_metadata(self.facts.licenses)

    @property
    def extras(self) -> str:
        """Extras of this package that running the recipes needs, as in an install command."""
        names = {name for use in self.recipes for name in use.recipe.extras}
        # The extra of the embedded models includes these.
        return ",".join(sorted(names - {"embed", "transformers"} if "embedded" in names else names))

    @property
    def citation(self) -> str:
        """BibTeX of the method and of this data set."""
        content = digest({tag: language_set.files for tag, language_set in self.sets.items()})
        values = {"pretty_name": self.pretty_name, "content": content, "version": __version__}
        return render("citation.bib.jinja", values).strip()

    def effort(self) -> dict[str, StageFacts]:
        """What each stage took over all languages, and all stages together as ``all``."""
        together = StageFacts(stage="all")
        sums: dict[str, StageFacts] = {}
        for language_set in self.sets.values():
            for stage in language_set.provenance.stages:
                for total in (sums.setdefault(stage.stage, StageFacts(stage=stage.stage)), together):
                    for figure in ("seconds", "requests", "prompt_tokens", "output_tokens", "cost"):
                        setattr(total, figure, getattr(total, figure) + getattr(stage, figure))
        return sums | {"all": together}
