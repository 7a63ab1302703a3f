"""Seconds until ``x-instruction --help`` has answered and ``import x_instruction`` is done, medians of whole processes.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

RUNS = 15


def median(line: list[str]) -> float:
    found = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])


if __name__ == "__main__":
    print(f"python -c pass              {median([sys.executable, '-c', 'pass']):.3f} s")
    print(f"import x_instruction        {median([sys.executable, '-c', 'import x_instruction']):.3f} s")
    print(f"x-instruction --help        {median([sys.executable, '-m', 'x_instruction', '--help']):.3f} s")
