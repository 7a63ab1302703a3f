"""Two ranks of a run for an hour, with everything going wrong, compared with a run that nothing disturbs.

    python benchmarks/hour.py --minutes 60

The server is scripted: its answers follow from the requests. The proxy before it fails one request in ten (refused,
dropped, stalled, cut, closed or no JSON), and answers a few in another shape. Each rank is a process with two workers.
Three times a minute a worker is killed (``kill -9``), and every sixth time the rank with all its workers. Twice the
disk is full for half a minute: the run is in a file system of its own, which needs the right to mount one. A rank that
ends is started again, as a user or a scheduler does. When both are done, ``run --retry-failed`` asks again for what
the server answered in a wrong shape, and ``build`` makes the data set.

It prints what happened, and ends with an error if a byte of a shard or of the rows differs, or a message of the ranks
is a traceback. The card, the manifest and the report of the data set show the seconds and tokens of all attempts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
from aiohttp import web
from busy import passages
from kill import digests

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from engines.openai_server import OpenAIServer  # noqa: E402
from faults import start  # noqa: E402

from x_instruction.hashing import digest  # noqa: E402
from x_instruction.pipeline.status import totals  # noqa: E402
from x_instruction.records import STAGES  # noqa: E402
from x_instruction.storage.run_folder import RunFolder  # noqa: E402
from x_instruction.storage.shard_key import StageKey  # noqa: E402

LANGUAGES = ("fi", "sw")
RANKS = WORKERS = 2
# Passages that two ranks take a minute for, with a second per answer and all that goes wrong.
PASSAGES = 125
# Files that show what all attempts took.
ATTEMPTS = {"dataset/README.md", "dataset/manifest.json", "dataset/report.html"}
RECIPE = """
name = "hour"
languages = {languages}
diversify = {{ embedder = "embedded" }}

[corpus]
source = "files"
paths = ["{folder}/{{tag}}.jsonl"]
shard_size = 25
filters = {{ near_duplicates = false, max_line_documents = 1 }}

[generate]
candidates = 4
max_tokens = 32
min_chars = 1

[generate.model]
name = "test/model"
engine = "openai"
server = {{ url = "{url}", timeout = 5, concurrency = 8 }}

[refine]
rater = "prompted"

[refine.model]
name = "test/model"
engine = "openai"
server = {{ url = "{url}", timeout = 5, concurrency = 8 }}
"""


class Server(OpenAIServer):
    """The scripted server. It takes a second for an answer while ``latency`` is set, and counts equal requests."""

    latency = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.served: Counter[str] = Counter()

    async def _handle(self, request: web.Request) -> web.StreamResponse:  # type: ignore[override]
        body = await request.json() if request.body_exists else {}
        if body.get("max_tokens") != 1 or body.get("logprobs"):
            await asyncio.sleep(self.latency)
        answer = await super()._handle(request)
        if "Say yes" not in str(body) and "1 2 3" not in str(body) and body:
            self.served[digest([request.path, body])[:16]] += 1
        self.asked.clear()
        return answer


@dataclass
class Rank:
    """A rank of the run, which is started again when it ends."""

    line: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    next_start: float = 0.0
    starts: int = 0
    done: bool = False

    def look(self, now: float) -> None:
        """Start the rank, unless it runs, is done or is to wait."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self.process = None
            said = self.log.read_text("utf-8", "replace").rstrip().rpartition("\n")[2]
            self.done = code in (0, 2)
            # What another rank has to make first takes a while.
            self.next_start = now + (15 if "from other ranks" in said else 2)
        if self.process is None and not self.done and now >= self.next_start:
            with open(self.log, "ab") as stream:
                self.process = subprocess.Popen(self.line, stdout=stream, stderr=stream, start_new_session=True)
            self.starts += 1

    def end(self) -> None:
        """End the rank and its workers."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def workers(self) -> list[psutil.Process]:
        """The workers of the rank."""
        if self.process is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.process.pid).children()
            return [child for child in found if "spawn_main" in " ".join(_line(child))]
        return []


def _line(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []


@dataclass
class Samples:
    """What processes use, by their role and the stage of the run."""

    rows: dict[tuple[str, str], list[tuple[float, float, int, int]]] = field(default_factory=dict)

    def take(self, now: float, role: str, stage: str, process: psutil.Process) -> None:
        """Add a sample of a process that has run for a while."""
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if time.time() - process.create_time() < 15:
                return
            with process.oneshot():
                found = (now, process.memory_info().rss / 1e6, process.num_fds(), process.num_threads())
            self.rows.setdefault((role, stage), []).append(found)

    def table(self) -> Iterator[str]:
        """The median of the first and of the last quarter of the time."""
        yield "| process, stage | samples | memory, MB | slope, MB/h | open files | threads |"
        yield "|---|---|---|---|---|---|"
        for (role, stage), rows in self.rows.items():
            times = [row[0] for row in rows]
            quarter = (times[-1] - times[0]) / 4
            first = [row for row in rows if row[0] <= times[0] + quarter]
            last = [row for row in rows if row[0] >= times[-1] - quarter]
            columns = [
                f"{statistics.median(row[value] for row in first):.0f}, "
                f"{statistics.median(row[value] for row in last):.0f}"
                for value in (1, 2, 3)
            ]
            slope = statistics.linear_regression(times, [row[1] for row in rows]).slope if quarter else 0.0
            memory, *others = columns
            cells = [f"{role}, {stage}", str(len(rows)), memory, f"{3600 * slope:+.1f}", *others]
            yield f"| {' | '.join(cells)} |"


class Disk:
    """A file system in memory of its own, for ``with``, that can be filled."""

    def __init__(self, root: Path, megabytes: int) -> None:
        self.root, self.megabytes = root, megabytes
        self.ballast = root / "ballast"

    def __enter__(self) -> Disk:
        self.root.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.megabytes}m", "tmpfs", self.root], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self.root], check=True)

    def fill(self) -> None:
        """Take all that is free."""
        with open(self.ballast, "ab") as stream:
            step = 1 << 24
            while step >= 4096:
                try:
                    os.posix_fallocate(stream.fileno(), stream.seek(0, 2), step)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2

    def free(self) -> None:
        """Give it back."""
        self.ballast.unlink()


def write_recipe(folder: Path, name: str, url: str) -> str:
    path = folder / name
    path.write_text(RECIPE.format(languages=json.dumps(LANGUAGES), folder=folder, url=url), "utf-8")
    return str(path)


def command(*line: str) -> list[str]:
    return [sys.executable, "-m", "x_instruction", *line]


def whole(folder: Path, name: str, *lines: tuple[str, ...]) -> None:
    """Run commands that have to succeed."""
    log = folder / f"{name}.log"
    with open(log, "ab") as stream:
        for line in lines:
            if subprocess.run(command(*line), stdout=stream, stderr=stream, check=False).returncode not in (0, 2):
                sys.exit(log.read_text("utf-8")[-3000:])


def stage_of(root: Path) -> str:
    """The last stage of which the run has anything."""
    return next((stage for stage in reversed(STAGES) if (root / stage).exists()), "passage")


def disturb(given: argparse.Namespace, ranks: list[Rank], disk: Disk, samples: Samples, out: Path) -> Counter[str]:
    """Kill workers and fill the disk for the time that is given, and wait until both ranks are done."""
    chance, counts = random.Random(given.seed), Counter[str]()
    began = time.monotonic()
    seconds = 60 * given.minutes
    every = 60 / given.kills
    kills = itertools.count(every, every)
    full = [(seconds * part, seconds * part + min(30, seconds / 8)) for part in (1 / 3, 2 / 3)]
    next_kill, next_sample, is_full = next(kills), 0.0, False
    while not all(rank.done for rank in ranks):
        now = time.monotonic() - began
        for rank in ranks:
            rank.look(now)
        if now >= next_kill and now < seconds:
            next_kill = next(kills)
            counts[kill(chance, ranks, counts)] += 1
        if any(start <= now < end for start, end in full):
            counts["disk full"] += not is_full
            is_full = True
            disk.fill()
        elif is_full:
            is_full = False
            disk.free()
        if now >= next_sample:
            next_sample = now + 5
            stage = stage_of(out)
            for rank in ranks:
                if rank.process is not None:
                    samples.take(now, "rank", stage, psutil.Process(rank.process.pid))
                for worker in rank.workers():
                    samples.take(now, "worker", stage, worker)
        counts["late"] = now > seconds
        time.sleep(0.25)
    counts["seconds"] = round(time.monotonic() - began)
    return counts


def kill(chance: random.Random, ranks: list[Rank], counts: Counter[str]) -> str:
    """Kill a worker, or every sixth time a rank and its workers. Says which."""
    running = [rank for rank in ranks if rank.process is not None]
    if not running:
        return "none to kill"
    rank = chance.choice(running)
    workers = rank.workers()
    if sum(counts[name] for name in ("worker killed", "rank killed")) % 6 == 5 or not workers:
        assert rank.process is not None
        os.killpg(rank.process.pid, signal.SIGKILL)
        return "rank killed"
    with contextlib.suppress(psutil.NoSuchProcess):
        chance.choice(workers).kill()
    return "worker killed"


def messages(log: Path) -> Counter[str]:
    """The errors of a rank, without their numbers and names."""
    found: Counter[str] = Counter()
    for line in log.read_text("utf-8", "replace").splitlines():
        if line.startswith("error: "):
            found[re.sub(r"/\S+|\d[\d,.]*", "#", line)[:150]] += 1
        if line.startswith("Traceback"):
            found["TRACEBACK"] += 1
    return found


def rows(run: RunFolder) -> str:
    """Rows of each stage, and how many of them are there twice."""
    said = []
    for stage in ("passage", "candidate", "rated", "curated"):
        ids = Counter(
            (record.id, getattr(record, "candidate", 0))
            for tag in LANGUAGES
            for key in run.shards(StageKey(stage), tag)
            for record in run.read(key)
        )
        said.append(f"{stage} {ids.total():,} ({ids.total() - len(ids)} double)")
    return ", ".join(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--kills", type=float, default=3, help="per minute")
    parser.add_argument("--passages", type=int, default=0, help="of each language; default: as many as take the time")
    parser.add_argument("--misshapen", type=float, default=0.0005, help="share of answers of another shape")
    parser.add_argument("--megabytes", type=int, default=400, help="size of the file system")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    number = given.passages or round(PASSAGES * given.minutes / len(LANGUAGES))
    work = Path(tempfile.mkdtemp())
    print(f"{work}, with the logs of the ranks", flush=True)
    for tag in LANGUAGES:
        with open(work / f"{tag}.jsonl", "w", encoding="utf-8") as stream:
            for row in passages(number, tag):
                stream.write(json.dumps({"id": row.document_id, "text": row.text}) + "\n")
    samples = Samples()
    with contextlib.ExitStack() as stack:
        plain, server = stack.enter_context(Server()), stack.enter_context(Server())
        server.latency = 1.0
        expected, recipe = work / "expected", write_recipe(work, "plain.toml", plain.url)
        run_line = ("run", recipe, "--out", str(expected), "--workers", "1")
        undisturbed = threading.Thread(target=whole, args=(work, "expected", run_line, ("build", str(expected))))
        undisturbed.start()
        port = re.findall(r":(\d+)/", server.url)[0]
        more = ("--upstream", port, "--rate", "0.1", "--stall", "6", "--misshapen", str(given.misshapen))
        proxy, proxy_port = start(str(ROOT / "tests" / "engines" / "faulty.py"), *more)
        stack.callback(proxy.kill)
        disk = stack.enter_context(Disk(work / "disk", given.megabytes))
        recipe = write_recipe(work, "faulty.toml", f"http://127.0.0.1:{proxy_port}/v1")
        out = disk.root / "run"
        run_line = ("run", recipe, "--out", str(out), "--workers", str(WORKERS))
        ranks = [
            Rank(command(*run_line, "--of", str(RANKS), "--rank", str(rank)), work / f"rank-{rank}.log")
            for rank in range(RANKS)
        ]
        for rank in ranks:
            stack.callback(rank.end)
        counts = disturb(given, ranks, disk, samples, out)
        before = rows(RunFolder(out))
        dropped = Counter[str]()
        for total in totals(RunFolder(out)):
            dropped.update({reason: count for reason, count in total.dropped.items() if "engine" in reason})
        with urlopen(f"http://127.0.0.1:{proxy_port}/faults") as answer:
            faults: dict[str, Any] = json.loads(answer.read().decode().replace("'", '"'))
        whole(work, "last", (*run_line, "--retry-failed"), ("build", str(out)))
        shutil.copytree(out / "dataset", work / "dataset")
        undisturbed.join()
        left, right = digests(expected), digests(out)
        different = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
        found = totals(RunFolder(out))
        sent, asked = sum(t.requests_sent for t in found), sum(t.requests for t in found)
        said = sum((messages(rank.log) for rank in ranks), Counter[str]())
        print(f"undisturbed: {len(plain.served):,} different requests; {rows(RunFolder(expected))}")
        print(f"{dict(counts)}; ranks started {[rank.starts for rank in ranks]}")
        print(f"faults of the proxy: {faults}; dropped before --retry-failed: {dict(dropped)}")
        print(f"rows when the ranks were done: {before}")
        print(f"rows at the end: {rows(RunFolder(out))}")
        twice = server.served.total() - len(server.served)
        print(
            f"served {server.served.total():,} requests, {len(server.served):,} different ones of "
            f"{len(plain.served):,} needed: {twice:,} again; "
            f"the caches count {sent:,} sent for {asked:,}: {sent / asked:.4f}"
        )
        print("\n".join(samples.table()))
        for message, count in said.most_common():
            print(f"{count:4} {message}")
        print(f"{len(left)} files, {len(different)} differ {different[:5]}", flush=True)
    sys.exit(bool(set(different) - ATTEMPTS) or said["TRACEBACK"] > 0)


if __name__ == "__main__":
    main()
