"""Does a model use the instruction? Two measures that need no judge.

Bits per byte hardly see the instruction: most of a response follows from its own beginning. The
conditional gain compares the same response after its own instruction and after that of another page, and the second
measure asks whether a response is the one that its instruction makes most likely, among responses like it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from x_instruction.bootstrap import Interval, interval
from x_instruction.engines import Engine
from x_instruction.errors import CorpusError
from x_instruction.evaluation.held_out import ALL, RESAMPLES, Render, Row, bits_per_byte
from x_instruction.hashing import derive_seed

NEAREST = 10


@dataclass(frozen=True, slots=True)
class Conditional:
    """The measures of one row.

    Args:
        id, language: id and language of the row.
        gain: ``log p(y | x) - log p(y | x')`` in nats, where ``x'`` is the instruction of another page.
        found: whether its own response gains most from the instruction, among the nearest responses.
    """

    id: str
    language: str
    gain: float
    found: bool


@dataclass(frozen=True, slots=True)
class IntrinsicMetrics:
    """Means over rows, with 95 % bootstrap intervals over the rows.

    Args:
        rows: number of rows.
        gain: mean conditional gain, in nats per response; 0 if the instruction does not matter.
        found: share of rows whose own response is found.
        chance: the share that guessing finds.
    """

    rows: int
    gain: float
    found: float
    chance: float
    gain_interval: Interval
    found_interval: Interval


def conditional(
    rows: Sequence[Row], engine: Engine, render: Render, max_tokens: int = 256, nearest: int = NEAREST, seed: int = 0
) -> list[Conditional]:
    """Measure every row, in their order.

    Args:
        rows: the held-out rows, at least two of each language with different responses.
        engine: the model.
        render: builds a prompt from an instruction.
        max_tokens: number of tokens of a response to score.
        nearest: number of responses that the own one is found among, itself included. They are those of the language
            that share most character trigrams with it.
        seed: of the choice of other pages.

    Raises:
        CorpusError: a language has only one response.
        NotCapable: the engine cannot score.
        EngineError: the engine failed on a row.
    """
    others, near = _others(rows, seed), _nearest(rows, nearest)
    pairs = dict.fromkeys((n, n) for n in range(len(rows)))
    pairs |= dict.fromkeys((other, n) for n, other in enumerate(others))
    pairs |= dict.fromkeys((n, response) for n, own in enumerate(near) for response in own)
    # Sorted by the instruction, so that the engine computes each once.
    keys = sorted(pairs)
    asked = [replace(rows[y], prompt=rows[x].prompt, tag=rows[x].tag) for x, y in keys]
    likelihoods = bits_per_byte(asked, engine, render, max_tokens)
    logs = {key: -each.bits * math.log(2) for key, each in zip(keys, likelihoods, strict=True)}

    def gain(x: int, y: int) -> float:
        return logs[x, y] - logs[others[y], y]

    return [
        Conditional(row.id, row.language, gain(n, n), all(gain(n, n) > gain(n, y) for y in near[n]))
        for n, row in enumerate(rows)
    ]


def _others(rows: Sequence[Row], seed: int) -> list[int]:
    """For each row one of the same language with another response, whose instruction is the wrong one."""
    found = []
    for row in rows:
        pool = [n for n, other in enumerate(rows) if _differ(row, other)]
        if not pool:
            raise CorpusError(
                f"{row.language} has one response only, expected at least two: the conditional gain compares pages"
            )
        found.append(Random(derive_seed(seed, "other page", row.language, row.id)).choice(pool))
    return found


def _differ(row: Row, other: Row) -> bool:
    return row.language == other.language and row.completion != other.completion and row.prompt != other.prompt


def _nearest(rows: Sequence[Row], number: int) -> list[list[int]]:
    """For each row the other responses of its language that are most like its own."""
    grams = [_trigrams(row.completion) for row in rows]
    found = []
    for n, row in enumerate(rows):
        pool = [m for m, other in enumerate(rows) if _differ(row, other)]
        pool.sort(key=lambda m: (-len(grams[n] & grams[m]) / max(1, len(grams[n] | grams[m])), m))
        found.append(pool[: number - 1])
    return found


def _trigrams(text: str) -> set[str]:
    return {text[start : start + 3] for start in range(max(1, len(text) - 2))}


def intrinsic_metrics(
    results: Sequence[Conditional], nearest: int = NEAREST, draws: int = RESAMPLES, seed: int = 0
) -> Mapping[str, IntrinsicMetrics]:
    """Metrics of each language, sorted by tag, and of ``all`` rows.

    Args:
        results: of ``conditional``.
        nearest: as for ``conditional``, for the share that guessing finds.
        draws, seed: of the bootstrap.
    """
    tags = sorted({row.language for row in results})
    groups = {tag: [row for row in results if row.language == tag] for tag in tags}
    chances = {tag: 1 / min(nearest, len(own)) for tag, own in groups.items()}
    chances[ALL] = sum(chances[row.language] for row in results) / len(results)
    return {tag: _metrics(own, chances[tag], draws, seed) for tag, own in {**groups, ALL: list(results)}.items()}


def _metrics(rows: Sequence[Conditional], chance: float, draws: int, seed: int) -> IntrinsicMetrics:
    gains, found = [row.gain for row in rows], [float(row.found) for row in rows]
    return IntrinsicMetrics(
        rows=len(rows),
        gain=float(np.mean(gains)),
        found=float(np.mean(found)),
        chance=chance,
        gain_interval=interval(np.mean, [gains], draws, seed),
        found_interval=interval(np.mean, [found], draws, seed),
    )
