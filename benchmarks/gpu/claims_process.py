"""One task of the part ``claims``, in a process of its own.

    claims_process.py EXPERIMENT SEEDS SETTINGS    make the parts of an experiment with these seeds
    claims_process.py results SEEDS SETTINGS       write the figures of all parts that are there

Processes share a folder. A lock for each part and each training keeps two from the same work.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from x_instruction import hashing
from x_instruction.config.model import Model
from x_instruction.config.training import Align, TrainConfig
from x_instruction.errors import XInstructionError
from x_instruction.experiments.claims import design, parts, pool, run
from x_instruction.experiments.claims.lab import Lab
from x_instruction.training.job import TrainingExample

# Steps between checkpoints, which a run of minutes does not need.
_NEVER = 1_000_000
# The embedded model with its vocabulary cut: the rater's adapter fits it.
_CUT = "gemma-3-270m-pruned-"
PROFILES = {False: "gpu", True: "small"}


def designed(model: str, small: bool) -> design.Design:
    """The design that ships, with a base model.

    Args:
        model: a name or a folder.
        small: two experiments with one seed.
    """
    shipped = design.load()
    if small:
        sizes = shipped.sizes("small").replace(seeds=(0,), experiments=("raters", "language"))
        shipped = shipped.replace(profiles=shipped.profiles | {"small": sizes})
    if model == shipped.model:
        return shipped
    return (shipped if _CUT in model else shipped.with_model(model)).replace(model=model, prune=False)


def check(given: dict[str, Any]) -> None:
    """Refuse a pool that cannot be used, before any work.

    Raises:
        CorpusError: it cannot be read, or its documents have no titles.
    """
    pool.read(_pool(given))


def write_pool(file: Path, sizes: dict[str, int]) -> None:
    """Write the first documents of languages, in the pool that ships."""
    left = dict(sizes)
    lines = []
    for document in pool.read():
        if left.get(document.language, 0):
            left[document.language] -= 1
            lines.append(json.dumps(asdict(document), ensure_ascii=False) + "\n")
    file.write_text("".join(lines), "utf-8")


def _pool(given: dict[str, Any]) -> Path | None:
    return Path(given["pool"]) if given["pool"] else None


def tasks(model: str, small: bool) -> list[tuple[str, tuple[int, ...]]]:
    """The experiments of the design in order, each with one of its seeds."""
    sizes = designed(model, small).sizes(PROFILES[small])
    found = []
    for name in sizes.experiments:
        # Some experiments train fewer seeds than the design has, and raters are not trained.
        number = 1 if name == "raters" else getattr(run.experiment(name), "SEEDS", len(sizes.seeds))
        found += [(name, (seed,)) for seed in sizes.seeds[:number]]
    return found


class SharedLab(Lab):
    """A lab in a folder and on a GPU that several processes share."""

    @cached_property
    def base(self) -> Model:
        # Continuous batches would take nearly all free memory.
        return super().base.replace(batching="static")

    def train(
        self, base: Model, train: TrainConfig, examples: Sequence[TrainingExample], align: Align | None = None
    ) -> Model:
        key = hashing.digest([str(base), train.seed, train.steps, [asdict(example) for example in examples]])
        self.close()
        with locked(self.folder / "locks" / key[:16]):
            return super().train(base, train.replace(save_steps=_NEVER), examples, align)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Wait until no other process has this lock. It ends with its process."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def make(name: str, seeds: Sequence[int], given: dict[str, Any]) -> dict[str, str]:
    """Make the parts of an experiment; returns those that failed, and why."""
    folder, profile = Path(given["folder"]), PROFILES[given["small"]]
    whole = designed(given["model"], given["small"])
    own = whole.replace(profiles=whole.profiles | {profile: whole.sizes(profile).replace(seeds=tuple(seeds))})
    lab = SharedLab(own, profile, folder, _pool(given), given["device"], _say)
    deadline = time.monotonic() + given["seconds"]
    left: dict[str, str] = {}
    try:
        for part in run.experiment(name).parts(lab):
            with locked(folder / "locks" / part.name.replace("/", "-")):
                parts.make(folder, [part], deadline, _say, left)
    except XInstructionError as error:
        return {name: str(error)}
    return {part: why for part, why in left.items() if parts.path(folder, part).with_suffix(".failed").exists()}


def results(given: dict[str, Any]) -> None:
    """Write the figures of what is there, and an archive of it."""
    folder, out = Path(given["folder"]), Path(given["out"])
    run.run(
        designed(given["model"], given["small"]),
        PROFILES[given["small"]],
        folder,
        documents=_pool(given),
        device="cpu",
        seconds=0.0,
    )
    out.mkdir(parents=True, exist_ok=True)
    for file in (run.RESULTS, run.REPORT):
        shutil.copy(folder / file, out)
    if (folder / "parts").is_dir():
        shutil.make_archive(str(out / "parts"), "gztar", folder, "parts")


def _say(line: str) -> None:
    print(line, flush=True)


def main(name: str, seeds: str, settings: str) -> int:
    given = json.loads(settings)
    if name == "results":
        results(given)
        return 0
    failed = make(name, json.loads(seeds), given)
    for part, why in failed.items():
        _say(f"{part}: {why}")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:4]))
