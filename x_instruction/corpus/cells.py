"""Values of rows as text: ids, addresses and licences in the forms that data sets have them.

No value becomes the ``repr`` of a Python object: a list or an object is shown as JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from x_instruction.records import storable

# A name of the SPDX list or like one, such as ``cc-by-4.0`` or ``LicenseRef-mine``.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
# Keys of an object that may name a licence, the most exact first.
_NAMES = ("id", "spdx_id", "spdx", "name", "title", "url")


class LicenseError(ValueError):
    """A licence has a form that names none; the message describes it."""


def text_of(value: Any) -> str:
    """A value as text that can be stored in Parquet; None becomes an empty string, a list or an object JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, bool | list | tuple | Mapping):
        return storable(json.dumps(value, ensure_ascii=False, default=str))
    return storable(str(value))


def license_of(value: Any) -> str:
    """The licence that a row states, as one name or expression; empty if it states none.

    A list means that all of its licences apply. If all are SPDX-like names it becomes an SPDX expression, such as
    ``cc-by-4.0 AND apache-2.0``; names with spaces are no part of such expressions and are joined by ``;``. An object
    is read by its ``id``, else by its ``spdx_id``, ``spdx``, ``name``, ``title`` or ``url``.

    Raises:
        LicenseError: it is none of these.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return storable(value).strip()
    if isinstance(value, list | tuple):
        return _all_of(list(dict.fromkeys(filter(None, map(license_of, value)))))
    if isinstance(value, Mapping):
        for name in _NAMES:
            if isinstance(value.get(name), str) and value[name].strip():
                return storable(value[name]).strip()
        keys = ", ".join(repr(str(key)) for key in value) or "no keys"
        raise LicenseError(f"the license is an object with {keys}, expected a name, a list of names, or a key 'id'")
    raise LicenseError(f"the license is {text_of(value)}, expected a name, a list of names, or an object with an id")


def _all_of(names: list[str]) -> str:
    if len(names) <= 1:
        return "".join(names)
    if all(_is_expression(name) for name in names):
        # AND binds stronger than OR.
        return " AND ".join(f"({name})" if " OR " in name and not name.startswith("(") else name for name in names)
    return "; ".join(names)


def _is_expression(name: str) -> bool:
    """Whether a name is an SPDX expression: names that AND, OR and WITH join, with parentheses."""
    words = name.replace("(", " ").replace(")", " ").split()
    joined = all(word in ("AND", "OR", "WITH") for word in words[1::2])
    return len(words) % 2 == 1 and joined and all(_ID.fullmatch(word) for word in words[::2])
