"""Progress: a live display on a terminal or in a notebook, plain lines elsewhere (``nohup``, CI)."""

from __future__ import annotations

import contextlib
import html
import importlib
import sys
import threading
import time
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, Protocol

from x_instruction.pipeline.activity import Activity
from x_instruction.pipeline.worker import ShardTask
from x_instruction.storage.shard_key import SLICE, ShardKey
from x_instruction.terminal import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

# Seconds between plain lines.
_INTERVAL = 10.0
# Complete tasks that a notebook shows.
_LINES = 12
# What the numbers of a stage count; requests for the others.
_UNITS = {"corpus": "documents", "diversify": "pairs"}


class Progress(Protocol):
    """Receives the events of a run."""

    def say(self, text: str) -> None:
        """Show one line."""

    def stage(self, name: str, tasks: int) -> None:
        """A stage begins, with this number of tasks."""

    def update(self, task: ShardTask, activity: Activity) -> None:
        """The work on a task so far."""

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

    def update(self, task: ShardTask, activity: Activity) -> None:
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
        self.count: _Count | None = None
        self._last = time.monotonic()
        self._ended = threading.Event()
        # A batch on a CPU can take a minute without an event: lines in between show that the run is not stuck.
        threading.Thread(target=self._tick, daemon=True).start()

    def say(self, text: str) -> None:
        """Show one line."""
        self._last = time.monotonic()
        self.stream.write(f"{plain(text)}\n")
        self.stream.flush()

    def stage(self, name: str, tasks: int) -> None:
        """Begin a stage."""
        self.count = _Count(name, tasks)
        self.say(f"{name}: {tasks} task{'s' if tasks != 1 else ''}")

    def update(self, task: ShardTask, activity: Activity) -> None:
        """Count the progress of a task."""
        if self.count is not None:
            self.count.update(task, activity)

    def done(self, task: ShardTask, text: str) -> None:
        """Count a complete task, and show its result."""
        if self.count is not None:
            self.count.done(task)
            self.say(f"{self.count.name}: {text}")

    def end(self) -> None:
        """End the stage."""
        self.count = None

    def close(self) -> None:
        """End the display."""
        self._ended.set()

    def _tick(self) -> None:
        while not self._ended.wait(1.0):
            count = self.count
            if count is not None and time.monotonic() - self._last > _INTERVAL:
                self.say("\n".join([f"{count.name}: {', '.join(count.lines())}", *count.workers()]))


class RichProgress:
    """Up to four lines at the bottom of a terminal that change all the time, with complete tasks above them."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console(stderr=True, highlight=False)
        self.count: _Count | None = None
        self.live = Live(
            get_renderable=self._shown,
            console=self.console,
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,
        )
        self.live.start()

    def say(self, text: str) -> None:
        """Show one line above the display."""
        self.console.print(plain(text), markup=False)

    def stage(self, name: str, tasks: int) -> None:
        """Begin a stage."""
        self.count = _Count(name, tasks)

    def update(self, task: ShardTask, activity: Activity) -> None:
        """Count the progress of a task."""
        if self.count is not None:
            self.count.update(task, activity)

    def done(self, task: ShardTask, text: str) -> None:
        """Count a complete task, and show its result."""
        if self.count is not None:
            self.count.done(task)
            # One line each, so that they can be compared; the summary of the run has all figures.
            line = f"{self.count.name}: {text}"
            self.console.print(plain(line), markup=False, no_wrap=True, overflow="ellipsis")

    def end(self) -> None:
        """End the stage."""
        self.count = None

    def close(self) -> None:
        """Remove the display."""
        # A terminal that was closed takes no output, and the run ends because of that.
        with contextlib.suppress(OSError):
            self.live.stop()

    def _shown(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        count = self.count
        if count is None:
            return Text()
        first, *others = count.lines()
        head = Table.grid(padding=(0, 1))
        # One column is left free, because some terminals wrap after the last one.
        head.add_column(width=1)
        head.add_column(no_wrap=True, overflow="ellipsis", max_width=max(10, self.console.width - 40))
        head.add_column(width=20)
        head.add_column(no_wrap=True)
        # The phase of the spinner follows the clock, as a new one is made for every picture.
        spinner = Spinner("dots" if (self.console.encoding or "").startswith("utf") else "line")
        spinner.start_time = 0.0
        head.add_row(spinner, count.title(), ProgressBar(total=1.0, completed=count.share()), first)
        rest = Text("\n".join(f"  {line}" for line in (*others, *count.workers())), no_wrap=True, overflow="ellipsis")
        return Group(head, rest)


class NotebookProgress(LogProgress):
    """One output of a notebook cell that changes every second: the last complete tasks, and the stage."""

    def __init__(self) -> None:
        # The kernel of a notebook brings it, and this package needs it nowhere else.
        self.ipython: Any = importlib.import_module("IPython.display")
        self.said: list[str] = []
        self.handle: Any = self.ipython.display(self._page(), display_id=True)
        super().__init__(sys.stderr)

    def say(self, text: str) -> None:
        """Show one line."""
        self.said.append(text)
        self.handle.update(self._page())

    def close(self) -> None:
        """Leave the last lines."""
        super().close()
        self.count = None
        self.handle.update(self._page())

    def _tick(self) -> None:
        while not self._ended.wait(1.0):
            if self.count is not None:
                self.handle.update(self._page())

    def _page(self) -> Any:
        count = getattr(self, "count", None)
        lines = self.said[-_LINES:]
        if count is not None:
            lines = [*lines, f"{count.title()}: {', '.join(count.lines())}", *count.workers()]
        return self.ipython.HTML(f"<pre>{html.escape(chr(10).join(lines))}</pre>")


class _Count:
    """The progress of a stage.

    Args:
        name: of the stage.
        tasks: number of its tasks.
    """

    def __init__(self, name: str, tasks: int) -> None:
        self.name = name
        self.tasks = tasks
        self.started = time.monotonic()
        # Of tasks that have ended, only sums are kept: a stage may have thousands.
        self.ended = 0
        self.past = Activity()
        self.activities: dict[ShardKey, Activity] = {}

    def update(self, task: ShardTask, activity: Activity) -> None:
        self.activities[task.key] = activity

    def done(self, task: ShardTask) -> None:
        self.ended += 1
        if activity := self.activities.pop(task.key, None):
            self.past.done += activity.done
            self.past.tokens += activity.tokens
            self.past.dropped += Counter(activity.dropped)

    def share(self) -> float:
        """The share of the stage that is done, from 0 to 1."""
        running = sum(a.done / a.total for a in list(self.activities.values()) if a.total)
        return min(1.0, (self.ended + running) / max(1, self.tasks))

    def title(self) -> str:
        """The stage and the languages that are worked on."""
        tags = dict.fromkeys(key.language for key in list(self.activities))
        return f"{self.name} {', '.join(tags)}".rstrip()

    def lines(self) -> list[str]:
        """Tasks; what is done, rate and time left; and dropped rows, as short lines. The last one may be missing."""
        seconds = max(1e-9, time.monotonic() - self.started)
        activities = [self.past, *self.activities.values()]
        done, tokens = (sum(getattr(a, name) for a in activities) for name in ("done", "tokens"))
        share = self.share()
        parts = [f"{done:,} {_UNITS.get(self.name.removeprefix('preview: '), 'requests')}"]
        if tokens:
            parts.append(f"{tokens / seconds:,.0f} tokens/s")
        parts.append(duration(seconds))
        if 0.02 < share < 1:
            parts.append(f"about {duration(seconds * (1 - share) / share)} left")
        dropped: Counter[str] = sum((Counter(a.dropped) for a in activities), Counter())
        lost = ", ".join(f"{reason} {number:,}" for reason, number in dropped.most_common(4))
        lines = [f"{self.ended}/{self.tasks} tasks, {share:.0%}", ", ".join(parts)]
        return [*lines, f"dropped: {lost}"] if lost else lines

    def workers(self) -> list[str]:
        """What each worker does, in one line of at most 76 columns; no line if there is only one."""
        working = sorted(self.activities.items())
        if len(working) < 2:
            return []
        shown = [f"{name_of(key)} {a.done / a.total:.0%}" if a.total else name_of(key) for key, a in working]
        line, more = f"workers: {shown[0]}", len(shown) - 1
        for text in shown[1:]:
            if len(line) + len(text) > 60:
                break
            line, more = f"{line}, {text}", more - 1
        return [f"{line}, and {more} more" if more else line]


def name_of(key: ShardKey) -> str:
    """A task within its stage."""
    if key.stage_key == SLICE:
        return f"{key.language}, slice {key.index}"
    return key.language if key.stage in ("passage", "curated") else f"{key.language}/{key.index:05d}"


def duration(seconds: float) -> str:
    """A duration in its two largest units, such as ``4d02h``, ``2h05m``, ``3m20s`` or ``12s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 72:
        days, hours = divmod(hours, 24)
        return f"{days}d{hours:02d}h" if days < 100 else f"{days:,}d"
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def shown() -> Progress:
    """The display for standard error: live on a terminal or in a notebook, lines elsewhere."""
    if "ipykernel" in sys.modules:
        return NotebookProgress()
    return RichProgress() if sys.stderr.isatty() else LogProgress(sys.stderr)
