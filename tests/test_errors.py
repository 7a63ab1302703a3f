"""Errors that are passed from one process to another."""

from __future__ import annotations

import pytest

from x_instruction.errors import Difference, EngineError, MissingExtra, RunChanged, XInstructionError, rebuild_error


@pytest.mark.parametrize(
    "error", [EngineError("no such model"), MissingExtra("trl", "tune"), RunChanged("a", [Difference("b")])]
)
def test_an_error_is_rebuilt_with_its_class_and_message(error: XInstructionError) -> None:
    found = rebuild_error(type(error).__name__, str(error))
    assert type(found) is type(error)
    assert str(found) == str(error)


def test_an_unknown_class_becomes_the_base_class() -> None:
    found = rebuild_error("Refused", "403 no")
    assert type(found) is XInstructionError
    assert str(found) == "403 no"
