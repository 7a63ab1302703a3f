"""Mixing recipes: which rows a model is trained on, one TOML file into frozen, validated settings.

Section numbers are those of docs/method.md. Where the papers draw by chance, these recipes count: a probability
becomes the exact number of rows that it implies, rounded by largest remainders, so that two mixes of one recipe are
the same.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from x_instruction.config.fields import (
    ANSWER_TAG,
    MAX_ROW_BYTES,
    Invalid,
    NotNegative,
    PlainName,
    Positive,
    RowBytes,
    Share,
    Tag,
    Tags,
    Template,
)
from x_instruction.config.files import Recipes
from x_instruction.config.section import Section

Mode = Literal["mono", "en2x", "x2en", "x2x", "translation"]


class CrossIn(Section):
    """CrossIn (arXiv 2404.11932; 3.3): the tag on the last line of the prompt says in which language to answer."""

    modes: Annotated[tuple[Mode, ...], Field(strict=False, min_length=1)] = ("mono", "en2x", "x2en", "translation")
    """Shapes of the rows: `mono` (asked and answered in one language, no tag), `en2x`, `x2en`, `x2x` (two different
    languages, neither the pivot; its form is by analogy) and `translation` (of instructions into the pivot)."""
    size: Positive | None = None
    """Rows of each mode, drawn with replacement. If not set, as many as there are items. CrossIn has 3,000, 6,000,
    15,000 and all."""
    base: NotNegative = 0
    """Rows in the pivot language without a tag, each item once. CrossIn adds an English set."""
    tag: Template = "[{tag}]"
    """Last line of the prompt. `{tag}` and `{name}` are those of the language of the answer."""
    translation_prompt: Template = "Translate this into {name}:"
    """Text before an instruction to translate. `{tag}` and `{name}` are those of the pivot."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.modes)) < len(self.modes):
            raise Invalid("modes", f"is {list(self.modes)}, expected each mode once")
        return self


class Pinch(Section):
    """A pinch of multilinguality (arXiv 2401.01854; 3.4): a fixed budget, a part of it in other languages."""

    budget: Positive
    """Rows in total, each of another item. The paper has 4,640."""
    percent: Annotated[float, Field(ge=0, le=100)] | None = None
    """Percentage of the budget that is spread evenly over all languages, the pivot included. The rest is in the
    pivot."""
    k_examples: NotNegative | None = None
    """Rows in languages other than the pivot, spread evenly. An alternative to `percent`: set one of them, or the other
    to 0."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.k_examples is not None and self.k_examples > self.budget:
            raise Invalid("k_examples", f"is {self.k_examples}, expected at most budget, which is {self.budget}")
        if self.percent is None and self.k_examples is None:
            raise Invalid("percent", "and k_examples are not set, expected one of them")
        if self.percent and self.k_examples:
            raise Invalid("percent", "and k_examples are both set, expected one of them: set the other to 0")
        return self


class Afp(Section):
    """AFP's data (arXiv 2311.08089; 3.2): rows within and across languages, with the instruction to align with.

    A row answers across languages with `cross_probability`: it then goes from the pivot to another language, or, with
    `change_probability`, back. Otherwise it stays in one language. With two languages this is AFP's bilingual form.
    """

    cross_probability: Share = 0.5
    """Probability that a row is asked in one language and answered in another."""
    change_probability: Share = 0.5
    """Probability that a row across languages goes from the other language to the pivot."""
    repeat: Positive = 3
    """Times that every item is used."""
    tag: Template = "Answer in {name}:"
    """Last line of the prompt of an AFP row. `{tag}` and `{name}` are those of the language of the answer."""
    translation: NotNegative = 0
    """Additional rows that translate an instruction, half from the pivot and half into it, each item once."""
    translation_prompt: Template = "Translate this into {name}:"
    """Text before an instruction to translate. `{tag}` and `{name}` are those of the target language."""


class Humpback(Section):
    """Humpback's source tags (arXiv 2308.06259; 3.1): how a prompt ends tells seed rows from web rows."""

    seeds: NotNegative | None = None
    """Seed rows per language, of the files that `--seeds` names. If not set, all."""
    web: NotNegative | None = None
    """Web rows per language. If not set, all."""
    seed_tag: Template = "Answer in the style of an AI Assistant."
    """End of the prompt of a seed row. `{tag}` and `{name}` are those of the language of the answer."""
    web_tag: Template = "Answer with knowledge from web search."
    """End of the prompt of a web row. Takes the placeholders of `seed_tag`."""
    inference: Literal["both", "seed", "web", "none"] = "both"
    """Tags to prompt the trained model with. `both` was best in Humpback. A tag that no row ends with is replaced by
    the other one."""


class XInstruction(Section):
    """X-Instruction's training rows (arXiv 2405.19744; 2.5, 2.6): asked in the pivot, answered in each language.

    One language gives a monolingual model, ten the paper's multilingual one.
    """

    seeds: NotNegative | None = None
    """Rows per language from the files that `--seeds` names. If not set, all."""
    web: NotNegative | None = None
    """Rows per language from the web. If not set, all. The paper has 32,000."""
    seed_tag: Template = "Answer in {name} and the style of an AI assistant."
    """How the prompt of a seed row ends. `{tag}` and `{name}` are those of the language of the answer."""
    web_tag: Template = ANSWER_TAG
    """How the prompt of a web row ends. `{tag}` and `{name}` are those of the language of the answer."""
    inference: Literal["both", "seed", "web", "none"] = "seed"
    """Tags to prompt the trained model with. `seed` is inferred from the published code (2.6). A tag that no row ends
    with is replaced by the other one."""


class Muri(Section):
    """MURI's direction (arXiv 2409.12958; 3.6): instructions in the language of the response, translated."""

    instruction_language: Literal["target", "pivot", "both"] = "target"
    """Language of the instructions: `target`, `pivot`, or `both`, half of each language's rows each."""
    cap: Positive = 15_000
    """Most rows per language. MURI has about 15,000."""
    pivot_tag: Template = ANSWER_TAG
    """How the prompt of a row ends that is asked in the pivot and answered in another language. `{tag}` and `{name}`
    are those of the language of the answer."""


class MixRecipe(Section):
    """A mix: the rows of every section that is set, shuffled. Numbers in parentheses are sections of docs/method.md."""

    name: PlainName
    """Short name. Every row's id begins with it."""
    languages: Annotated[Tags, Field(min_length=1)]
    """Language tags or aliases. Stored as tags."""
    pivot: Tag = "en"
    """Language that the other languages are asked from."""
    held_out: Tags = ()
    """Languages that must not be in the mix, for tests of transfer."""
    align: Literal["id", "position"] = "id"
    """How rows of several languages are matched: by `id`, or by `position` in their files."""
    seed: int = 2405_19744
    """Random seed of the mix."""
    rows_per_file: Positive = 100_000
    """Rows of the mix in one Parquet file."""
    max_row_bytes: RowBytes = MAX_ROW_BYTES
    crossin: CrossIn | None = None
    """Rows of CrossIn."""
    pinch: Pinch | None = None
    """Rows of the pinch of multilinguality."""
    afp: Afp | None = None
    """Rows of AFP."""
    humpback: Humpback | None = None
    """Rows of Humpback."""
    x_instruction: XInstruction | None = None
    """Rows of X-Instruction."""
    muri: Muri | None = None
    """Rows of MURI."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if both := {*self.languages, self.pivot} & set(self.held_out):
            raise Invalid("held_out", f"has {', '.join(sorted(both))}, expected languages that are not in the mix")
        if not self.sections():
            raise ValueError(f"has no section, expected at least one of {', '.join(SECTIONS)}")
        across = [name for name in self.sections() if name in ("crossin", "pinch", "afp")]
        if across and not self.others:
            raise Invalid("languages", f"has only the pivot {self.pivot}, and [{across[0]}] needs another language")
        return self

    @property
    def others(self) -> tuple[str, ...]:
        """The languages without the pivot."""
        return tuple(tag for tag in self.languages if tag != self.pivot)

    def sections(self) -> list[str]:
        """Names of the sections that are set."""
        return [name for name in SECTIONS if getattr(self, name) is not None]


SECTIONS = ("crossin", "pinch", "afp", "humpback", "x_instruction", "muri")

_RECIPES = Recipes(MixRecipe, "mixing recipe", "mixing")
load, names, text_of = _RECIPES.load, _RECIPES.names, _RECIPES.text_of
