"""Progress: a live display on a terminal, plain lines elsewhere (``nohup``, CI)."""

from __future__ import annotations

import sys
import threading
import time
from typing import IO, Protocol

from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.shard_key import ShardKey

# Seconds between plain lines.
_EVERY = 10.0


class Progress(Protocol):
    """What a run tells while it works."""

    def say(self, text: str) -> None:
        """One line."""

    def stage(self, name: str, jobs: int) -> None:
        """A stage begins."""

    def update(self, task: ShardTask, done: int, total: int) -> None:
        """A job has come so far; ``total`` is 0 while unknown."""

    def done(self, task: ShardTask, text: str) -> None:
        """A job has ended."""

    def end(self) -> None:
        """The stage has ended."""

    def close(self) -> None:
        """The run has ended."""


class NullProgress:
    """Tells nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def stage(self, name: str, jobs: int) -> None:
        """Nothing."""

    def update(self, task: ShardTask, done: int, total: int) -> None:
        """Nothing."""

    def done(self, task: ShardTask, text: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class LogProgress:
    """One line per finished job, and one every ten seconds in between, with rate and time left."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.name = ""
        self.count = _Count(0)
        self._last = time.monotonic()
        self._ended = threading.Event()
        # A batch on a CPU can take a minute: who watches must see that something is at work.
        threading.Thread(target=self._tick, daemon=True).start()

    def say(self, text: str) -> None:
        """One line."""
        self._last = time.monotonic()
        self.stream.write(f"{text}\n")
        self.stream.flush()

    def stage(self, name: str, jobs: int) -> None:
        """A stage begins."""
        self.count = _Count(jobs)
        self.name = name
        self.say(f"{name}: {jobs} job{'s' if jobs != 1 else ''}")

    def update(self, task: ShardTask, done: int, total: int) -> None:
        """A job has come so far."""
        self.count.update(task, done, total)

    def done(self, task: ShardTask, text: str) -> None:
        """A job has ended."""
        self.count.done(task)
        self.say(f"{self.name}: {text}")

    def end(self) -> None:
        """The stage has ended."""
        self.name = ""

    def close(self) -> None:
        """The run has ended."""
        self._ended.set()

    def _tick(self) -> None:
        while not self._ended.wait(1.0):
            if self.name and time.monotonic() - self._last > _EVERY:
                self.say(f"{self.name}: {self.count.text()}")


class RichProgress:
    """One moving line at the bottom of a terminal, finished jobs above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self.console = Console(stderr=True, highlight=False)
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=self.console,
            transient=True,
        )
        self.task = self.bar.add_task("", total=1.0, text="", visible=False)
        self.bar.start()

    def say(self, text: str) -> None:
        """One line above the bar."""
        self.bar.console.print(text, markup=False)

    def stage(self, name: str, jobs: int) -> None:
        """A stage begins."""
        self.name, self.count = name, _Count(jobs)
        self.bar.update(self.task, description=name, completed=0.0, text="", visible=True)

    def update(self, task: ShardTask, done: int, total: int) -> None:
        """A job has come so far."""
        self.count.update(task, done, total)
        self.bar.update(self.task, completed=self.count.share(), text=self.count.text())

    def done(self, task: ShardTask, text: str) -> None:
        """A job has ended."""
        self.count.done(task)
        self.say(f"{self.name}: {text}")
        self.bar.update(self.task, completed=self.count.share(), text=self.count.text())

    def end(self) -> None:
        """The stage has ended."""
        self.bar.update(self.task, visible=False)

    def close(self) -> None:
        """Take the bar away."""
        self.bar.stop()


class _Count:
    """How far a stage has come."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.started = time.monotonic()
        self.ended: set[ShardKey] = set()
        self.parts: dict[ShardKey, tuple[int, int]] = {}

    def update(self, task: ShardTask, done: int, total: int) -> None:
        self.parts[task.key] = (done, total)

    def done(self, task: ShardTask) -> None:
        self.ended.add(task.key)
        done, _ = self.parts.get(task.key, (0, 0))
        self.parts[task.key] = (done, done)

    def share(self) -> float:
        running = sum(d / t for key, (d, t) in list(self.parts.items()) if t and key not in self.ended)
        return (len(self.ended) + running) / max(1, self.jobs)

    def text(self) -> str:
        """Share, number, rate, time taken and time left."""
        seconds = max(1e-9, time.monotonic() - self.started)
        done = sum(d for d, _ in list(self.parts.values()))
        share = self.share()
        left = f", about {_span(seconds * (1 - share) / share)} left" if 0.02 < share < 1 else ""
        return f"{share:.0%}, {done:,} done, {done / seconds:,.1f}/s, {_span(seconds)}{left}"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def shown() -> Progress:
    """The display that fits the standard error stream."""
    return RichProgress() if sys.stderr.isatty() else LogProgress(sys.stderr)
