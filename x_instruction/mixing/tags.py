"""Source tags: how a prompt ends says where its response is from (method.md 2.6, 3.1)."""

from __future__ import annotations

from collections.abc import Container

from x_instruction.config.mixing import Humpback, MixRecipe, XInstruction
from x_instruction.languages import language
from x_instruction.mixing.allocation import Allocation, AllocationGroup, eligible
from x_instruction.mixing.pool import ExamplePool, Kind

# What stands between a prompt and its tag.
JOINT = " "


def filled(tag: str, answer: str) -> str:
    """A tag for the language of the answer."""
    return tag.format(tag=answer, name=language(answer).name)


def inference(settings: Humpback | XInstruction, answer: str, there: Container[str]) -> str:
    """What prompts end with when the tuned model is used; empty for none.

    Args:
        there: tags that rows of the mix end with; where none of those that are wanted is there, the other one is taken.
    """
    if settings.inference == "none":
        return ""
    tags = {"seed": filled(settings.seed_tag, answer), "web": filled(settings.web_tag, answer)}
    known = {kind: tag for kind, tag in tags.items() if tag in there}
    return known.get(settings.inference) or " ".join(known.values())


def humpback(settings: Humpback, mixing: MixRecipe, stock: ExamplePool) -> list[AllocationGroup]:
    """Seed rows and web rows of each language, asked in that language (3.1 is English throughout)."""
    return _groups(settings, [(tag, tag) for tag in mixing.languages], stock)


def x_instruction(settings: XInstruction, mixing: MixRecipe, stock: ExamplePool) -> list[AllocationGroup]:
    """Seed rows and web rows of each language, asked in the pivot."""
    return _groups(settings, [(mixing.pivot, tag) for tag in mixing.languages], stock)


def _groups(
    settings: Humpback | XInstruction, directions: list[tuple[str, str]], stock: ExamplePool
) -> list[AllocationGroup]:
    wanted: list[tuple[Kind, int | None, str]] = [
        ("seed", settings.seeds, settings.seed_tag),
        ("web", settings.web, settings.web_tag),
    ]
    cells = []
    for ask, answer in directions:
        for kind, count, tag in wanted:
            blank = Allocation(shape=kind, ask=ask, answer=answer, count=0, kind=kind)
            rows = int(eligible(stock, blank).sum()) if count is None else count
            end = filled(tag, answer)
            cells.append(Allocation(shape=kind, ask=ask, answer=answer, count=rows, tag=end, joint=JOINT, kind=kind))
    # Where items hold several languages, each may use them.
    return [AllocationGroup([cell]) for cell in cells]
