"""The figures of an evaluation: metrics with their intervals, the samples behind them, and the models.

``record`` writes and reads them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """The model that was evaluated, or that judged.

    Args:
        name: as the user named it: an id on the Hub, or the name of a folder.
        revision: its commit, or the digest of its files.
        engine: name of the engine that ran it, such as ``transformers``.
        engine_version: version of the package behind the engine.
        adapter: LoRA adapter on top of it.
        deployment: ``self_deployed`` or ``externally_managed`` (a service); else ``unknown``.
        availability: ``open_weights`` or ``closed_weights``; else ``unknown``.
    """

    name: str
    revision: str = ""
    engine: str = ""
    engine_version: str = ""
    adapter: str = ""
    deployment: str = "unknown"
    availability: str = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The data of an evaluation.

    Args:
        name: its name, such as ``Belebele``; for data on the Hub the id.
        revision: its commit, or the digest of its content.
        config, split: of a data set on the Hub.
        on_hub: whether ``name`` is an id on the Hub.
        benchmark_task: id of the task, if the data set is registered on the Hub as a benchmark. Its metrics then go
            into ``.eval_results`` of a model's repository.
    """

    name: str
    revision: str = ""
    config: str = ""
    split: str = ""
    on_hub: bool = False
    benchmark_task: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How a model scored the samples of a metric.

    Args:
        judge: the model that judged.
        prompt: its prompt template.
        temperature: of its answers.
    """

    judge: ModelInfo
    prompt: str
    temperature: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure with its 95 % interval.

    Args:
        task: the evaluation, such as ``belebele`` or ``held-out``.
        name: short name of the metric, such as ``accuracy``.
        value: the figure; shares are between 0 and 1.
        low, high: ends of the interval; None or NaN if there is none.
        n: number of samples that the figure is of.
        data: the data that it is measured on.
        language: tag of the language; empty for a figure over all languages.
        higher_is_better: the direction.
        minimum, maximum: the range of the metric; None if it has no end.
        unit: ``proportion``, ``bits per byte`` and so on.
        interval_method: how the interval was computed, such as ``bootstrap by question``.
        parameters: settings that tell this metric from others of its task and name, such as ``{"shots": 5}``.
        notes: how it was measured, in a sentence.
        judging: the judge, if a model scored the samples.
    """

    task: str
    name: str
    value: float
    n: int
    data: Data
    low: float | None = None
    high: float | None = None
    language: str = ""
    higher_is_better: bool = True
    minimum: float | None = 0.0
    maximum: float | None = 1.0
    unit: str = "proportion"
    interval_method: str = "bootstrap"
    parameters: Mapping[str, str | float | bool | None] = field(default_factory=dict)
    notes: str = ""
    judging: Judging | None = None

    @property
    def id(self) -> str:
        """Identifies the metric in its record, and in records of other models that were evaluated in the same way."""
        parameters = [f"{key}={value}" for key, value in sorted(self.parameters.items())]
        return "/".join([self.task, self.language or "all", self.name, *parameters])

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval, or None."""
        if self.low is None or self.high is None or math.isnan(self.low) or math.isnan(self.high):
            return None
        return self.low, self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One sample of one metric. A sample that counts for several metrics is written once for each.

    Args:
        metric: ``Metric.id``.
        id: id of the sample in its data.
        input: what the model was asked.
        outputs: what it answered; empty if only likelihoods were read.
        score: the sample's share of the metric.
        correct: whether the answer is correct, or good enough.
        references: reference answers.
        choices: of a multiple-choice question.
        extracted: the answer that was read from the output, and how (``method``).
        error: why there is no answer.
        details: anything else, as text, such as the language or the order of two answers.
    """

    metric: str
    id: str
    input: str
    score: float
    correct: bool
    outputs: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    extracted: str = ""
    method: str = ""
    error: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of the input and its references: samples of two records are the same only if it is equal."""
        return hashlib.sha256("".join([self.input, *self.references]).encode("utf-8", "replace")).hexdigest()
