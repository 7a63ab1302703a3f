"""Rows as a model reads them: tokens of the prompt, tokens of the output, and nothing else has a loss.

A prompt is read exactly as the engines read it, so that a tuned model is asked in the tokens that it was tuned on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from x_instruction.engines.models import locate
from x_instruction.engines.truncation import truncate_to_tokens
from x_instruction.errors import MissingExtra, TrainingError
from x_instruction.training.job import TrainingExample

try:
    from transformers import AutoConfig, AutoTokenizer
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "transformers", "train") from error


@dataclass(slots=True)
class Lengths:
    """How long rows are, in tokens, and what that makes of them.

    Args:
        max_tokens: longest row; the rest of an output is cut off.
        percentiles: of the rows, before anything was cut.
        truncated: rows whose output was cut.
        dropped: rows whose prompt alone leaves no room for an output.
    """

    max_tokens: int
    percentiles: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    truncated: int = 0
    dropped: int = 0


class Reader:
    """A model's tokenizer, as the engines use it.

    Args:
        name, revision: of the model, as in recipes.

    Raises:
        TuningError: the model has no tokenizer that can be loaded.
    """

    def __init__(self, name: str, revision: str = "main") -> None:
        files = locate(name, revision)
        self.model = files.name
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(files.folder)
            config = AutoConfig.from_pretrained(files.folder)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise TrainingError(f"cannot read tokenizer and configuration of {name!r}: {reason}") from error
        self.chat = bool(self.tokenizer.chat_template)
        self.context = int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 1 << 30)
        if self.tokenizer.eos_token_id is None:
            raise TrainingError(f"the tokenizer of {self.model} names no end token, so no output could ever end")

    def truncate(self, text: str, tokens: int) -> str:
        """The longest start of the text that has at most this many tokens."""
        return truncate_to_tokens(
            text,
            tokens,
            lambda t: self.tokenizer(t, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"],
        )

    def read(self, lesson: TrainingExample) -> tuple[list[int], int]:
        """Tokens of a row, and how many of them are the prompt's."""
        if isinstance(lesson.prompt, str):
            prompt = list(self.tokenizer(lesson.prompt)["input_ids"])
        elif self.chat:
            prompt = self._turns(lesson.prompt, True)
        else:
            raise TrainingError(
                f"{self.model} has no chat template: use a plain prompt, or a base that was tuned for chat"
            )
        if not prompt:
            raise TrainingError("a row has an empty prompt")
        if lesson.end and not isinstance(lesson.prompt, str):
            # What ends a turn is the template's to say; one that rewrites the prompt cannot be asked.
            whole = self._turns((*lesson.prompt, ("assistant", lesson.completion)), False)
            if whole[: len(prompt)] == prompt and len(whole) > len(prompt):
                return whole, len(prompt)
        output = list(self.tokenizer(lesson.completion, add_special_tokens=False)["input_ids"])
        return prompt + output + [self.tokenizer.eos_token_id] * lesson.end, len(prompt)

    def _turns(self, turns: Sequence[tuple[str, str]], open_end: bool) -> list[int]:
        messages = [{"role": role, "content": content} for role, content in turns]
        return list(self.tokenizer.apply_chat_template(messages, add_generation_prompt=open_end, return_dict=False))

    def rows(
        self, lessons: Sequence[TrainingExample], max_tokens: int | None, percentile: float
    ) -> tuple[dict[int, dict[str, list[int]]], Lengths]:
        """Rows as trainers take them, by their place: ``input_ids`` and ``labels``, -100 where there is no loss.

        Args:
            lessons: the rows.
            max_tokens: longest row, or None to fit ``percentile`` percent of them whole.

        Raises:
            TuningError: no row is left, or ``max_tokens`` is more than the model can read.
        """
        if not lessons:
            raise TrainingError("there is no row to tune on")
        read = [self.read(lesson) for lesson in lessons]
        sizes = np.array([len(tokens) for tokens, _ in read])
        if max_tokens is not None and max_tokens > self.context:
            raise TrainingError(f"max_tokens is {max_tokens:,}, and {self.model} reads {self.context:,} at most")
        longest = max_tokens or min(self.context, int(np.percentile(sizes, percentile, method="inverted_cdf")))
        lengths = Lengths(longest, rows=len(read))
        lengths.percentiles = {
            f"{share:g}": int(np.percentile(sizes, share, method="inverted_cdf")) for share in (50, 90, 95, 99, 100)
        }
        rows: dict[int, dict[str, list[int]]] = {}
        for place, (tokens, start) in enumerate(read):
            if start >= longest:
                lengths.dropped += 1
                continue
            lengths.truncated += len(tokens) > longest
            rows[place] = {"input_ids": tokens[:longest], "labels": [-100] * start + tokens[start:longest]}
        if not rows:
            raise TrainingError(
                f"every prompt has {longest:,} tokens or more, so no output is left to learn: raise max_tokens"
            )
        return rows, lengths
