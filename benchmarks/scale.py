"""Many shards and several workers: speed-up, overhead per shard, memory of the driver, and datatrove beside it.

An engine of fixed latency takes the place of a model, so that what is measured is the work around it.

    python benchmarks/scale.py speedup                    1 worker against 2, 20 shards
    python benchmarks/scale.py overhead 1000 10000        tiny shards: time, CPU time and memory of the driver
    python -m venv build/datatrove && build/datatrove/bin/pip install datatrove==0.10.1 orjson
    python benchmarks/scale.py datatrove build/datatrove/bin/python

``speedup`` runs twice: the engine waits, as for a GPU, or it computes. The second needs two idle cores.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe, load
from x_instruction.config.section import toml_value
from x_instruction.engines import ENGINES, Batch, Completed, EngineSpec, Request, Result, always, single_batch

# Workers import this module too, which is how they know the engine.
ENGINES["fixed"] = EngineSpec("scale", "FixedEngine", "", (), ("complete",), True, "takes a fixed time")
# Seconds of a request, and whether they are spent computing.
LATENCY, BUSY = "SCALE_LATENCY", "SCALE_BUSY"
DATATROVE = Path(__file__).with_name("scale_datatrove.py")


class FixedEngine:
    """Answers each request after a fixed time."""

    capabilities = frozenset({"complete"})
    chat = False
    revision = "1"

    def __init__(self, settings: Model) -> None:
        self.model = settings.name
        self.seconds = float(os.environ.get(LATENCY, 0))
        self.busy = bool(os.environ.get(BUSY))

    def truncate(self, text: str, tokens: int) -> str:
        """The text as it is."""
        return text

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """One batch of all requests."""
        return single_batch(requests)

    def answer(self, requests: Sequence[Request], shared: int = 0, should_continue: Any = always) -> Iterator[Any]:
        """One answer after the other."""
        for position, _ in enumerate(requests):
            wait(self.seconds, self.busy)
            answer: Result = Completed("How does one repair old boats in the north?", "stop", 100, 10)
            yield position, answer


def wait(seconds: float, busy: bool) -> None:
    """Spend a time computing, or asleep."""
    if not busy:
        time.sleep(seconds)
        return
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def documents(path: Path, number: int) -> None:
    """Finnish documents of six sentences each, drawn from the sample."""
    sample = resources.files("x_instruction.corpus.sample").joinpath("fi.jsonl").read_text("utf-8").splitlines()
    sentences = [part.strip(" .") for line in sample for part in json.loads(line)["text"].split(". ") if len(part) > 50]
    draw = random.Random(0)
    with open(path, "w", encoding="utf-8") as out:
        for index in range(number):
            text = ". ".join(draw.sample(sentences, 6)) + "."
            out.write(json.dumps({"id": str(index), "text": text}, ensure_ascii=False) + "\n")


def recipe(path: Path, shards: int, rows: int) -> Recipe:
    """A recipe of one language with this many shards."""
    corpus = path.with_name("fi.jsonl")
    if not corpus.exists():
        documents(corpus, shards * rows * 5 // 4 + 10)
    keys: dict[str, Any] = {"paths": [str(corpus)], "shard_size": rows, "passages": shards * rows}
    path.write_text(
        'name = "scale"\nlanguages = ["fi"]\n[corpus]\nsource = "files"\n'
        + "".join(f"{key} = {toml_value(value)}\n" for key, value in keys.items())
        + "[corpus.filters]\nnear_duplicates = false\nmax_line_documents = 1\n"
        '[generate]\ncandidates = 1\nmodel = {name = "fixed", engine = "fixed"}\n'
        '[refine]\nrater = "none"\n[diversify]\nembedder = "embedded"\n',
        "utf-8",
    )
    return load(path)


def make(root: str, workers: str, until: str, shards: str, rows: str) -> None:
    """Make a stage, in the process that is measured."""
    from x_instruction.pipeline.execute import execute
    from x_instruction.pipeline.progress import NullProgress

    settings = recipe(Path(root) / "recipe.toml", int(shards), int(rows))
    execute(settings, Path(root) / "run", int(workers), False, until, NullProgress())


class Measured:
    """A process and those that it started: seconds, CPU seconds, and the largest memory of the process itself.

    Args:
        command: of the process.
        variables: of its environment.
    """

    def __init__(self, command: Sequence[str], **variables: str) -> None:
        began = time.monotonic()
        process = os.posix_spawn(command[0], command, {**os.environ, **variables})
        peak = 0
        while True:
            peak = max(peak, _memory(process))
            done, status, usage = os.wait4(process, os.WNOHANG)
            if done:
                break
            time.sleep(0.05)
        self.seconds = time.monotonic() - began
        self.cpu = usage.ru_utime + usage.ru_stime
        self.memory = peak
        if status:
            raise SystemExit(f"{' '.join(command)} failed")


def _memory(process: int) -> int:
    """The largest memory of a process so far, in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def ours(root: Path, workers: int, until: str, shards: int, rows: int, **variables: str) -> Measured:
    """Make a stage in a process of its own."""
    arguments = ("make", str(root), str(workers), until, str(shards), str(rows))
    return Measured([sys.executable, __file__, *arguments], **variables)


def speedup(*engines: str, shards: int = 20) -> None:
    """One worker against two: of the whole command, and of shards per second once the workers have started."""
    for busy in ("" if name == "waits" else "1" for name in engines or ("waits", "computes")):
        rows, latency = (200, 0.01) if busy else (20, 0.15)
        found, rates = [], []
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                ours(Path(folder), 1, "passage", shards, rows)
                variables = {LATENCY: str(latency), BUSY: busy}
                found.append(ours(Path(folder), workers, "candidate", shards, rows, **variables))
                ends = sorted(p.stat().st_mtime for p in Path(folder).glob("run/candidate/*/fi/*.report.json"))
                rates.append((len(ends) - workers) / (ends[-1] - ends[workers - 1]))
        one, two = found
        name = "computes" if busy else "waits"
        print(
            f"{shards} shards of {rows} rows, an engine that {name} {1000 * latency:.0f} ms per request: "
            f"1 worker {one.seconds:.1f} s ({one.cpu:.1f} s of CPU time), 2 workers {two.seconds:.1f} s "
            f"({two.cpu:.1f} s): {one.seconds / two.seconds:.2f} times as fast, "
            f"{rates[1] / rates[0]:.2f} times the shards per second",
            flush=True,
        )


def overhead(*numbers: str) -> None:
    """Shards of one row, and an engine that answers at once."""
    for shards in map(int, numbers or ("1000", "10000")):
        with tempfile.TemporaryDirectory() as folder:
            for until in ("passage", "candidate"):
                _show(f"{shards:,} shards, {until}", ours(Path(folder), 2, until, shards, 1), shards)
            _show(f"{shards:,} shards, nothing left", ours(Path(folder), 2, "candidate", shards, 1), shards)


def datatrove(python: str, shards: int = 500, rows: int = 4, latency: float = 0.002) -> None:
    """The same rows and latency in datatrove's local executor, each shard a task."""
    with tempfile.TemporaryDirectory() as folder:
        ours(Path(folder), 1, "passage", shards, rows)
        _show("x-instruction", ours(Path(folder), 2, "candidate", shards, rows, **{LATENCY: str(latency)}), shards)
        arguments = [f"{folder}/fi.jsonl", f"{folder}/out", str(shards), str(rows), str(latency)]
        # Its log of each task is longer than its work.
        quiet = ["/bin/sh", "-c", 'exec "$@" 2>"$0"', f"{folder}/log"]
        _show("datatrove", Measured([*quiet, str(Path(python).absolute()), str(DATATROVE), *arguments]), shards)


def _show(name: str, found: Measured, shards: int) -> None:
    print(
        f"{name}: {found.seconds:.1f} s, {1000 * found.seconds / shards:.1f} ms per shard, {found.cpu:.1f} s of CPU "
        f"time, {1000 * found.cpu / shards:.1f} ms per shard, driver {found.memory / 1e6:.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    commands: dict[str, Any] = {f.__name__: f for f in (make, speedup, overhead, datatrove)}
    if sys.argv[1:2] and sys.argv[1] in commands:
        commands[sys.argv[1]](*sys.argv[2:])
    else:
        raise SystemExit(__doc__)
