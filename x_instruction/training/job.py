"""The input and output of a training process. They are plain files, so that its parent does not import torch."""

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

# Environment variable with the process id of the parent. Training processes end when it ends.
PARENT_PID = "X_INSTRUCTION_PARENT_PID"
# Files of a training folder; the result is also a file of the finished model.
EXAMPLES, RESULT = "examples.jsonl", "train_result.json"


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A prompt with its completion.

    Args:
        prompt: plain text, or chat messages.
        completion: the text to learn; only its tokens have a loss.
        end: add the end token, so that the model learns to stop.
        sentence, parallel: an instruction and its translation, whose states AFP aligns; or empty.
    """

    prompt: Prompt
    completion: str
    end: bool = True
    sentence: str = ""
    parallel: str = ""


class TrainJob(Section):
    """What a training process does."""

    model: Model
    """The base model, with the adapter to continue from if there is one."""
    train: TrainConfig
    """How the model is trained."""
    align: Align | None = None
    """AFP's alignment."""


def fingerprint(job: TrainJob) -> dict[str, Any]:
    """The settings that affect the trained weights."""
    found = fingerprints.fingerprint(job)
    if job.align:
        # AFP contrasts each row with the others of its micro-batch on all devices.
        found |= {f"train.{key}": getattr(job.train, key) for key in ("device_batch_size", "processes")}
    return found


@dataclass(slots=True)
class TrainResult:
    """The result of training a model.

    Args:
        rows: number of rows.
        lengths: fields of ``tokenization.Lengths``.
        steps: optimizer steps.
        tokens: tokens over all epochs and processes, without padding.
        seconds: wall time over all attempts.
        loss: mean loss of the last 10 % of the logged steps, in nats per output token.
        parameters, trainable: number of weights, and of trained weights.
        flops: floating-point operations, estimated by transformers.
        hardware: the devices.
        software: version by package.
        losses: logged (step, loss).
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
    """Read examples from a JSON Lines file."""
    with open(path, encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    for row in rows:
        if not isinstance(row["prompt"], str):
            row["prompt"] = tuple((role, content) for role, content in row["prompt"])
    return [TrainingExample(**row) for row in rows]


def write_examples(path: Path, examples: Sequence[TrainingExample]) -> None:
    """Write examples to a JSON Lines file."""
    with atomic(path) as stream:
        for example in examples:
            stream.write(json.dumps(asdict(example), ensure_ascii=False).encode("utf-8", "replace") + b"\n")
