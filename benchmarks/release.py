"""A set of the original release's size: ``python benchmarks/release.py --rows 35000``.

Ten languages of as many rows each, synthetic text of the original's lengths. Prints the time and peak memory of
``build`` and ``publish``, the time to a first row by streaming, and what loading one language reads from the server.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from built_set import row, settings  # noqa: E402
from counting_proxy import counted  # noqa: E402
from local_hub_fixture import start  # noqa: E402

from x_instruction.config.recipe import dumps  # noqa: E402
from x_instruction.records import STAGES, Curated, text_digest  # noqa: E402
from x_instruction.storage.run_folder import RunFolder, ShardReport  # noqa: E402
from x_instruction.storage.shard_key import StageKey  # noqa: E402

# Characters of a response and of an instruction, mean and deviation, of the original release (arXiv 2405.19744).
LENGTHS = {
    "fi": ((1026.9, 552.8), (100.7, 81.1)),
    "id": ((1008.9, 542.1), (101.0, 86.0)),
    "th": ((987.5, 545.0), (102.4, 85.0)),
    "tr": ((1057.9, 534.1), (103.7, 87.5)),
    "vi": ((1120.4, 561.1), (101.0, 86.0)),
    "bn": ((1243.4, 518.7), (111.9, 87.2)),
    "hi": ((1284.9, 506.2), (96.6, 79.9)),
    "sw": ((1210.6, 524.0), (100.0, 85.3)),
    "ta": ((1259.0, 497.8), (99.0, 84.8)),
    "ur": ((1246.9, 508.8), (107.6, 87.4)),
}
# First letter and number of letters of the script.
SCRIPTS = {"th": (0x0E01, 46), "bn": (0x0995, 30), "hi": (0x0915, 37), "ta": (0x0B95, 34), "ur": (0x0627, 36)}
SHARD = 5_000
REPO = "bench/release"
# Streaming imports these where they are installed, once in a process.
FIRST_ROW = """
import contextlib, os, sys, time
with contextlib.suppress(ImportError):
    import scipy.io
    import torch
from datasets import load_dataset
began, spent = time.monotonic(), time.process_time()
row = next(iter(load_dataset(sys.argv[1], "sw", split="train", streaming=True)))
print(time.monotonic() - began, time.process_time() - spent, flush=True)
# Threads that read ahead and the end of the interpreter do not go together.
os._exit(0)
"""
ONE_LANGUAGE = """
import sys, time
from datasets import load_dataset
began = time.monotonic()
rows = load_dataset(sys.argv[1], "sw", split="train").num_rows
print(time.monotonic() - began, rows)
"""


def words(letters: tuple[int, int], chance: random.Random) -> list[str]:
    """Words of a made-up vocabulary in a script."""
    low, count = letters
    return ["".join(chr(low + chance.randrange(count)) for _ in range(chance.randint(2, 10))) for _ in range(5_000)]


def text(vocabulary: list[str], length: tuple[float, float], chance: random.Random) -> str:
    """Text of about so many characters."""
    mean, deviation = length
    # The mode of a Gamma is below its mean, as that of real lengths.
    shape = (mean / deviation) ** 2
    characters = max(20, int(chance.gammavariate(shape, mean / shape)))
    return " ".join(chance.choices(vocabulary, k=characters // 6))[:characters]


def records(tag: str, rows: int) -> Iterator[Curated]:
    """Synthetic curated records."""
    chance = random.Random(tag)
    output, instruction = LENGTHS[tag]
    found, english = words(SCRIPTS.get(tag, (0x61, 26)), chance), words((0x61, 26), chance)
    like = row(tag, 0, 8, 0)
    for number in range(rows):
        body = text(found, output, chance)
        digest = text_digest(body)
        yield dataclasses.replace(
            like,
            id=f"{tag}-{digest[:16]}-{number}",
            text=body,
            text_hash=digest,
            document_id=f"{tag}-{number}",
            instruction=f"Write {number} {text(english, instruction, chance)}",
            cluster=number % 1_000,
            rank=number,
            score=chance.random(),
        )


def make_run(root: Path, rows: int) -> None:
    """A run's shards of every stage; the first two stages, of which only counts are used, have one row each."""
    run = RunFolder(root)
    for tag in LENGTHS:
        for stage, kind in STAGES.items():
            names = [field.name for field in dataclasses.fields(kind)]
            count = rows if stage in ("rated", "curated") else 1
            made = records(tag, count)
            shards = -(-count // SHARD)
            for index in range(shards):
                part = [kind(**{n: getattr(one, n) for n in names}) for one in islice(made, SHARD)]
                run.write(ShardReport(StageKey(stage).shard(tag, index), rows_in=len(part)), part)
            run.finish(StageKey(stage), tag, shards)
    (root / "recipe.json").write_text(dumps(settings(tuple(LENGTHS), "release")))


def timed(command: list[str], env: dict[str, str]) -> str:
    """Run a command; its seconds and peak memory.

    Files that are mapped, as Arrow caches are, count as resident, too, though they are given back when memory is
    short: the process's own memory is printed beside it.
    """
    began, own = time.monotonic(), 0
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    status = Path(f"/proc/{process.pid}/status")
    while True:
        done, code, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        own = max(own, int(lines.get("RssAnon", "0 kB").split()[0]))
        time.sleep(0.05)
    process.returncode = os.waitstatus_to_exitcode(code)
    assert process.returncode == 0, command
    resident = f"{usage.ru_maxrss / 1024:,.0f} MB resident at most, {own / 1024:,.0f} MB its own"
    return f"{time.monotonic() - began:.0f} s, {resident}"


def say(what: str, figure: str) -> None:
    """One line of the table, at once."""
    sys.stdout.write(f"| {what} | {figure} |\n")
    sys.stdout.flush()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=35_000, help="of each language")
    rows = parser.parse_args().rows
    x_instruction = [sys.executable, "-m", "x_instruction"]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        make_run(root / "run", rows)
        say("rows", f"{rows * len(LENGTHS):,} in {len(LENGTHS)} languages")
        built = timed([*x_instruction, "build", str(root / "run")], dict(os.environ))
        folder = root / "run" / "dataset"
        say("`build`, with reading back twice", built)
        say("Parquet files", f"{sum(p.stat().st_size for p in folder.rglob('*.parquet')) / 1e6:,.0f} MB")
        with start(root / "hub") as hub, counted(hub.endpoint) as door:
            seen = dataclasses.replace(hub, endpoint=door.endpoint)
            for mode in ({}, {"HF_HUB_DISABLE_XET": "1"}):
                repo = f"{REPO}-{'lfs' if mode else 'xet'}"
                command = [*x_instruction, "hub", "push-dataset", str(folder), repo, "--yes"]
                say(f"`publish`, {'git-lfs' if mode else 'Xet'}", timed(command, seen.env(**mode)))
            for _ in range(3):
                waited, spent = map(float, seen.python(FIRST_ROW, repo, token=None).split())
                say("first row by streaming, imports aside", f"{waited:.2f} s, {spent:.2f} s of the processor")
            before = door.received
            took, loaded = seen.python(ONE_LANGUAGE, repo, token=None).split()
            own = sum(path.stat().st_size for path in (folder / "data" / "sw").iterdir())
            say(f'`load_dataset(…, "sw")`, {int(loaded):,} rows', f"{float(took):.1f} s")
            say("read from the server for it", f"{door.received - before:,} bytes; its files have {own:,}")
        shutil.rmtree(root / "hub")


if __name__ == "__main__":
    main()
