"""A tuning from outside: its folder, its processes, and the model at its place once it is whole."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from x_instruction.config.section import dumps, loads, without_folder
from x_instruction.config.training import TrainConfig
from x_instruction.engines.embedded import hub_id_and_form
from x_instruction.engines.local.devices import gpus
from x_instruction.engines.models import locate
from x_instruction.errors import TrainingError, XInstructionError, rebuild_error
from x_instruction.storage.atomic import atomic
from x_instruction.training.job import ASKED_BY, TrainingExample, TrainJob, TrainResult, fingerprint, write_examples

logger = logging.getLogger(__name__)

# What a shell may carry that would decide a tuning: places in somebody else's processes, and accelerate's settings.
_FOREIGN = re.compile(
    r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|"
    r"(TORCHELASTIC|OMPI_COMM_WORLD|MV2_COMM_WORLD|PMI|ACCELERATE|FSDP)_.*"
)
_ERROR = re.compile(r"(\[rank\d+\]: ?)?(?!.*ChildFailedError)[\w.]*(Error|Exception)\b")
_KILLED = re.compile(r"exitcode *: -9\b")


def launch(
    job: TrainJob,
    lessons: Sequence[TrainingExample],
    target: Path,
    finish: Callable[[Path, TrainResult], None] = lambda folder, tuned: None,
) -> TrainResult:
    """Tune, and put the model at ``target``.

    The work stands beside it under a name with a dot until the model is whole, so a target that exists is complete;
    killed at any moment, the same call goes on from the last checkpoint.

    Args:
        job: what to do; kept checkpoints of a job that comes to another model are thrown away (``job.fingerprint``).
        lessons: the rows.
        target: the model's folder; must not be there.
        finish: may add files to the model before it appears.

    Raises:
        TuningError: it failed; the message says why.
    """
    if target.exists():
        raise TrainingError(f"{target} is there already: name another folder, or remove it")
    _warn_of_another_base(job)
    folder = target.with_name(f".{target.name}.tuning")
    folder.mkdir(parents=True, exist_ok=True)
    write_examples(folder / "lessons.jsonl.new", lessons)
    if not _same(folder, job):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        (folder / "seconds").unlink(missing_ok=True)
        (folder / "tuned.json").unlink(missing_ok=True)
    os.replace(folder / "lessons.jsonl.new", folder / "lessons.jsonl")
    with atomic(folder / "job.json") as stream:
        stream.write(dumps(job).encode())
    # The model is missing where it came to its place, the rest of the folder stayed, and it was removed there.
    if not (folder / "tuned.json").exists() or not (folder / "model").is_dir():
        _perform(folder, job)
    table = json.loads((folder / "tuned.json").read_text("utf-8"))
    tuned = TrainResult(**table)
    finish(folder / "model", tuned)
    os.replace(folder / "model", target)
    shutil.rmtree(folder)
    return tuned


def _same(folder: Path, job: TrainJob) -> bool:
    """Whether what the folder holds comes to what this job comes to, on these rows."""
    try:
        before = loads(TrainJob, (folder / "job.json").read_text("utf-8"))
        same = fingerprint(before) == fingerprint(job)
        rows = (folder / "lessons.jsonl").read_bytes()
    except (OSError, ValueError, XInstructionError):
        return False
    return same and rows == (folder / "lessons.jsonl.new").read_bytes()


def _perform(folder: Path, job: TrainJob) -> None:
    for name in ("failed.json", "tuned.json", "model"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    processes = _processes(job.train)
    line = _line(folder, job.train, processes)
    with open(folder / "log.txt", "ab") as log:
        begin = log.tell()
        ended = subprocess.run(line, env=_environment(job.train, processes), stdout=log, stderr=log, check=False)
    if ended.returncode == 0:
        return
    failed = folder / "failed.json"
    if failed.exists():
        kind, message = json.loads(failed.read_text("utf-8"))
        raise rebuild_error(kind, message)
    said = (folder / "log.txt").read_bytes()[begin:].decode("utf-8", "replace").strip().splitlines()
    was_killed = ended.returncode == -9 or any(_KILLED.search(text) for text in said)
    killed = (
        " (killed, often for lack of memory: lower device_batch_size, or max_tokens, with which it begins anew)"
        if was_killed
        else ""
    )
    # accelerate ends with a table of its own, behind what went wrong.
    last = ([text for text in said if _ERROR.match(text)] or said)[-1:]
    raise TrainingError(
        f"tuning ended with exit code {ended.returncode}{killed}: {' '.join(last)[:300]}; all that it said is in "
        f"{folder / 'log.txt'}, and the same command goes on from its last checkpoint"
    )


def _processes(settings: TrainConfig) -> int:
    """How many processes share the work.

    Raises:
        TuningError: they are to be more than there are GPUs.
    """
    if settings.device == "cpu":
        return settings.processes or 1
    seen = len(gpus())
    if settings.processes and settings.processes > seen > 0:
        raise TrainingError(
            f"train.processes is {settings.processes}, each has a GPU of its own, and {seen} can be seen: "
            f"set it to {seen} or less"
        )
    return settings.processes or max(1, seen)


def _line(folder: Path, settings: TrainConfig, processes: int) -> list[str]:
    """The command; with several processes everything that accelerate would read from somebody's own file is said."""
    work = ["-m", "x_instruction.training.worker", str(folder)]
    if processes == 1:
        return [sys.executable, *work]
    # Whatever is not said on its command line would come from the file that `accelerate config` wrote.
    own = folder / "accelerate.json"
    table = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",
        "mixed_precision": "no",
        "use_cpu": settings.device == "cpu",
        "debug": False,
    }
    own.write_text(json.dumps(table), "utf-8")
    # `--multi_gpu` is its way to several processes on a CPU too: with `--cpu`, and without either, it begins one.
    said = ["--multi_gpu", "--num_machines", "1", "--machine_rank", "0", "--num_processes", str(processes)]
    said += ["--gpu_ids", "all", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(own), *said, *work]


def _environment(settings: TrainConfig, processes: int) -> dict[str, str]:
    """What the processes find around them: the GPUs that they use and no others, and whom they end with."""
    found = {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}
    # Weights and rows are here, and a tokenizer's threads would quarrel with torch's.
    found |= {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1", ASKED_BY: str(os.getpid())}
    if settings.device != "cpu" and (seen := gpus()):
        # One process that sees several would split every batch over them and take as many times more rows.
        found["CUDA_VISIBLE_DEVICES"] = ",".join(seen[:processes])
    return found


def _warn_of_another_base(job: TrainJob) -> None:
    """Tell of an adapter that says it was made for another model: where shapes agree, it loads on any."""
    if not job.model.adapter:
        return
    try:
        table = json.loads((locate(job.model.adapter).folder / "adapter_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return
    base = hub_id_and_form(locate(job.model.name, job.model.revision).name)[0]
    made_for = table.get("base_model_name_or_path")
    if _on_the_hub(made_for) and _on_the_hub(base) and made_for.casefold() != base.casefold():
        logger.warning(
            f"adapter {without_folder(job.model.adapter)} says that it was made for {made_for}, and it is tuned "
            f"on upon {base}: where these are not the same weights, it is worth nothing"
        )


def _on_the_hub(name: Any) -> bool:
    """Whether a name is that of a model on the Hub, as far as it can be seen."""
    return isinstance(name, str) and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) is not None and not Path(name).is_dir()
