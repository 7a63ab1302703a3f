"""Kill a run with SIGKILL at random moments, resume it each time, and compare with an uninterrupted run.

Prints how many files differ (expected 0) and requests sent to the engine over requests needed (expected at most 1.02).

    python tests/tiny_model.py TINY
    python benchmarks/kill.py --data FOLDER --model TINY --workers 1 --kills 10
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from x_instruction.pipeline.status import totals
from x_instruction.storage.run_folder import RunFolder

FOLDERS = ("passage", "candidate", "rated", "curated", "dataset")


def digests(root: Path) -> dict[str, str]:
    """Every file that counts: shards and dropped rows of all stages, and the built data set."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and not path.name.endswith(".report.json")
    }


def command(options: argparse.Namespace, out: Path) -> list[str]:
    sets = {
        "corpus.paths": f'["{options.data}/{{tag}}.jsonl"]',
        "corpus.shard_size": "50",
        "generate.model.name": f'"{options.model}"',
        "generate.model.batch_size": str(options.batch_size),
        "generate.max_tokens": "12",
        "generate.min_chars": "1",
        "generate.candidates": "4",
        "refine.model.name": f'"{options.model}"',
        "refine.model.batch_size": str(options.batch_size),
        "refine.min_score": "-1000.0",
    }
    line = [sys.executable, "-m", "x_instruction", "run", "files", "--out", str(out)]
    line += ["--languages", options.languages, "--workers", str(options.workers)]
    return line + [part for key, value in sets.items() for part in ("--set", f"{key}={value}")]


def run(line: list[str], log: Path) -> subprocess.Popen[bytes]:
    with open(log, "ab") as stream:
        return subprocess.Popen(line, stdout=stream, stderr=stream, start_new_session=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--languages", default="fi,id,th,tr,vi,bn,hi,sw,ta,ur")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    whole, killed = work / "whole", work / "killed"
    started = time.monotonic()
    if run(command(options, whole), work / "log").wait() != 0:
        sys.exit((work / "log").read_text()[-2000:])
    seconds = time.monotonic() - started
    chance = random.Random(options.seed)
    hits = 0
    while hits < options.kills:
        process = run(command(options, killed), work / "log")
        # Early moments fall into start-up and the corpus, later ones into the models' work.
        moment = chance.uniform(0.3, 1.0) * max(10.0, seconds / 3)
        try:
            process.wait(moment)
            print(f"run ended before kill {hits + 1}: all {options.kills} kills need a longer run")
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            hits += 1
            print(f"kill {hits} after {moment:.1f} s", flush=True)
    if run(command(options, killed), work / "log").wait() != 0:
        sys.exit((work / "log").read_text()[-2000:])
    for root in (whole, killed):
        line = [sys.executable, "-m", "x_instruction", "build", str(root)]
        if run(line, work / "log").wait() != 0:
            sys.exit((work / "log").read_text()[-2000:])
    left, right = digests(whole), digests(killed)
    different = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    found = totals(RunFolder(killed))
    sent, needed = sum(t.requests_sent for t in found), sum(t.requests for t in found)
    print(f"{len(left)} files, {len(different)} differ {different[:3]}")
    print(f"{hits} kills, {options.workers} workers: {sent:,} requests sent for {needed:,}: {sent / needed:.4f}")
    shutil.rmtree(work)
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
