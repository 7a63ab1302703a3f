"""What the engine does today when a batch does not fit into memory, and whether it works afterwards.

The memory that this process may take is limited first, so that a batch fails in seconds on any device.
"""

from __future__ import annotations

import gc
import resource
from pathlib import Path
from typing import Any

import ours
import torch
from models import CONTEXT, SIZES, SMALL, Machine, config, machine, network, stub, tokenizer
from part import Settings
from report import Report

_MIB = 1 << 20


def limit(device: Machine, more: int) -> None:
    """Let this process take only so many more bytes of the device's memory; 0 takes a GPU's limit away."""
    if device.gpu and not more:
        torch.cuda.set_per_process_memory_fraction(1.0)
    elif device.gpu:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + more) / total)
    else:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        taken = pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + more, resource.getrlimit(resource.RLIMIT_AS)[1]))


def held(device: Machine) -> int:
    """Bytes of live tensors on the GPU; of a CPU nothing is known."""
    gc.collect()
    return torch.cuda.memory_allocated() if device.gpu else 0


def texts(results: Any) -> list[str]:
    return [result.text for result in results]


def attempt(report: Report, device: Machine, engine: Any, what: str, few: list[Any], many: list[Any]) -> None:
    """A small batch, one that does not fit, and the small one again."""
    before = texts(ours.answer(engine, few))
    base = held(device)
    with ours.Warnings() as warnings:
        try:
            ours.answer(engine, many)
        except (RuntimeError, MemoryError) as error:
            # torch's errors are RuntimeErrors. What is raised is the figure here.
            message = str(error).strip().splitlines()[0]
            report.add(f"{what}: a batch that does not fit", "not recovered", note=f"{type(error).__name__}: {message}")
        else:
            note = "; ".join(warnings.messages[:1]) or "all requests answered"
            report.add(f"{what}: a batch that does not fit", "recovered", note=note)
    if device.gpu:
        report.add(f"{what}: memory held afterwards", (held(device) - base) / _MIB, "MiB more")
    after = texts(ours.answer(engine, few))
    report.add(
        f"{what}: the same engine afterwards", "works" if after == before else "other texts", note="a batch that fits"
    )
    if after != before and "static" in what:
        report.failed_check(f"{what}: after a batch that did not fit, equal requests give other texts")


def run(settings: Settings, report: Report) -> None:
    """Static batches, and continuous ones on a GPU."""
    device = machine()
    trained = tokenizer(settings.scratch, [r.text for r in ours.passages()], 600 if settings.small else 8000)
    stub(settings.scratch, len(trained))
    name, shape = next(iter((SMALL if settings.small else SIZES).items()))
    made = network(config(shape, len(trained)), device.device, device.dtype)
    everything = " ".join(record.text for record in ours.passages())
    rows = 512
    for batching in ("static", "continuous") if device.gpu else ("static",):
        engine = ours.open_transformers(
            settings.scratch, device="cpu", batching=batching, batch_size=rows, batch_tokens=rows * CONTEXT
        )
        engine.network, engine.device = made, made.device
        # The number comes first: a shared start would be read once, and fit.
        longest = ours.truncate(engine, everything, CONTEXT * 3 // 4)
        many = [ours.Completion(f"{row}. {longest}", 8) for row in range(rows)]
        few = [ours.Completion(f"{row}. {longest[:200]}", 8) for row in range(4)]
        ours.answer(engine, few)
        # Paged batching takes nearly all free memory at its start, and queues what does not fit.
        limit(device, 0 if batching == "continuous" else (2048 if device.gpu else 384) * _MIB)
        attempt(report, device, engine, f"{name}, {batching}", few, many)
