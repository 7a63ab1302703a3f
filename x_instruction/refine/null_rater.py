"""No rating: every pair counts the same, so the first candidates of each passage are kept (to compare with)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Batch, Engine, Failed, Request, Result, always
from x_instruction.records import Candidate
from x_instruction.refine import Rating

needs = ()


class NullEngine:
    """The engine where nothing is asked: it has no model and can do nothing."""

    model = ""
    revision = ""
    capabilities: frozenset[str] = frozenset()
    chat = False

    def truncate(self, text: str, tokens: int) -> str:
        """The text: there are no tokens."""
        return text

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """No batches."""
        return []

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        """No answers."""
        return iter(())


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """A rating of 0 for every candidate; nothing is asked."""
    return [Rating(0.0) for _ in candidates]
