"""CPU time of ``build`` against what pyarrow needs to write the same files.

python benchmarks/build.py [--rows 2000 10000] [--repeats 2] [--before CHECKOUT]

Runs of ten languages are made with synthetic text of the original's lengths (``release.py``). Each figure is of a
process of its own; the three kinds alternate, and the least of each counts. A process builds twice. The first time it
imports; the second times of two sizes tell what a row takes from what every build takes: the cards, and opening each
config with ``datasets``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from release import LENGTHS, make_run

from x_instruction.api import read_run
from x_instruction.builders.manifest import MANIFEST
from x_instruction.config.section import dumps

# The rows are in memory before the clock starts, and each file is written as ``build`` writes it.
PYARROW = """
import io, sys, time
from pathlib import Path
import pyarrow.parquet as pq
spent = 0.0
for path in 2 * sorted(Path(sys.argv[1]).rglob("*.parquet")):
    with pq.ParquetFile(path) as file:
        groups = [file.read_row_group(number).combine_chunks() for number in range(file.num_row_groups)]
    began = time.process_time()
    with open(sys.argv[2], "wb") as out:
        with pq.ParquetWriter(out, groups[0].schema, compression="zstd", write_page_index=True) as writer:
            for group in groups:
                writer.write_table(group)
    spent += time.process_time() - began
    assert Path(sys.argv[2]).read_bytes() == path.read_bytes()
print(spent / 2, spent / 2)
"""
BUILD = """
import sys, time
from pathlib import Path
from x_instruction.api import read_run
from x_instruction.builders.layout import build
from x_instruction.storage.location import open_run
for number in range(2):
    began = time.process_time() * number
    build(open_run(sys.argv[1]), read_run(sys.argv[1]), Path(sys.argv[2]))
    print(time.process_time() - began)
"""


def seconds(python: Path, script: str, *arguments: Path) -> list[float]:
    """CPU times that a script prints, in seconds: the first one and the second one."""
    command = [str(python), "-c", script, *map(str, arguments)]
    # A folder without a package of this name, so that each checkout imports its own.
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=arguments[0])
    return list(map(float, done.stdout.split()))


def contents(folder: Path) -> dict[str, object]:
    """Content of the files of a data set, in the manifest without digests of rows, which earlier versions made in
    another way.
    """
    files: dict[str, object] = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    return files | {MANIFEST: without_rows(json.loads((folder / MANIFEST).read_bytes()))}


def without_rows(value: object) -> object:
    """A part of a manifest without digests of rows, and without the checksum over them."""
    if isinstance(value, dict):
        return {key: without_rows(one) for key, one in value.items() if key not in {"content", "checksum"}}
    return [without_rows(one) for one in value] if isinstance(value, list) else value


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs=2, default=(2_000, 10_000), help="of each language")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version, with its .venv")
    options = parser.parse_args()
    pythons = {"build": Path(sys.executable)}
    if options.before:
        pythons["build, before"] = options.before.resolve() / ".venv" / "bin" / "python"
    least: defaultdict[str, dict[int, list[float]]] = defaultdict(dict)
    with tempfile.TemporaryDirectory() as place:
        for rows in options.rows:
            run = Path(place) / str(rows)
            make_run(run, rows)
            # As earlier versions read it.
            (run / "recipe.json").write_text(dumps(read_run(run)), "utf-8")
            for _ in range(options.repeats):
                for name, python in pythons.items():
                    spent = seconds(python, BUILD, run, run / name)
                    least[name][rows] = list(map(min, spent, least[name].get(rows, spent)))
                spent = seconds(Path(sys.executable), PYARROW, run / "build", run / "file")
                least["pyarrow"][rows] = list(map(min, spent, least["pyarrow"].get(rows, spent)))
            if options.before:
                equal = contents(run / "build") == contents(run / "build, before")
                sys.stdout.write(f"{rows * len(LENGTHS):,} rows: the files are {'equal' if equal else 'different'}\n")
                sys.stdout.flush()
    small, large = options.rows
    added = {
        name: (found[large][1] - found[small][1]) / (large - small) / len(LENGTHS) for name, found in least.items()
    }
    for name, found in least.items():
        sys.stdout.write(
            f"| {name} | {found[small][0]:.2f} s | {found[large][0]:.2f} s | {1e6 * added[name]:.0f} µs | "
            f"{added[name] / added['pyarrow']:.1f} |\n"
        )
    sys.stdout.write(f"build: {1 / added['build']:,.0f} rows a second\n")


if __name__ == "__main__":
    main()
