"""What breaks as a run grows, and the key that moves the limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from x_instruction.config.site import Site
from x_instruction.pipeline.planner.forecast import Forecast, Part

# Files of a repository that the Hub recommends at most.
HUB_FILES = 100_000
# Seconds of one process after which an interruption costs more than a day.
SERIAL_SECONDS = 24 * 3600
# Bytes of a request cache that is copied to shared storage every 30 s.
CACHE_BYTES = 1e9
# Seconds of a plan check, and what a shard costs in it: docs/benchmarks.md, "Plan check".
CHECK_SECONDS, SHARD_SECONDS = 60.0, 9.8e-5
# Seconds of a whole run.
RUN_SECONDS = 30 * 24 * 3600
# Passages at which the search for the first limit ends.
_MOST = 10**12


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure that grows with the run, and what it must not exceed.

    Args:
        kind: one word for it, such as ``files``.
        name: what is limited, such as ``files of the run folder``.
        figure: its value for the run.
        most: the limit.
        unit: ``""``, ``bytes`` or ``seconds``.
        passages: of all languages, from which the figure exceeds the limit; None if it never does.
        change: the key or option that moves it.
    """

    kind: str
    name: str
    figure: float
    most: float
    unit: str
    passages: int | None
    change: str

    @property
    def exceeded(self) -> bool:
        """Whether the run exceeds it."""
        return self.figure > self.most


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    name: str
    figure: Callable[[Forecast], float]
    most: float
    unit: str
    change: Callable[[Forecast], str]


def limits(at: Callable[[int], Forecast], here: Forecast, site: Site, memory: float) -> list[Limit]:
    """All limits, the first that a growing run meets first.

    Args:
        at: the forecast of so many passages of all languages.
        here: the forecast of the run.
        site: where it is made.
        memory: bytes of a machine.
    """
    found = []
    for rule in _rules(site, memory):
        first = _first(at, rule)
        change = rule.change(here if first is None else at(first))
        found.append(Limit(rule.kind, rule.name, rule.figure(here), rule.most, rule.unit, first, change))
    return sorted(found, key=lambda limit: (limit.passages or math.inf, limit.name))


def _first(at: Callable[[int], Forecast], rule: _Rule) -> int | None:
    """The number of passages from which a figure exceeds its limit, to about three digits."""
    if rule.figure(at(_MOST)) <= rule.most:
        return None
    low, high = 1, _MOST
    while high > low * 1.001 + 1:
        middle = round(math.sqrt(low * high))
        if rule.figure(at(middle)) > rule.most:
            high = middle
        else:
            low = middle
    return high


def _rules(site: Site, memory: float) -> Iterator[_Rule]:
    slurm = site.slurm
    yield _Rule(
        "files",
        "files of the run folder, for a repository of the Hub",
        lambda forecast: forecast.files,
        HUB_FILES,
        "",
        lambda _: "corpus.shard_size",
    )
    yield _Rule(
        "array",
        f"elements of a Slurm array, of {slurm.shards_per_element:,} shards each",
        lambda forecast: math.ceil(_most_shards(forecast) / slurm.shards_per_element),
        slurm.max_array,
        "",
        lambda _: "slurm.shards_per_element in the site",
    )
    yield _Rule(
        "memory",
        "memory of the selection of one language",
        lambda forecast: max(part.memory for part in forecast.parts()),
        memory,
        "bytes",
        lambda _: "diversify.selector",
    )
    yield _Rule(
        "process",
        "longest step of one process",
        lambda forecast: _serial(forecast).longest,
        SERIAL_SECONDS,
        "seconds",
        lambda forecast: _SERIAL_KEYS.get(_serial(forecast).stage.split()[0], "corpus.shard_size"),
    )
    yield _Rule(
        "cache",
        "request cache of one shard",
        lambda forecast: max(part.cached / part.shards for part in forecast.parts() if part.shards),
        CACHE_BYTES,
        "bytes",
        lambda _: "corpus.shard_size (smaller)",
    )
    yield _Rule(
        "check",
        "check of all complete shards, before work begins",
        lambda forecast: forecast.shards * SHARD_SECONDS,
        CHECK_SECONDS,
        "seconds",
        lambda _: "corpus.shard_size",
    )
    yield _Rule(
        "time",
        "time of the whole run",
        lambda forecast: forecast.wall,
        RUN_SECONDS,
        "seconds",
        lambda forecast: "--gpus" if forecast.bottleneck.parts[0].gpu else "--workers",
    )


# The key that shortens the longest step, by the first word of its stage.
_SERIAL_KEYS = {
    "corpus": 'corpus.source = "files"',
    "duplicates": "corpus.filters.near_duplicates",
    "diversify": "diversify.selector",
    "train": "seeds.count",
}


def _serial(forecast: Forecast) -> Part:
    """The part with the longest task."""
    return max(forecast.parts(), key=lambda part: part.longest)


def _most_shards(forecast: Forecast) -> int:
    return max(sum(part.shards for part in stage.parts) for stage in forecast.stages)
