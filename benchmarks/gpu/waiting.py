"""The share of the time in which the device waits for Python.

On a GPU: wall time in which no kernel runs. On a CPU, where nothing runs beside Python: wall time outside of torch's
operators, which shows that the measurement works and says nothing of a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import ours
import torch
from models import SIZES, SMALL, Machine, config, machine, network, stub, tokenizer
from part import Settings
from report import Report
from throughput import Bare, Load, asked, opened
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def waiting_share(device: Machine, work: Callable[[], object]) -> tuple[float, float]:
    """Share of the wall time in which the device does nothing, and the wall time."""
    device.wait()
    activity = ProfilerActivity.CUDA if device.gpu else ProfilerActivity.CPU
    kind = DeviceType.CUDA if device.gpu else DeviceType.CPU
    with profile(activities=[activity]) as seen:
        started = time.perf_counter()
        work()
        device.wait()
        seconds = time.perf_counter() - started
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in seen.events()
        if event.device_type == kind and not getattr(event, "is_user_annotation", False)
    ]
    if not spans:
        raise RuntimeError("the profiler saw no operation on the device")
    return max(0.0, 1 - covered(spans) / 1e6 / seconds), seconds


def run(settings: Settings, report: Report) -> None:
    """The engine, transformers alone, and the generate stage with its request cache."""
    device = machine()
    trained = tokenizer(settings.scratch, [r.text for r in ours.passages()], 600 if settings.small else 8000)
    stub(settings.scratch, len(trained))
    name, shape = list((SMALL if settings.small else SIZES).items())[1]
    load = Load(4, 32, 4, 4, 1) if settings.small else Load(128, 256, 24, 128, 1)
    made = network(config(shape, len(trained)), device.device, device.dtype)
    engine = opened(settings.scratch, made, load, "static")
    bare = Bare(engine, load)
    work = asked(engine, load)
    ways: dict[str, Callable[[], object]] = {
        "writing, static": lambda: ours.answer(engine, work.writing),
        "writing, generate alone": lambda: bare.write(work.prompts),
        "scoring": lambda: ours.answer(engine, work.scoring),
        "scoring, forward alone": lambda: bare.score(work.prompts, work.continuations),
        "generate stage and request cache": lambda: ours.run_stage(
            engine, ("fi",) if settings.small else ("fi", "th"), 1 if settings.small else 5, load.prompt, load.new
        ),
    }
    if device.gpu:
        # Its thread is seen by a GPU's profiler alone.
        continuous = opened(settings.scratch, made, load, "continuous")
        ways["writing, continuous"] = lambda: ours.answer(continuous, work.writing)
    note = "no kernel runs" if device.gpu else "outside of torch's operators: there is no GPU"
    with torch.inference_mode():
        for what, way in ways.items():
            way()
            share, seconds = waiting_share(device, way)
            report.detail(f"{what}: seconds", seconds)
            report.add(f"{name}: {what}", share, "of the time", note)
