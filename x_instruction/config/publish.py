"""What a published data set looks like."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from x_instruction.config.fields import Invalid, Positive, Share
from x_instruction.config.section import Section


class Publish(Section):
    """What a published data set looks like."""

    pretty_name: str = "X-Instruction"
    """Title of the data set card."""
    validation: Share = 0.0
    """Share of documents in the validation split. A document is never in two splits."""
    test: Share = 0.0
    """Share of documents in the test split."""
    rows_per_file: Positive = 100_000
    """Rows of the data set in one Parquet file."""

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        if self.validation + self.test >= 1:
            raise Invalid(
                "test",
                f"is {self.test:g} and validation is {self.validation:g}, expected a sum below 1: nothing is left to "
                "train on",
            )
        return self
