"""A tuning from outside: its folder, its processes, and the model at its place once it is whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from x_instruction import recipe
from x_instruction.engines.devices import gpus
from x_instruction.errors import TuningError, rebuilt
from x_instruction.shards import atomic
from x_instruction.tuning.job import Job, Lesson, Tuned, write_lessons


def launch(
    job: Job,
    lessons: Sequence[Lesson],
    target: Path,
    finish: Callable[[Path, Tuned], None] = lambda folder, tuned: None,
) -> Tuned:
    """Tune, and put the model at ``target``.

    The work stands beside it under a name with a dot until the model is whole, so a target that exists is complete;
    killed at any moment, the same call goes on from the last checkpoint.

    Args:
        job: what to do; kept checkpoints of another job are thrown away.
        lessons: the rows.
        target: the model's folder; must not be there.
        finish: may add files to the model before it appears.

    Raises:
        TuningError: it failed; the message says why.
    """
    if target.exists():
        raise TuningError(f"{target} is there already: name another folder, or remove it")
    folder = target.with_name(f".{target.name}.tuning")
    folder.mkdir(parents=True, exist_ok=True)
    write_lessons(folder / "lessons.jsonl.new", lessons)
    described = recipe.dumps(job)
    if not _same(folder, described):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        (folder / "seconds").unlink(missing_ok=True)
        (folder / "tuned.json").unlink(missing_ok=True)
    os.replace(folder / "lessons.jsonl.new", folder / "lessons.jsonl")
    with atomic(folder / "job.json") as stream:
        stream.write(described.encode())
    if not (folder / "tuned.json").exists():
        _perform(folder, job)
    table = json.loads((folder / "tuned.json").read_text("utf-8"))
    tuned = Tuned(**table)
    finish(folder / "model", tuned)
    os.replace(folder / "model", target)
    shutil.rmtree(folder)
    return tuned


def _same(folder: Path, described: str) -> bool:
    """Whether what the folder holds was begun by this job on these rows."""
    try:
        before = (folder / "job.json").read_text("utf-8"), (folder / "lessons.jsonl").read_bytes()
    except OSError:
        return False
    return before == (described, (folder / "lessons.jsonl.new").read_bytes())


def _perform(folder: Path, job: Job) -> None:
    for name in ("failed.json", "model"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    processes = job.tune.processes or (1 if job.tune.device == "cpu" else max(1, len(gpus())))
    line = [sys.executable, "-m", "x_instruction.tuning.supervised", str(folder)]
    if processes > 1:
        alike = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        line[1:2] = ["-m", "accelerate.commands.launch", "--num_processes", str(processes), *alike, "-m"]
    # Weights and rows are here, and a tokenizer's threads would quarrel with torch's.
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    with open(folder / "log.txt", "ab") as log:
        ended = subprocess.run(line, env=environment, stdout=log, stderr=log, check=False)
    if ended.returncode == 0:
        return
    failed = folder / "failed.json"
    if failed.exists():
        kind, message = json.loads(failed.read_text("utf-8"))
        raise rebuilt(kind, message)
    killed = (
        " (killed, often for lack of memory: lower device_batch_size or max_tokens)" if ended.returncode == -9 else ""
    )
    last = (folder / "log.txt").read_text("utf-8", "replace").strip().splitlines()[-1:]
    raise TuningError(
        f"tuning ended with exit code {ended.returncode}{killed}: {' '.join(last)[:300]}; all that it said is in "
        f"{folder / 'log.txt'}, and the same command goes on from its last checkpoint"
    )
