"""Ratings of pairs of known quality, which the experiments with raters share.

The rater that ships was trained on most stories of the sources of the pool, but on none of its help pages (POOL.md).
Of a user's own pool or adapter nothing is known, and all documents count as new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import EngineError
from x_instruction.experiments.claims.lab import Lab
from x_instruction.experiments.claims.noise import CLEAN, Pair
from x_instruction.experiments.claims.pool import Document
from x_instruction.refine import combined
from x_instruction.refine.compare import candidate
from x_instruction.refine.labels import Example

Page = TypeVar("Page")
# As the rater that ships was trained.
RESPONSE_TOKENS = 64
SHIPPED = "embedded-rater"
SEEN_SOURCES = frozenset({"african-storybook", "pratham-books"})


def new(documents: Iterable[Document], adapter: str) -> list[Document]:
    """The documents that a rater was not trained on."""
    if adapter != SHIPPED:
        return list(documents)
    return [one for one in documents if one.source not in SEEN_SOURCES]


def spread(
    pages: Sequence[Page], number: int, document: Callable[[Page], str], key: Callable[[Page], str]
) -> list[Page]:
    """At most so many pages, one of each document before a second one of any.

    Args:
        pages: the pages.
        number: how many.
        document: the document of a page.
        key: decides the order.
    """
    earlier: Counter[str] = Counter()
    order = []
    for page in sorted(pages, key=key):
        order.append((earlier[document(page)], key(page), page))
        earlier[document(page)] += 1
    return [page for *_, page in sorted(order, key=lambda one: one[:2])[:number]]


def model(lab: Lab, adapter: str = "") -> Model:
    """The whole base model, with an adapter or without."""
    return Model(
        name=lab.design.model,
        threads=lab.design.threads,
        dtype=lab.design.dtype,
        device=lab.device,
        adapter=adapter or None,
    )


def settings(rater: Model) -> Refine:
    """How raters are asked and trained."""
    return Refine(rater="trained", model=rater, response_tokens=RESPONSE_TOKENS)


def labelled(pair: Pair) -> Example:
    """A planted pair: ``best`` if it is clean, ``worst`` if it is spoilt."""
    return Example(
        id=f"{pair.id}/{pair.kind}",
        document=pair.document,
        language=pair.language,
        instruction_language="en",
        instruction=pair.instruction,
        text=pair.text,
        level="best" if pair.kind == CLEAN else "worst",
        strategy=pair.kind,
    )


def scores(lab: Lab, rater: Model, examples: Sequence[Example], names: Sequence[str]) -> dict[str, list[float]]:
    """Features of examples, by name: keys of ``combined.FEATURES``.

    Raises:
        EngineError: the model failed on an example.
    """
    candidates = [candidate(example, number) for number, example in enumerate(examples)]
    engine = lab.engine(rater)
    with RequestCache(Path(":memory:"), engine, {}) as cache:
        rows = combined.features(candidates, names, settings(rater), engine, cache.ask)
    measured = [row for row in rows if isinstance(row, tuple)]
    if len(measured) < len(rows):
        raise EngineError(f"{len(rows) - len(measured)} of {len(rows)} pairs were not rated: run it again")
    return {name: [row[column] for row in measured] for column, name in enumerate(names)}
