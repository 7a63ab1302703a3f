"""The transformers engine in bfloat16 on the GPU against float32 on the CPU: greedy texts and likelihoods.

Random weights are drawn wide enough that some next tokens are clearly more likely than others; even so, near ties are
common and one of them ends the common start of two texts. Judge texts by a model with real weights, and likelihoods by
either.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ours
import torch
from models import SIZES, SMALL, config, machine, save, tokenizer
from part import Settings
from report import Report

# Nats per token. bfloat16 keeps 8 bits, so a logit of 10 is off by up to 0.04, in either direction.
TOLERANCE = {"bfloat16": 0.05, "float32": 0.001}


def requests(engine: Any, rows: int, tokens: int) -> tuple[list[ours.Request], list[ours.Request]]:
    """Completions and scorings of the same passages."""
    writing: list[ours.Request] = []
    scoring: list[ours.Request] = []
    records = ours.passages()
    for record in records[:: max(1, len(records) // rows)][:rows]:
        start = ours.truncate(engine, record.text, 2 * tokens)
        prompt = f"Text:\n{start}"
        writing.append(ours.Completion(prompt, tokens))
        scoring.append(ours.Scoring(prompt, record.text[len(start) :], tokens))
    return writing, scoring


def common(first: str, second: str) -> float:
    """Share of the longer text that both start with."""
    longest = max(len(first), len(second))
    same = next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    return same / longest if longest else 1.0


def compare(
    report: Report, name: str, folder: Path | str, ways: Sequence[tuple[str, str]], rows: int, tokens: int
) -> None:
    """Rows for each (device, dtype) against float32 on the CPU."""
    reference = ours.open_transformers(folder, device="cpu", dtype="float32", threads=torch.get_num_threads())
    writing, scoring = requests(reference, rows, tokens)
    started = time.perf_counter()
    texts, scores = ours.answer(reference, writing), ours.answer(reference, scoring)
    report.detail(f"{name}: reference seconds", time.perf_counter() - started)
    del reference
    for device, dtype in ways:
        engine = ours.open_transformers(
            folder, device=device, dtype=dtype, batching="static", threads=torch.get_num_threads()
        )
        pairs = [(a.text, b.text) for a, b in zip(texts, ours.answer(engine, writing), strict=True)]
        off = [
            (b.log_likelihood - a.log_likelihood) / a.tokens
            for a, b in zip(scores, ours.answer(engine, scoring), strict=True)
        ]
        way = f"{name}, {dtype} on {device}"
        equal = sum(a == b for a, b in pairs)
        report.add(
            f"{way}: equal greedy texts",
            f"{equal} of {len(pairs)}",
            note=f"{tokens} tokens; common start {statistics.mean(common(a, b) for a, b in pairs):.2f} of a text",
        )
        worst = max(map(abs, off))
        report.add(
            f"{way}: likelihood, largest difference",
            worst,
            "nats/token",
            f"mean {statistics.mean(off):+.5f}; tolerance {TOLERANCE[dtype]}, {len(off)} texts",
        )
        if not worst <= TOLERANCE[dtype]:
            report.failed_check(f"{way}: likelihoods differ by {worst:.4f} nats per token")


def run(settings: Settings, report: Report) -> None:
    """A random model, then every model with real weights."""
    device = machine()
    records = ours.passages()
    trained = tokenizer(settings.scratch, [r.text for r in records], 600 if settings.small else 8000)
    name, shape = next(iter((SMALL if settings.small else SIZES).items()))
    save(settings.scratch, config(shape, len(trained), spread=1.5), "cpu", torch.float32)
    ways = [("cuda", "bfloat16"), ("cuda", "float32")] if device.gpu else [("cpu", "bfloat16")]
    rows, tokens = (6, 8) if settings.small else (16, 32)
    for label, folder in [(f"random {name}", str(settings.scratch)), *((Path(m).name, m) for m in settings.models)]:
        compare(report, label, folder, ways, rows, tokens)
