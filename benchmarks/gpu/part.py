"""One part in a process of its own: ``part.py NAME FILE SETTINGS``, started by ``run``."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import traceback
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Each part: its module, the seconds that it may take on a GPU, and the packages that it needs.
_MODEL = ("x_instruction", "torch", "transformers", "tokenizers")
_TRAINING = ("trl", "peft", "datasets", "accelerate")
PARTS: dict[str, tuple[str, float, tuple[str, ...]]] = {
    "ceilings": ("ceilings", 40, ("torch",)),
    "agreement": ("agreement", 80, _MODEL),
    "throughput": ("throughput", 180, _MODEL),
    "waiting": ("waiting", 50, _MODEL),
    "memory": ("memory", 40, _MODEL),
    "training": ("training", 150, (*_MODEL, *_TRAINING)),
    "vllm": ("vllm_part", 60, (*_MODEL, "vllm")),
    "claims": ("claims", 540, (*_MODEL, *_TRAINING, "py3langid")),
}


@dataclass(frozen=True)
class Settings:
    """Settings of a part.

    Args:
        out: folder of the results; later parts read the ceilings there.
        scratch: an empty folder for models.
        small: tiny models and few repetitions, for a CPU.
        models: folders or names of models with real weights.
        seconds: time limit.
        work: folder for what the next command resumes with.
        pool: file of documents for the experiments; empty for the one that ships.
    """

    out: Path
    scratch: Path
    small: bool
    models: tuple[str, ...] = ()
    seconds: float = 600.0
    work: Path = Path()
    pool: str = ""


class Missing(Exception):
    """Something that a part needs is not there. The message names it."""


def versions() -> dict[str, str]:
    """Installed versions of what the parts need; empty where a package is missing."""
    found = {}
    for name in sorted({name for _, _, needs in PARTS.values() for name in needs} | {"gguf"}):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "(sources)" if find_spec(name) else ""
    return found


def main(name: str, file: str, settings_text: str) -> None:
    from report import Report

    given: dict[str, Any] = json.loads(settings_text)
    report = Report(Path(file), name)
    module, _, needs = PARTS[name]
    missing = [package for package in needs if find_spec(package) is None]
    if missing:
        report.end("missing", f"not installed: {', '.join(missing)}")
        return
    with tempfile.TemporaryDirectory(dir=given["scratch"]) as scratch:
        settings = Settings(
            Path(given["out"]),
            Path(scratch),
            given["small"],
            tuple(given["models"]),
            given["seconds"],
            Path(given["work"]),
            given["pool"],
        )
        try:
            importlib.import_module(module).run(settings, report)
        except Missing as error:
            report.end("missing", str(error))
            return
        except Exception as error:
            # The one place that catches all: the next parts must run, and the result says what happened.
            traceback.print_exc()
            report.end("failed", f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
            raise SystemExit(1) from error
    report.end("ok")


if __name__ == "__main__":
    # Parts import this file by its name, and must find the same one.
    sys.modules["part"] = sys.modules["__main__"]
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if sys.argv[1] == "--versions":
        print(json.dumps(versions()))
    else:
        main(*sys.argv[1:4])
