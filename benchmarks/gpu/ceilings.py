"""What the device can do at most: a large matrix product, and a large copy in its memory."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from models import Machine, machine
from part import Settings
from report import Report


def median_seconds(device: Machine, work: Callable[[int], object], repeats: int) -> float:
    """Median time of one call, by device events on a GPU; ``work`` gets the number of the call."""
    for turn in range(3):
        work(turn)
    device.wait()
    taken = []
    for turn in range(repeats):
        if device.gpu:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            work(turn)
            end.record()
            end.synchronize()
            taken.append(begin.elapsed_time(end) / 1000)
        else:
            started = time.perf_counter()
            work(turn)
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def read(out: Path) -> dict[str, float] | None:
    """The ceilings that were measured before, as FLOP/s and byte/s."""
    path = out / "ceilings.json"
    details: dict[str, float] = json.loads(path.read_text("utf-8"))["details"] if path.exists() else {}
    return details if {"flops", "bytes"} <= details.keys() else None


def run(settings: Settings, report: Report) -> None:
    """Matrix product and copy."""
    device = machine()
    side = 8192 if device.gpu else 512
    # Two input sets in turn, random: one set could stay in the cache, and zeros multiply faster than real data.
    left, right = ([torch.randn(side, side, device=device.device).to(device.dtype) for _ in range(2)] for _ in range(2))
    product = torch.empty(side, side, device=device.device, dtype=device.dtype)
    seconds = median_seconds(device, lambda n: torch.mm(left[n % 2], right[n % 2], out=product), 20)
    flops = 2 * side**3 / seconds
    report.detail("flops", flops)
    dtype = str(device.dtype).removeprefix("torch.")
    report.add(f"matrix product {side}, {dtype}", flops / 1e12, "TFLOP/s", device.name)
    size = (4 << 30) if device.gpu else (64 << 20)
    source = [torch.randint(0, 255, (size,), dtype=torch.uint8, device=device.device) for _ in range(2)]
    target = torch.empty_like(source[0])
    seconds = median_seconds(device, lambda n: target.copy_(source[n % 2]), 20 if device.gpu else 5)
    report.detail("bytes", 2 * size / seconds)
    report.add(f"copy of {size >> 20} MiB", 2 * size / seconds / 1e9, "GB/s", "bytes read and written")
