"""Rendering of card templates. What they show is escaped unless it is marked as safe, and no value may be missing."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jinja2

from x_instruction.cards.escaping import Safe, code, code_block, escape, model, plain, sample
from x_instruction.cards.licenses import model_terms

# Characters of a row's text that a card shows.
SAMPLE_CHARS = 400


def render(name: str, values: Mapping[str, Any]) -> str:
    """Render a template of ``model_cards/``."""
    return _environment().get_template(name).render(values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("x_instruction.model_cards", ""),
        finalize=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    filters: dict[str, Callable[..., Any]] = {
        "safe": Safe,
        "code": code,
        "code_block": code_block,
        "sample": lambda text: sample(text, SAMPLE_CHARS),
        "model": model,
        "terms": model_terms,
        "number": number,
        "setting": setting,
        "percent": lambda value: Safe(f"{value:.1%}"),
        "counted": counted,
        "reasons": reasons,
        "bibtex": bibtex,
        "python": python,
        "quoted": lambda text: Safe(json.dumps(text)),
        "shell": lambda text: Safe(shlex.quote(plain(text))),
    }
    environment.filters |= filters
    return environment


def number(value: float) -> Safe:
    """A number for people: thousands separated, and fractions with three significant digits."""
    if isinstance(value, int):
        return Safe(f"{value:,}")
    return Safe(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}")


def setting(value: object) -> object:
    """A setting as text. Lists are joined by commas."""
    return escape(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def counted(count: int, noun: str) -> Safe:
    """A number and its noun, such as 1 row or 2 rows."""
    return Safe(f"{count:,} {noun}{'' if count == 1 else 's'}")


def python(text: str) -> Safe:
    """A Python string literal on one line. No code block can be closed from within it."""
    return Safe(ascii(text).replace("`", "\\x60"))


def bibtex(text: str) -> Safe:
    """Text for the braces of a BibTeX field. What LaTeX or a code block reads as markup is escaped or removed."""
    kept = re.sub(r"[\\{}\[\]()`$~^<>]", "", plain(text))
    return Safe(re.sub(r"[&%#_]", r"\\\g<0>", kept))


def reasons(counts: Mapping[str, int]) -> Safe:
    """Reasons with their counts, the most frequent first."""
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Safe(", ".join(f"{escape(reason)} {count:,}" for reason, count in order))
