"""The rater ``none``, a baseline: all pairs get the same score, so the first candidates of each passage are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Batch, Engine, Failed, Request, Result, always
from x_instruction.records import Candidate
from x_instruction.refine import Rating

needs = ()


class NullEngine:
    """An engine without a model and without capabilities, for stages that make no requests."""

    model = ""
    revision = ""
    capabilities: frozenset[str] = frozenset()
    chat = False

    def truncate(self, text: str, tokens: int) -> str:
        """The whole text: there is no tokenizer."""
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
    """A score of 0 for every candidate, without any request."""
    return [Rating(0.0) for _ in candidates]
