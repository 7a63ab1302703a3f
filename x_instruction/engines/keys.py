"""API keys: environment variables whose content may be sent to a model server.

A recipe names both the variable and the server, so a recipe from somewhere else could send any secret of the
environment anywhere. Only variables that are meant for x_instruction are read, unless you allow another by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from x_instruction.config.model import Model
from x_instruction.engines import engine_spec
from x_instruction.errors import EngineError

# Names of further variables, separated by commas. An environment variable, so that worker processes inherit it.
ALLOWED = "X_INSTRUCTION_ALLOWED_KEYS"
_OWN = re.compile(r"X_INSTRUCTION_([A-Z0-9_]+_)?KEY")


def allow(names: Iterable[str]) -> None:
    """Allow variables for this process and those that it starts."""
    if more := _allowed() | set(names):
        os.environ[ALLOWED] = ",".join(sorted(more))


def needed(models: Iterable[Model]) -> set[str]:
    """Environment variables that workers on other machines need to ask models."""
    asked = {model.server.key_variable for model in models if engine_spec(model).remote}
    return asked - {""} | ({ALLOWED} if os.environ.get(ALLOWED) else set())


def check(variable: str, url: str) -> None:
    """Refuse to send a variable to a server if nothing allows it.

    Args:
        variable: name of the environment variable; empty if none is sent.
        url: the server, for the message.

    Raises:
        EngineError: the variable is neither named ``X_INSTRUCTION_..._KEY`` nor allowed.
    """
    if not variable or _OWN.fullmatch(variable) or variable in _allowed():
        return
    raise EngineError(
        f"server.key_variable is {variable!r}: its content would be sent to {url}. If you want that, allow it with "
        f"--allow-key {variable} or {ALLOWED}={variable}; or put the key into X_INSTRUCTION_API_KEY, or any "
        "X_INSTRUCTION_..._KEY"
    )


def _allowed() -> set[str]:
    return {name.strip() for name in os.environ.get(ALLOWED, "").split(",")} - {""}


def read(variable: str, url: str) -> str:
    """The API key in an environment variable; empty if the variable is not set.

    Raises:
        EngineError: the variable may not be sent, or a header cannot contain its content.
    """
    check(variable, url)
    key = os.environ.get(variable, "") if variable else ""
    if not key.isprintable() or not key.isascii():
        raise EngineError(f"the key in {variable} has characters that a header cannot contain: set it again")
    return key
