"""Source tags: the end of a prompt tells where its response is from.

Humpback (arXiv 2308.06259; docs/method.md 3.1) and X-Instruction (arXiv 2405.19744; docs/method.md 2.6) tag seed rows
and web rows differently, and prompt the trained model with one of the tags or both.
"""

from __future__ import annotations

from collections.abc import Container

from x_instruction.config.mixing import Humpback, MixRecipe, XInstruction
from x_instruction.languages import language
from x_instruction.mixing.allocation import Allocation, AllocationGroup, eligible
from x_instruction.mixing.pool import ExamplePool, Kind

# Text between a prompt and its source tag.
SEPARATOR = " "


def format_tag(template: str, tag: str) -> str:
    """A template with its placeholders ``{tag}`` and ``{name}`` replaced by those of a language."""
    return template.format(tag=tag, name=language(tag).name)


def inference(settings: Humpback | XInstruction, tag: str, present: Container[str]) -> str:
    """The source tag to prompt the trained model with, for a language; empty for none.

    Args:
        settings: the section of the recipe.
        tag: language of the answer.
        present: source tags in the rows of the mix. One that is not there is replaced by the other one.
    """
    if settings.inference == "none":
        return ""
    source_tags = {"seed": format_tag(settings.seed_tag, tag), "web": format_tag(settings.web_tag, tag)}
    known = {kind: text for kind, text in source_tags.items() if text in present}
    return known.get(settings.inference) or " ".join(known.values())


def humpback(settings: Humpback, mixing: MixRecipe, pool: ExamplePool) -> list[AllocationGroup]:
    """Seed rows and web rows of each language, with instructions in that language (Humpback itself is English only)."""
    return _groups(settings, [(tag, tag) for tag in mixing.languages], pool)


def x_instruction(settings: XInstruction, mixing: MixRecipe, pool: ExamplePool) -> list[AllocationGroup]:
    """Seed rows and web rows of each language, with instructions in the pivot."""
    return _groups(settings, [(mixing.pivot, tag) for tag in mixing.languages], pool)


def _groups(
    settings: Humpback | XInstruction, directions: list[tuple[str, str]], pool: ExamplePool
) -> list[AllocationGroup]:
    sources: list[tuple[Kind, int | None, str]] = [
        ("seed", settings.seeds, settings.seed_tag),
        ("web", settings.web, settings.web_tag),
    ]
    allocations = []
    for source, target in directions:
        for kind, count, template in sources:
            empty = Allocation(shape=kind, prompt_language=source, language=target, count=0, kind=kind)
            allocations.append(
                Allocation(
                    shape=kind,
                    prompt_language=source,
                    language=target,
                    count=int(eligible(pool, empty).sum()) if count is None else count,
                    tag=format_tag(template, target),
                    separator=SEPARATOR,
                    kind=kind,
                )
            )
    # A group for each: an item in several languages may be used in all of them.
    return [AllocationGroup([allocation]) for allocation in allocations]
