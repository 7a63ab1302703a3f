"""Flip bits in every kind of file of a finished run; each flip must be noticed when the file is read, or be harmless.

python benchmarks/bit_flips.py [--flips 2100] [--seed 0]

A small run is made with a scripted server, and built. A flip is noticed if reading raises an error of this project,
harmless if the file reads as before, and silent if it reads as something else. Any other exception ends the benchmark.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from engines.openai_server import OpenAIServer, write_recipe

from x_instruction.api import build
from x_instruction.builders.manifest import MANIFEST
from x_instruction.config import recipe
from x_instruction.engines import Engine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import ShardError, XInstructionError
from x_instruction.hub.dataset_folder import check_folder
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.progress import NullProgress
from x_instruction.pipeline.rounds import stages
from x_instruction.storage.run_folder import RunFolder

Read = Callable[[], object]


def readers(run: RunFolder, settings: recipe.Recipe, dataset: Path) -> Iterable[tuple[str, Path, Read]]:
    """Kind, file and what is read from it, for each file of the run."""
    root = run.root
    for stage in stages(settings):
        for language in run.languages(stage):
            yield (
                "number of shards",
                root / stage.path / language / "index.json",
                lambda s=stage, n=language: RunFolder(root).count(s, n),
            )
            for key in run.shards(stage, language):
                yield "shard", run.path(key), lambda k=key: list(RunFolder(root).read(k))
                dropped = run.path(key, ".dropped.parquet")
                if dropped.exists():
                    yield "dropped rows", dropped, lambda k=key: list(RunFolder(root).dropped(k))
                yield "report", run.path(key, ".report.json"), lambda k=key: RunFolder(root).report(k).as_json()
                if (cache := run.cache(key)).exists():
                    yield "request cache", cache, partial(answers, cache, keys_of(cache))
    yield "recipe", root / "recipe.json", lambda: recipe.of_run(root, RunFolder(root).read_file("recipe.json"))
    yield "layout", root / "run.json", lambda: RunFolder(root).is_preview
    for path in sorted(dataset.rglob("*")):
        if path.is_file():
            kind = "manifest of a data set" if path.name == MANIFEST else "other files of a data set"
            yield kind, path, lambda: check_folder(dataset).manifest


@dataclasses.dataclass
class Model:
    """Names the model of a request cache; nothing is asked."""

    model: str = ""
    revision: str = ""


def keys_of(path: Path) -> list[str]:
    """The keys of the answers of a request cache."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        return [key for (key,) in file.execute("SELECT key FROM answers ORDER BY key")]


def answers(path: Path, keys: list[str]) -> list[object]:
    """What a request cache answers, of a copy: opening it writes.

    Raises:
        ShardError: an answer is asked for again.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, folder))
        with RequestCache(copy, cast(Engine, Model()), {}) as cache:
            try:
                found = [cache.lookup(key) for key in keys]
            except sqlite3.Error as error:
                # As ``ask`` does.
                raise ShardError(f"cannot read {path}: {error}") from error
    if None in found:
        raise ShardError(f"{found.count(None)} answers are asked for again")
    return list(found)


def flip(path: Path, bit: int, read: Read, before: object) -> str:
    """What comes of a flipped bit."""
    data = path.read_bytes()
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    try:
        if read() == before:
            return "harmless"
        sys.stderr.write(f"silent: bit {bit % 8} of {bytes(data[max(0, bit // 8 - 30) : bit // 8 + 20])!r} in {path}\n")
        return "silent"
    except XInstructionError:
        return "noticed"
    finally:
        path.write_bytes(data)


def main() -> None:
    """Flip bits and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=2_100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as folder, OpenAIServer() as server:
        settings = recipe.load(write_recipe(Path(folder) / "recipe.toml", server.url))
        run = execute(settings, Path(folder) / "run", 1, False, "curated", NullProgress())
        build(run.root)
        files = defaultdict(list)
        for kind, path, read in readers(run, settings, run.root / "dataset"):
            files[kind].append((path, read, read()))
        kinds = sorted(files)
        for number in range(options.flips):
            kind = kinds[number % len(kinds)]
            path, read, before = chance.choice(files[kind])
            found[kind][flip(path, chance.randrange(8 * path.stat().st_size), read, before)] += 1
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
