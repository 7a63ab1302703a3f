"""The vLLM engine over bare ``LLM.generate``, where vLLM is installed: ``vllm_engine.py`` on a random model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ours
from models import SIZES, SMALL, config, machine, save, tokenizer
from part import Settings
from report import Report


def run(settings: Settings, report: Report) -> None:
    """Writing and scoring, by the clock."""
    device = machine()
    name, shape = next(iter((SMALL if settings.small else SIZES).items()))
    folder = settings.scratch / "model"
    made = tokenizer(folder, [record.text for record in ours.passages()], 600 if settings.small else 8000)
    save(folder, config(shape, len(made)), device.device, device.dtype)
    for what in ("generate", "score"):
        ended = subprocess.run(
            [sys.executable, "vllm_engine.py", what, "--model", str(folder), "--repeats", "3"],
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            sys.stderr.write(ended.stderr[-4000:])
            raise RuntimeError(f"vllm_engine.py {what} ended with exit code {ended.returncode}")
        (wall,) = [line for line in ended.stdout.splitlines() if line.startswith("wall: ")]
        report.add(f"{name}: {what}", float(wall.split("over bare ")[1].split()[0]), "x alone", wall)
