"""What a tuning process is given, and what it tells: plain files, so that who asks needs no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from x_instruction.config.model import Model
from x_instruction.config.section import Section
from x_instruction.config.training import Align, TrainConfig
from x_instruction.engines import Prompt
from x_instruction.engines import fingerprint as fingerprints
from x_instruction.storage.atomic import atomic

# The process that asked for a tuning, in the environment of all that share the work: they end with it.
ASKED_BY = "X_INSTRUCTION_ASKED_BY"


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A prompt, and what is to be written after it.

    Args:
        prompt: plain text, or messages of a chat.
        completion: the output; only its tokens have a loss.
        end: whether the output ends there, so that the model learns to stop.
        sentence, parallel: an instruction and the same in another language, to align (AFP); or empty.
    """

    prompt: Prompt
    completion: str
    end: bool = True
    sentence: str = ""
    parallel: str = ""


class TrainJob(Section):
    """What a training process does."""

    model: Model
    """The base, and an adapter on it to continue from."""
    train: TrainConfig
    """How it is trained."""
    align: Align | None = None
    """AFP's alignment beside it."""


def fingerprint(job: TrainJob) -> dict[str, Any]:
    """The settings that affect the trained weights."""
    found = fingerprints.fingerprint(job)
    if job.align:
        # AFP contrasts each row with the others of its micro-batch on all devices.
        found |= {f"train.{key}": getattr(job.train, key) for key in ("device_batch_size", "processes")}
    return found


@dataclass(slots=True)
class TrainResult:
    """What happened while a model was tuned.

    Args:
        rows: rows that were learned from.
        lengths: as ``reading.Lengths``.
        steps: optimizer steps.
        tokens: tokens read, over all epochs and processes, padding not counted.
        seconds: wall time, over all attempts.
        loss: mean over the last steps, in nats per token of output.
        losses: (step, loss) as logged.
        parameters, trainable: numbers of weights.
        flops: floating-point operations, as transformers reckons them.
        hardware: what it ran on.
        software: package to version.
    """

    rows: int
    lengths: dict[str, Any]
    steps: int
    tokens: int
    seconds: float
    loss: float
    parameters: int
    trainable: int
    flops: float
    hardware: str
    software: dict[str, str]
    losses: list[tuple[int, float]] = field(default_factory=list)


def read_examples(path: Path) -> list[TrainingExample]:
    """Lessons from their file."""
    with open(path, encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    for row in rows:
        if not isinstance(row["prompt"], str):
            row["prompt"] = tuple((role, content) for role, content in row["prompt"])
    return [TrainingExample(**row) for row in rows]


def write_examples(path: Path, lessons: Sequence[TrainingExample]) -> None:
    """Lessons into a file that ``read_lessons`` reads."""
    with atomic(path) as stream:
        for lesson in lessons:
            stream.write(json.dumps(asdict(lesson), ensure_ascii=False).encode("utf-8", "replace") + b"\n")
