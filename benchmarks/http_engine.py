"""How fast clients ask one server, side by side: ``python benchmarks/http_engine.py``.

A server of ours answers any number of requests after 50 ms. Each client is a process of its own; a second run of it
with one request takes its start-up off. Requests a second are counted by the server, from the first request's arrival
to the last answer.

    --client datatrove=/path/to/python    adds a client, run by an interpreter that has it
    --judge                               judges answers, against the engine alone with the same requests
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = {
    "bare": ("bare.py",),
    "engine": ("ours.py", "engine"),
    "ours": ("ours.py",),
    "judge's requests": ("judge.py", "engine"),
    "judge": ("judge.py",),
    "datatrove": ("datatrove_runner.py",),
    "distilabel": ("distilabel_llm.py",),
    "curator": ("curator_llm.py",),
}


@dataclass(frozen=True)
class Measured:
    per_second: float
    cpu: float


def run(client: str, python: str, requests: int, concurrency: int, latency: float) -> tuple[float, float]:
    """Seconds between the first request and the last answer, and CPU seconds of the client's processes."""
    server = subprocess.Popen(
        [sys.executable, str(HERE.parent / "tests/engines/served.py"), "--latency", str(latency)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        script, *more = SCRIPTS[client]
        command = [python, str(HERE / "http_clients" / script), f"{url}/v1", str(requests), str(concurrency), *more]
        with tempfile.TemporaryFile("w+") as error:
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=error)
            # What the client and the processes it waited for used, the server not among them.
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            error.seek(0)
            if child.returncode:
                sys.exit(f"{client} failed:\n{error.read()[-3000:]}")
        with urllib.request.urlopen(f"{url}/asked") as answer:
            seconds = json.load(answer)["seconds"]
    finally:
        server.kill()
        server.wait()
    return seconds, used.ru_utime + used.ru_stime


def measured(client: str, python: str, requests: int, concurrency: int, latency: float) -> Measured:
    _, start = run(client, python, 1, concurrency, latency)
    seconds, whole = run(client, python, requests, concurrency, latency)
    return Measured(requests / seconds, (whole - start) / requests * 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--client", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--judge", action="store_true")
    given = parser.parse_args()
    names = ["judge's requests", "judge"] if given.judge else ["bare", "engine", "ours"]
    clients = dict.fromkeys(names, sys.executable)
    clients |= dict(entry.split("=", 1) for entry in given.client)
    found: dict[str, list[Measured]] = {client: [] for client in clients}
    for number in range(given.repeats):
        # The order turns round, so that no client always has the machine at its calmest.
        for client in list(clients)[:: 1 if number % 2 else -1]:
            found[client].append(measured(client, clients[client], given.requests, given.concurrency, given.latency))
            print(f"{number} {client}: {found[client][-1]}", file=sys.stderr, flush=True)
    bare = statistics.median(m.per_second for m in found[names[0]])
    print(
        f"{given.requests} requests, {given.concurrency} at once, {given.latency * 1000:g} ms, {given.repeats} repeats"
    )
    print(f"| client | requests/s | of {names[0]} | CPU s / 1,000 requests |\n|---|---|---|---|")
    for client, runs in found.items():
        rate = statistics.median(m.per_second for m in runs)
        print(f"| {client} | {rate:.0f} | {rate / bare:.3f} | {statistics.median(m.cpu for m in runs):.2f} |")


if __name__ == "__main__":
    main()
