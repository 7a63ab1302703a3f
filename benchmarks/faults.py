"""What a wire that fails costs: ``python benchmarks/faults.py``.

Two thousand requests through a proxy that drops, stalls (one second, which is the time-out), refuses, truncates or
closes one in ten, and the same through it without faults. A request's time runs from when it is started to its result,
all tries and pauses included; the server takes 50 ms.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from x_instruction.config.model import Model, Server
from x_instruction.engines import Completion, Failed, Request, Result, always
from x_instruction.engines.remote.openai import OpenAIEngine

HERE = Path(__file__).parent.parent / "tests" / "engines"


def start(*command: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def measure(rate: float, requests: int, concurrency: int, latency: float) -> str:
    server, port = start(str(HERE / "served.py"), "--latency", str(latency))
    proxy, proxy_port = start(str(HERE / "faulty.py"), "--upstream", str(port), "--rate", str(rate))
    try:
        url = f"http://127.0.0.1:{proxy_port}"
        settings = Server(url=url, timeout=1.0, concurrency=concurrency)
        engine = OpenAIEngine(Model(name="m", engine="openai", server=settings))
        times: list[float] = []

        async def timed(request: Request) -> Result:
            begun = time.monotonic()
            try:
                return await engine._answer(request)
            finally:
                times.append(time.monotonic() - begun)

        started = time.monotonic()
        asked: list[Request] = [Completion(f"p {n}", 8) for n in range(requests)]
        found = dict(engine.client.answer_all(asked, timed, always))
        seconds = time.monotonic() - started
    finally:
        for process in (proxy, server):
            process.kill()
            process.wait()
    assert len(found) == requests
    failed = Counter(result.reason for result in found.values() if isinstance(result, Failed))
    over = sorted((took - latency) * 1000 for took in times)
    half, late = over[len(over) // 2], over[int(len(over) * 0.99)]
    counts = engine.client.counts
    return (
        f"| {rate:.0%} | {requests / seconds:.0f} | {half:.0f} ms | {late:.0f} ms | {counts.retried} | "
        f"{requests - sum(failed.values())} | {dict(failed) or 0} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.05)
    given = parser.parse_args()
    print("| faults | requests/s | median over latency | p99 over latency | tried again | done | failed |")
    print("|---|---|---|---|---|---|---|")
    for rate in (0.0, 0.1):
        print(measure(rate, given.requests, given.concurrency, given.latency), flush=True)


if __name__ == "__main__":
    main()
