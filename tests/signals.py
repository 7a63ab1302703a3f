"""Handlers of signals, which a test may change."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from x_instruction.cli.interrupt import catch_signals

_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL}


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restores the handlers of signals."""
    before = {number: signal.getsignal(number) for number in _DEFAULTS}
    yield
    # It also forgets the signal that arrived.
    catch_signals()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def heard(handlers: None) -> None:
    """Resets signals that a shell or ``nohup`` lets this process, and so its children, ignore."""
    for number, handler in _DEFAULTS.items():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
