"""Templates of cards: what they show is escaped unless it is marked as ours, and nothing may be missing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import jinja2

from x_instruction.cards.escaping import Ours, escape, model, plain, sample
from x_instruction.cards.licenses import model_terms

# How much of a row's text a card shows.
SAMPLE_CHARS = 400


def render(name: str, values: Mapping[str, Any]) -> str:
    """The template of this name with these values in it."""
    environment = jinja2.Environment(
        finalize=escape, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    filters: dict[str, Callable[..., Any]] = {
        "model": model,
        "ours": Ours,
        "terms": model_terms,
        "number": number,
        "share": lambda value: Ours(f"{value:.1%}"),
        "sample": lambda text: sample(text, SAMPLE_CHARS),
        "reasons": reasons,
        "bibtex": bibtex,
        "shell": lambda text: Ours(shlex.quote(plain(text))),
    }
    environment.filters |= filters
    text = resources.files("x_instruction.model_cards").joinpath(name).read_text("utf-8")
    return environment.from_string(text).render(values)


def number(value: float) -> Ours:
    """A number as a person reads it: whole ones with thousands parted, others with three digits that tell."""
    if isinstance(value, int) or abs(value) >= 1000:
        return Ours(f"{value:,.0f}")
    return Ours(f"{value:.3g}")


def bibtex(text: str) -> Ours:
    """Text within the braces of a BibTeX field; what LaTeX or a code block reads as a mark is escaped or gone."""
    kept = re.sub(r"[\\{}\[\]()`$~^<>]", "", plain(text))
    return Ours(re.sub(r"[&%#_]", r"\\\g<0>", kept))


def reasons(counts: Mapping[str, int]) -> Ours:
    """Reasons with their counts, the most frequent first."""
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Ours(", ".join(f"{escape(reason)} {count:,}" for reason, count in order))
