"""An instruction between the request for it and the candidate that it becomes."""

from __future__ import annotations

from dataclasses import dataclass

from x_instruction.records import Passage


@dataclass(slots=True)
class Draft:
    """An instruction on its way: what was asked, what was answered, and why it is dropped.

    Args:
        passage: the passage.
        number: number of the candidate.
        style: style that was asked for.
        source: the text that the model read.
        opening: the beginning that a base model continues.
        answer: what the model wrote.
        finish_reason: how its answer ended.
        text: the instruction as it was read.
        reason: why it is dropped, or None.
        detail: the finding in a few words.
    """

    passage: Passage
    number: int
    style: str
    source: str = ""
    opening: str = ""
    answer: str = ""
    finish_reason: str = ""
    text: str = ""
    reason: str | None = None
    detail: str = ""

    def drop(self, reason: str | None, detail: str) -> None:
        """Set why it is dropped."""
        self.reason, self.detail = reason, detail
