"""Errors that another process told of."""

from __future__ import annotations

import pytest

from x_instruction.errors import Difference, EngineError, MissingExtra, RunChanged, XInstructionError, rebuild_error


@pytest.mark.parametrize(
    "told", [EngineError("no such model"), MissingExtra("trl", "tune"), RunChanged("a", [Difference("b")])]
)
def test_an_error_is_rebuilt_with_its_class_and_message(told: XInstructionError) -> None:
    found = rebuild_error(type(told).__name__, str(told))
    assert type(found) is type(told)
    assert str(found) == str(told)


def test_a_class_that_is_not_known_becomes_the_root() -> None:
    found = rebuild_error("Refused", "403 no")
    assert type(found) is XInstructionError
    assert str(found) == "403 no"
