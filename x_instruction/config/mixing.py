"""Mixing recipes: which rows a model is tuned on, one TOML file into frozen, validated settings.

Section numbers are those of method.md. Where the papers draw by chance, these recipes count: a probability becomes the
exact number of rows that it stands for, rounded by largest remainders, so that two mixes of one recipe are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from x_instruction.config.recipe import parse
from x_instruction.errors import RecipeError
from x_instruction.languages import language

Mode = Literal["mono", "en2x", "x2en", "x2x", "translation"]
MODES = ("mono", "en2x", "x2en", "x2x", "translation")


def _above(section: object, least: int, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if value is not None and value < least:
            raise RecipeError(f"{name} is {value}, wanted {least} or more")


def _between(section: object, most: float, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if value is not None and not 0 <= value <= most:
            raise RecipeError(f"{name} is {value}, wanted 0 to {most:g}")


def _tag(section: object, *names: str) -> None:
    for name in names:
        try:
            getattr(section, name).format(tag="sw", name="Swahili")
        except (KeyError, IndexError, ValueError):
            raise RecipeError(
                f"{name} is {getattr(section, name)!r}, wanted text in which only {{tag}} and {{name}} are filled in"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossIn:
    """CrossIn (arXiv 2404.11932; 3.3): the tag on the last line of the prompt says in which language to answer.

    Args:
        modes: ``mono`` (asked and answered in one language, no tag), ``en2x``, ``x2en``, ``x2x`` (two different
            languages, neither the pivot; its form is by analogy) and ``translation`` (of instructions into the pivot).
        size: rows of each mode, drawn with replacement; as many as there are items when not set (3,000, 6,000, 15,000
            and all in 3.3).
        base: rows in the pivot language without a tag beside them, each once (3.3 adds an English set).
        tag: the last line of the prompt; ``{tag}`` and ``{name}`` stand for the language of the answer.
        cue: what stands before an instruction that is to be translated; they stand for the pivot.
    """

    modes: tuple[str, ...] = ("mono", "en2x", "x2en", "translation")
    size: int | None = None
    base: int = 0
    tag: str = "[{tag}]"
    cue: str = "Translate this into {name}:"

    def __post_init__(self) -> None:
        _above(self, 1, "size")
        _above(self, 0, "base")
        _tag(self, "tag", "cue")
        for mode in self.modes:
            if mode not in MODES:
                raise RecipeError(f"modes holds {mode!r}, wanted some of {', '.join(MODES)}")
        if not self.modes or len(set(self.modes)) < len(self.modes):
            raise RecipeError(f"modes is {list(self.modes)}, wanted at least one and none twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinch:
    """A pinch of multilinguality (arXiv 2401.01854; 3.4): a fixed budget, a part of it in other languages.

    Args:
        budget: rows in all (4,640 in 3.4), each of an item of its own.
        percent: of the budget, spread evenly over all languages, the pivot included; the rest is in the pivot.
        k_examples: rows in languages other than the pivot, spread evenly, instead of ``percent``: one
            of the two is there, or the other is 0.
    """

    budget: int
    percent: float | None = None
    k_examples: int | None = None

    def __post_init__(self) -> None:
        _above(self, 1, "budget")
        _between(self, 100, "percent")
        _between(self, self.budget, "k_examples")
        if self.percent is None and self.k_examples is None:
            raise RecipeError("wanted one of percent and k_examples")
        if self.percent and self.k_examples:
            raise RecipeError("percent and k_examples are both there: set the one that is not wanted to 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Afp:
    """AFP's data (arXiv 2311.08089; 3.2): rows within and across languages, with the instruction to align with.

    A row answers across with ``cross_probability``; it then goes from the pivot to another language, and with
    ``change_probability`` back. Otherwise it stays in one language, all alike. With two languages that is the bilingual
    form of 3.2.

    Args:
        cross_probability, change_probability: as above.
        repeat: times that every item is used.
        tag: the last line of the prompt; ``{tag}`` and ``{name}`` stand for the language of the answer.
        translation: rows beside them that translate an instruction, half from the pivot and half into it, each item
            once.
        cue: what stands before an instruction that is to be translated; the names stand for the language it goes into.
    """

    cross_probability: float = 0.5
    change_probability: float = 0.5
    repeat: int = 3
    tag: str = "Answer in {name}:"
    translation: int = 0
    cue: str = "Translate this into {name}:"

    def __post_init__(self) -> None:
        _between(self, 1, "cross_probability", "change_probability")
        _above(self, 1, "repeat")
        _above(self, 0, "translation")
        _tag(self, "tag", "cue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Humpback:
    """Humpback's source tags (arXiv 2308.06259; 3.1): how a prompt ends tells seed rows from web rows.

    Args:
        seeds, web: rows of each, per language; all of them when not set. Seeds are those that ``--seeds`` names.
        seed_tag, web_tag: what the prompts end with; ``{tag}`` and ``{name}`` stand for the language of the answer.
        inference: the tags to ask with when the model is used; both were best in 3.1. Of a tag that no row ends with,
            the other one takes the place.
    """

    seeds: int | None = None
    web: int | None = None
    seed_tag: str = "Answer in the style of an AI Assistant."
    web_tag: str = "Answer with knowledge from web search."
    inference: Literal["both", "seed", "web", "none"] = "both"

    def __post_init__(self) -> None:
        _above(self, 0, "seeds", "web")
        _tag(self, "seed_tag", "web_tag")


@dataclass(frozen=True, slots=True, kw_only=True)
class XInstruction:
    """X-Instruction's tuning rows (arXiv 2405.19744; 2.5, 2.6): asked in the pivot, answered in each language.

    One language gives a monolingual model, ten the paper's multilingual one.

    Args:
        seeds, web: rows of each, per language; all of them when not set (32,000 from the web in 2.1). Seeds are
            those that ``--seeds`` names.
        seed_tag, web_tag: what the prompts end with; ``{tag}`` and ``{name}`` stand for the language of the answer.
        inference: the tags to ask with when the model is used; the seed's, as 2.6 infers from the published code. Of a
            tag that no row ends with, the other one takes the place.
    """

    seeds: int | None = None
    web: int | None = None
    seed_tag: str = "Answer in {name} and the style of an AI assistant."
    web_tag: str = "Answer in {name}."
    inference: Literal["both", "seed", "web", "none"] = "seed"

    def __post_init__(self) -> None:
        _above(self, 0, "seeds", "web")
        _tag(self, "seed_tag", "web_tag")


@dataclass(frozen=True, slots=True, kw_only=True)
class Muri:
    """MURI's direction (arXiv 2409.12958; 3.6): instructions in the language of the response, translated.

    Args:
        instruction_language: ``target``, ``pivot`` or ``both``, which halves each language's rows.
        cap: rows per language at most (about 15,000 in 3.6).
    """

    instruction_language: Literal["target", "pivot", "both"] = "target"
    cap: int = 15_000

    def __post_init__(self) -> None:
        _above(self, 1, "cap")


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRecipe:
    """A mix: the rows of every section that is there, shuffled; numbers in brackets are sections of method.md.

    Args:
        name: short name, which begins every row's id.
        languages: tags or aliases; stored as tags.
        pivot: the language that the others are asked from.
        held_out: languages that must not be in the mix, so that they can test transfer.
        align: rows of several languages say the same where they have one ``id``, or one ``position`` in their files.
        seed: every draw derives from it.
        rows_per_file: rows per Parquet file.
        max_row_bytes: a longer row of a file is dropped.
        crossin, pinch, afp, humpback, x_instruction, muri: sections, at least one of them.
    """

    name: str
    languages: tuple[str, ...]
    pivot: str = "en"
    held_out: tuple[str, ...] = ()
    align: Literal["id", "position"] = "id"
    seed: int = 2405_19744
    rows_per_file: int = 100_000
    max_row_bytes: int = 16_000_000
    crossin: CrossIn | None = None
    pinch: Pinch | None = None
    afp: Afp | None = None
    humpback: Humpback | None = None
    x_instruction: XInstruction | None = None
    muri: Muri | None = None

    def __post_init__(self) -> None:
        _above(self, 1, "rows_per_file", "max_row_bytes")
        for name in ("languages", "held_out"):
            object.__setattr__(self, name, tuple(dict.fromkeys(language(tag).tag for tag in getattr(self, name))))
        object.__setattr__(self, "pivot", language(self.pivot).tag)
        if not self.languages:
            raise RecipeError("languages is empty: name at least one")
        both = {*self.languages, self.pivot} & set(self.held_out)
        if both:
            raise RecipeError(f"{', '.join(sorted(both))} is in the mix and held out")
        if not self.sections():
            raise RecipeError(f"no section, wanted at least one of {', '.join(SECTIONS)}")
        across = [name for name in self.sections() if name in ("crossin", "pinch", "afp")]
        if across and not self.others:
            raise RecipeError(f"languages holds only the pivot {self.pivot}, and {across[0]} needs another")

    @property
    def others(self) -> tuple[str, ...]:
        """The languages without the pivot."""
        return tuple(tag for tag in self.languages if tag != self.pivot)

    def sections(self) -> list[str]:
        """Names of the sections that are there."""
        return [name for name in SECTIONS if getattr(self, name) is not None]


SECTIONS = ("crossin", "pinch", "afp", "humpback", "x_instruction", "muri")


def names() -> list[str]:
    """Names of the mixing recipes that ship with the package."""
    folder = resources.files("x_instruction.recipes").joinpath("mixing")
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load(source: str | Path, overrides: Mapping[str, str] | None = None) -> MixRecipe:
    """A mixing recipe from a TOML file, or by the name of one that ships with the package.

    Raises:
        RecipeError: unreadable file, unknown key, wrong type or value out of range.
    """
    if isinstance(source, str) and source in names():
        text = resources.files("x_instruction.recipes").joinpath("mixing", f"{source}.toml").read_text("utf-8")
        return parse(MixRecipe, text, source, overrides)
    try:
        text = Path(source).read_text("utf-8")
    except OSError as error:
        why = error.strerror or error
        raise RecipeError(
            f"cannot read mixing recipe {source}: {why}; name a file, or one of {', '.join(names())}"
        ) from None
    except UnicodeDecodeError:
        raise RecipeError(f"mixing recipe {source} is not UTF-8 text") from None
    return parse(MixRecipe, text, source, overrides)
