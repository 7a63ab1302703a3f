"""Progress: a live display on a terminal, plain lines elsewhere (``nohup``, CI)."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from typing import IO, Protocol

from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.shard_key import ShardKey

# Seconds between plain lines.
_INTERVAL = 10.0


class Progress(Protocol):
    """Receives the events of a run."""

    def say(self, text: str) -> None:
        """Show one line."""

    def stage(self, name: str, tasks: int) -> None:
        """A stage begins, with this number of tasks."""

    def update(self, task: ShardTask, done: int, total: int) -> None:
        """A task has done this number of its requests or documents; ``total`` is 0 while unknown."""

    def done(self, task: ShardTask, text: str) -> None:
        """A task is complete; the text is its result."""

    def end(self) -> None:
        """The stage is complete."""

    def close(self) -> None:
        """End the display."""


class NullProgress:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def stage(self, name: str, tasks: int) -> None:
        """Show nothing."""

    def update(self, task: ShardTask, done: int, total: int) -> None:
        """Show nothing."""

    def done(self, task: ShardTask, text: str) -> None:
        """Show nothing."""

    def end(self) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class LogProgress:
    """One line per complete task, and one every ten seconds in between, with rate and time left."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.name = ""
        self.count = _Count(0)
        self._last = time.monotonic()
        self._ended = threading.Event()
        # A batch on a CPU can take a minute without an event: lines in between show that the run is not stuck.
        threading.Thread(target=self._tick, daemon=True).start()

    def say(self, text: str) -> None:
        """Show one line."""
        self._last = time.monotonic()
        self.stream.write(f"{text}\n")
        self.stream.flush()

    def stage(self, name: str, tasks: int) -> None:
        """Begin a stage."""
        self.count = _Count(tasks)
        self.name = name
        self.say(f"{name}: {tasks} task{'s' if tasks != 1 else ''}")

    def update(self, task: ShardTask, done: int, total: int) -> None:
        """Count the progress of a task."""
        self.count.update(task, done, total)

    def done(self, task: ShardTask, text: str) -> None:
        """Count a complete task, and show its result."""
        self.count.done(task)
        self.say(f"{self.name}: {text}")

    def end(self) -> None:
        """End the stage."""
        self.name = ""

    def close(self) -> None:
        """End the display."""
        self._ended.set()

    def _tick(self) -> None:
        while not self._ended.wait(1.0):
            if self.name and time.monotonic() - self._last > _INTERVAL:
                self.say(f"{self.name}: {self.count.text()}")


class RichProgress:
    """A bar at the bottom of a terminal, with complete tasks above it."""

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
        """Show one line above the bar."""
        self.bar.console.print(text, markup=False)

    def stage(self, name: str, tasks: int) -> None:
        """Begin a stage."""
        self.name, self.count = name, _Count(tasks)
        self.bar.update(self.task, description=name, completed=0.0, text="", visible=True)

    def update(self, task: ShardTask, done: int, total: int) -> None:
        """Count the progress of a task."""
        self.count.update(task, done, total)
        self.bar.update(self.task, completed=self.count.share(), text=self.count.text())

    def done(self, task: ShardTask, text: str) -> None:
        """Count a complete task, and show its result."""
        self.count.done(task)
        self.say(f"{self.name}: {text}")
        self.bar.update(self.task, completed=self.count.share(), text=self.count.text())

    def end(self) -> None:
        """End the stage."""
        self.bar.update(self.task, visible=False)

    def close(self) -> None:
        """Remove the bar."""
        self.bar.stop()


class _Count:
    """The progress of a stage."""

    def __init__(self, tasks: int) -> None:
        self.tasks = tasks
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
        return (len(self.ended) + running) / max(1, self.tasks)

    def text(self) -> str:
        """Share, number, rate, elapsed time and time left."""
        seconds = max(1e-9, time.monotonic() - self.started)
        done = sum(d for d, _ in list(self.parts.values()))
        share = self.share()
        left = f", about {duration(seconds * (1 - share) / share)} left" if 0.02 < share < 1 else ""
        return f"{share:.0%}, {done:,} done, {done / seconds:,.1f}/s, {duration(seconds)}{left}"


def duration(seconds: float) -> str:
    """A duration in its two largest units, such as ``2h05m``, ``3m20s`` or ``12s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def shown() -> Progress:
    """The display for standard error: live on a terminal or in a notebook, lines elsewhere."""
    # In a notebook rich draws with ipywidgets; without them it can only warn.
    notebook = "ipykernel" in sys.modules and importlib.util.find_spec("ipywidgets") is not None
    return RichProgress() if sys.stderr.isatty() or notebook else LogProgress(sys.stderr)
