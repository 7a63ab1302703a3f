"""Training: tokens per second and model FLOPs utilisation of supervised training and AFP, against TRL alone.

Each run is a process of its own on the same rows and settings. Speed is that of the steps after the second, so that
loading, warm-up and the last checkpoint stay out. FLOPs are 6 per weight and token for all weights and 4 for LoRA,
whose base has no gradient of its own; tokens are those of output and prompt without padding, the sentences that AFP
contrasts not among them.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import ceilings
import ours
from models import SIZES, SMALL, Shape, config, machine, save, tokenizer
from part import Settings
from report import Report, shown

_WARM = 2
_HERE = Path(__file__).parent


def rows(number: int) -> list[dict[str, str]]:
    """A request and a page to answer with, with the same request in another form beside it for AFP."""
    found = [
        {
            "prompt": f"Request: Explain: {topic}.\n\nAnswer:\n",
            "completion": text,
            "sentence": f"Explain: {topic}.",
            "parallel": text[:120],
        }
        for text, topic in ours.topics().items()
    ]
    return [found[row % len(found)] for row in range(number)]


def trained(folder: Path, base: Path, way: str, examples: list[dict[str, str]], options: dict[str, Any]) -> Any:
    """One training in a process of its own, and what its clock saw."""
    folder.mkdir()
    (folder / "rows.json").write_text(json.dumps({"base": str(base), "rows": examples, "settings": options}), "utf-8")
    ours.write_job(folder, base, examples, options, align=way == "AFP")
    ended = subprocess.run(
        [sys.executable, str(_HERE / "trainer_process.py"), "trl" if way == "TRL alone" else "ours", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        sys.stderr.write(ended.stderr[-4000:])
        raise RuntimeError(f"{way} ended with exit code {ended.returncode}: {_last_line(ended.stderr)}")
    return json.loads((folder / "clock.json").read_text("utf-8"))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1]


def steady(clock: dict[str, Any]) -> float:
    """Tokens per second: the median over the steps after the second, each from its beginning to that of the next."""
    steps = zip(pairwise(clock["begun"]), clock["tokens"], strict=False)
    return statistics.median([tokens / (end - begin) for (begin, end), tokens in steps][_WARM:])


def utilisation(speed: float, clock: dict[str, Any], method: str, known: dict[str, float] | None) -> str:
    """Model FLOPs per second as a share of the matrix product's."""
    flops = speed * clock["multiplied"] * (6 if method == "full" else 4)
    share = f", {flops / known['flops']:.2f} of the matrix product" if known else ""
    return f"{shown(flops / 1e12)} TFLOP/s{share}"


def run(settings: Settings, report: Report) -> None:
    """LoRA and all weights; each by TRL alone, by ours, and by AFP. QLoRA by ours."""
    # All weights of the smaller model: the last checkpoint of the larger one would take 18 GB and the time to write it.
    sizes = list((SMALL if settings.small else SIZES).items())
    for method, place in (("lora", 1),) if settings.small else (("lora", 1), ("full", 0)):
        measure(settings, report, method, *sizes[place])
    what = f"{sizes[1][0]}, qlora: supervised"
    if not machine().gpu:
        report.add(what, "not measured", note="it needs a GPU")
    elif find_spec("bitsandbytes") is None:
        report.add(what, "not measured", note="not installed: bitsandbytes (pack --also bitsandbytes==VERSION)")
    else:
        measure(settings, report, "qlora", *sizes[1], ways=("supervised",))


def measure(
    settings: Settings,
    report: Report,
    method: str,
    name: str,
    shape: Shape,
    ways: Sequence[str] = ("TRL alone", "supervised", "AFP"),
) -> None:
    """The rows of one method and model."""
    device = machine()
    base = settings.scratch / f"base-{method}"
    made = tokenizer(base, list(ours.topics()), 600 if settings.small else 8000)
    save(base, config(shape, len(made)), device.device, device.dtype)
    device.empty()
    steps, batch, tokens = (6, 4, 64) if settings.small else (16, 16, 512)
    options = {
        "method": method,
        "rank": 16,
        "alpha": 32,
        "learning_rate": 1e-5,
        "steps": steps,
        "batch_size": batch,
        "device_batch_size": batch,
        "max_tokens": tokens,
        "processes": 1,
    }
    known = ceilings.read(settings.out)
    clocks: dict[str, dict[str, Any]] = {}
    for way in ways:
        folder = settings.scratch / "job"
        clock = clocks[way] = trained(folder, base, way, rows(steps * batch), options)
        shutil.rmtree(folder)
        report.detail(f"{method}, {way}", clock | {"tokens_per_second": steady(clock)})
        loss = f"loss {clock['losses'][0]:.3f} to {clock['losses'][-1]:.3f}"
        notes = [f"{steady(clock) / steady(clocks[ways[0]]):.2f} x TRL alone"] if way != ways[0] else []
        # Of a base in 4 bits, torch counts bytes and not weights.
        notes += [utilisation(steady(clock), clock, method, known)] if method != "qlora" else []
        report.add(f"{name}, {method}: {way}", steady(clock), "tokens/s", "; ".join([*notes, loss]))
    if len(ways) == 1:
        return
    alone, same = (clocks[way]["losses"][-1] for way in ("TRL alone", "supervised"))
    if not abs(alone - same) <= 0.02 * alone:
        report.failed_check(f"{method}: the last loss is {same:.4f}, and {alone:.4f} by TRL alone")
