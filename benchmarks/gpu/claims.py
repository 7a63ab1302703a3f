"""The experiments that test the claims of the papers, at full size: ``x_instruction.experiments.claims``.

An experiment with one seed is a process of its own. Several run at once, because a small model leaves most of a GPU
idle. They share a folder: what one has trained or measured, another reads. What is there when time runs out gives the
figures.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import claims_process
import ours
import torch
from models import SMALL, config, save, tokenizer
from part import Missing, Settings
from report import Report

RESULTS = "results"
# Of a GPU's memory for one process, most of it for logits; and of the cores.
_GIB, _CORES = 8.0, 2
# Seconds at the end for the last figures, at most a quarter of all.
_RESERVE = 60.0
# Documents by language, one of them held out.
_SMALL_POOL = {"fr": 60, "ja": 40, "ko": 12, "sw": 60, "vi": 60}
_SCRIPT = Path(__file__).with_name("claims_process.py")


@dataclass
class Task:
    """An experiment with some of its seeds, or ``results``: the figures of what is there."""

    name: str
    seeds: tuple[int, ...] = ()
    attempts: int = 0

    @property
    def title(self) -> str:
        return "-".join([self.name, *map(str, self.seeds)])


def run(settings: Settings, report: Report) -> None:
    """Run the experiments, and add a row for each comparison of each claim."""
    end = time.monotonic() + settings.seconds
    gpu = torch.cuda.is_available()
    if not gpu and not settings.small:
        raise Missing("no GPU: use --small, or x-instruction experiment run claims, which takes hours on a CPU")
    model = base(settings)
    # A folder for each model, so that the next command resumes with the same one.
    folder = settings.work / (Path(model).name or "model")
    folder.mkdir(parents=True, exist_ok=True)
    if Path(model).is_dir():
        if not (folder / "base").exists():
            shutil.rmtree(folder / "base.new", ignore_errors=True)
            shutil.copytree(model, folder / "base.new")
            os.replace(folder / "base.new", folder / "base")
        model = str(folder / "base")
    pool = settings.pool
    if settings.small and not pool:
        pool = str(folder / "pool.jsonl")
        claims_process.write_pool(Path(pool), _SMALL_POOL)
    given = {
        "model": model,
        "folder": str(folder),
        "out": str(settings.out / "claims"),
        "small": settings.small,
        "pool": pool,
        "device": "cuda" if gpu else "cpu",
    }
    claims_process.check(given)
    at_once = processes(gpu)
    report.detail("model", folder.name)
    report.detail("processes at once", at_once)
    tasks = [Task(name, seeds) for name, seeds in claims_process.tasks(model, settings.small)]
    Schedule(tasks, at_once, given, report, end).run()


def base(settings: Settings) -> str:
    """The base model: the first one that is given or packed, and for --small one with random weights.

    Raises:
        Missing: there is none.
    """
    if settings.small:
        folder = settings.scratch / "tiny"
        made = tokenizer(folder, [record.text for record in ours.passages()], 600)
        save(folder, config(SMALL["tiny-1"], len(made)), "cpu", torch.float32)
        return str(folder)
    if not settings.models:
        raise Missing("no model: pack --weights embedded --pool FILE, or name one with --model")
    return settings.models[0]


def processes(gpu: bool) -> int:
    """How many processes run at once."""
    if not gpu:
        return 1
    memory = torch.cuda.get_device_properties(0).total_memory / (1 << 30)
    return max(1, min(int(memory / _GIB), len(os.sched_getaffinity(0)) // _CORES))


class Schedule:
    """Processes of tasks, in order, until all have ended or time is up.

    A task that fails is tried once more after the others: with fewer beside it, it may find the memory that it lacked.

    Args:
        tasks: the tasks.
        at_once: how many run at once.
        given: settings for the processes.
        report: gets the rows.
        end: ``time.monotonic()`` at which this part is stopped.
    """

    def __init__(self, tasks: Iterable[Task], at_once: int, given: dict[str, Any], report: Report, end: float) -> None:
        self.waiting, self.at_once, self.given, self.report, self.end = deque(tasks), at_once, given, report, end
        self.running: dict[subprocess.Popen[bytes], Task] = {}
        self.failed: list[str] = []
        self.folder = Path(given["folder"])
        (self.folder / "logs").mkdir(exist_ok=True)

    def run(self) -> None:
        deadline = self.end - min(_RESERVE, (self.end - time.monotonic()) / 4)
        figures: subprocess.Popen[bytes] | None = None
        ended = shown = 0
        while (self.waiting or self.running) and time.monotonic() < deadline:
            while self.waiting and len(self.running) < self.at_once:
                task = self.waiting.popleft()
                task.attempts += 1
                self.running[self._process(task, deadline)] = task
            time.sleep(0.2)
            ended += self._collect()
            # The figures until now, in case that this part is stopped.
            if figures is not None and figures.poll() is not None:
                figures = None
                self._show()
            if figures is None and shown < ended and self.at_once > 1:
                figures, shown = self._process(Task(RESULTS), deadline), ended
        for process in [*self.running, *([figures] if figures else [])]:
            process.kill()
            process.wait()
        if self._process(Task(RESULTS), self.end).wait():
            raise RuntimeError(f"no figures: {self._said(Task(RESULTS))}")
        left = self._show()
        if self.failed:
            self.report.failed_check("; ".join(self.failed))
        elif left:
            self.report.say(f"no time was left for {', '.join(left)}: the same command resumes")

    def _process(self, task: Task, deadline: float) -> subprocess.Popen[bytes]:
        given = self.given | {"seconds": deadline - time.monotonic()}
        with open(self._log(task), "wb") as log:
            return subprocess.Popen(
                [sys.executable, str(_SCRIPT), task.name, json.dumps(task.seeds), json.dumps(given)],
                stdout=log,
                stderr=log,
            )

    def _log(self, task: Task) -> Path:
        return self.folder / "logs" / f"{task.title}.txt"

    def _said(self, task: Task) -> str:
        lines = self._log(task).read_text("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else "nothing was printed"

    def _collect(self) -> int:
        """Take the tasks that have ended; returns their number."""
        found = [process for process in self.running if process.poll() is not None]
        for process in found:
            task = self.running.pop(process)
            if process.returncode and task.attempts == 1 and self.at_once > 1:
                self.waiting.append(task)
            elif process.returncode:
                self.failed.append(f"{task.title}: {self._said(task)}")
        return len(found)

    def _show(self) -> list[str]:
        """Rows of the results that were written last; returns the experiments that lack parts."""
        file = self.folder / "results.json"
        if not file.exists():
            return []
        table = json.loads(file.read_text("utf-8"))
        self.report.replace([row(verdict) for verdict in table["verdicts"]])
        self.report.detail("not made", [*table["left"]])
        return list(dict.fromkeys(name.partition("/")[0] for name in table["left"]))


def row(verdict: dict[str, Any]) -> dict[str, Any]:
    """The row of a comparison."""
    expected, figure = verdict["expected"], verdict["figure"]
    over = f" over {expected['baseline']}" if expected["baseline"] else ""
    group = "" if expected["group"] == "all" else f", {expected['group'].replace('_', ' ')}"
    what = f"{verdict['claim']}: {expected['measure']} of {expected['arm']}{over}{group}"
    range_ = f"expected {expected['low']:g} to {expected['high']:g}"
    if figure is None:
        return {"what": what, "figure": "not measured", "unit": "", "note": range_}
    note = (
        f"{figure['low']:.3f} to {figure['high']:.3f}, {verdict['verdict']}; {range_}; "
        f"documents: {figure['documents']}, seeds: {figure['seeds']}"
    )
    return {"what": what, "figure": figure["value"], "unit": figure["unit"], "note": note}
