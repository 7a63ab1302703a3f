"""Run training in processes of its own, and move the finished model to its folder."""

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
from x_instruction.training.job import (
    EXAMPLES,
    PARENT_PID,
    RESULT,
    TrainingExample,
    TrainJob,
    TrainResult,
    fingerprint,
    write_examples,
)

logger = logging.getLogger(__name__)

# Environment variables that would change the training: those of another distributed job, and accelerate's settings.
_FOREIGN = re.compile(
    r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|"
    r"(TORCHELASTIC|OMPI_COMM_WORLD|MV2_COMM_WORLD|PMI|ACCELERATE|FSDP)_.*"
)
# The last line of a Python traceback, with the prefix that torchrun adds.
_ERROR = re.compile(r"(\[rank\d+\]: ?)?(?!.*ChildFailedError)[\w.]*(Error|Exception)\b")
_KILLED = re.compile(r"exitcode *: -9\b")


def launch(
    job: TrainJob,
    examples: Sequence[TrainingExample],
    target: Path,
    finish: Callable[[Path, TrainResult], None] = lambda folder, result: None,
) -> TrainResult:
    """Train a model and write it to ``target``.

    Training works in a hidden folder beside the target, and moves the model at the end. So a target that exists is
    complete, and after an interruption the same call resumes from the last checkpoint.

    Args:
        job: the settings. Checkpoints of a job with other weights as its result (``job.fingerprint``) are deleted.
        examples: the rows.
        target: the model's folder; must not exist.
        finish: called with the folder of the trained model before it is moved, to add files.

    Raises:
        TrainingError: training failed; the message says why.
    """
    if target.exists():
        raise TrainingError(f"{target} exists already: name another folder, or remove it")
    _warn_of_another_base(job)
    folder = target.with_name(f".{target.name}.training")
    folder.mkdir(parents=True, exist_ok=True)
    # Under another name first: ``_same`` compares them with the examples of the last attempt.
    new_examples = folder / f"{EXAMPLES}.new"
    write_examples(new_examples, examples)
    if not _same(folder, job):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        (folder / "seconds").unlink(missing_ok=True)
        (folder / RESULT).unlink(missing_ok=True)
    os.replace(new_examples, folder / EXAMPLES)
    with atomic(folder / "job.json") as stream:
        stream.write(dumps(job).encode())
    # There can be a result without a model: after an interruption between the last two steps here, if the target was
    # removed later.
    if not (folder / RESULT).exists() or not (folder / "model").is_dir():
        _run(folder, job)
    result = TrainResult(**json.loads((folder / RESULT).read_text("utf-8")))
    finish(folder / "model", result)
    os.replace(folder / "model", target)
    shutil.rmtree(folder)
    return result


def _same(folder: Path, job: TrainJob) -> bool:
    """Whether the folder has an earlier attempt at the same job with the same examples."""
    try:
        before = loads(TrainJob, (folder / "job.json").read_text("utf-8"))
        examples = (folder / EXAMPLES).read_bytes()
    except (OSError, ValueError, XInstructionError):
        return False
    return fingerprint(before) == fingerprint(job) and examples == (folder / f"{EXAMPLES}.new").read_bytes()


def _run(folder: Path, job: TrainJob) -> None:
    for name in ("failed.json", RESULT, "model"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    processes = _processes(job.train)
    command = _command(folder, job.train, processes)
    with open(folder / "log.txt", "ab") as log:
        begin = log.tell()
        process = subprocess.run(command, env=_environment(job.train, processes), stdout=log, stderr=log, check=False)
    if process.returncode == 0:
        return
    failed = folder / "failed.json"
    if failed.exists():
        name, message = json.loads(failed.read_text("utf-8"))
        raise rebuild_error(name, message)
    lines = (folder / "log.txt").read_bytes()[begin:].decode("utf-8", "replace").strip().splitlines()
    was_killed = process.returncode == -9 or any(_KILLED.search(line) for line in lines)
    killed = (
        " (killed, often for lack of memory: lower train.device_batch_size, or train.max_tokens, which restarts the "
        "training)"
        if was_killed
        else ""
    )
    # accelerate prints a summary of its own after the error.
    last = ([line for line in lines if _ERROR.match(line)] or lines)[-1:]
    raise TrainingError(
        f"training ended with exit code {process.returncode}{killed}: {' '.join(last)[:300]}; the full output is in "
        f"{folder / 'log.txt'}, and the same command resumes from the last checkpoint"
    )


def _processes(settings: TrainConfig) -> int:
    """The number of training processes.

    Raises:
        TrainingError: there are not enough GPUs.
    """
    if settings.device == "cpu":
        return settings.processes or 1
    visible = len(gpus())
    if settings.processes and settings.processes > visible > 0:
        raise TrainingError(
            f"train.processes is {settings.processes} and {visible} GPUs are visible, expected one GPU per process: "
            f"set it to {visible} or less"
        )
    return settings.processes or max(1, visible)


def _command(folder: Path, settings: TrainConfig, processes: int) -> list[str]:
    """The command line of the worker, under accelerate if there are several processes."""
    work = ["-m", "x_instruction.training.worker", str(folder)]
    if processes == 1:
        return [sys.executable, *work]
    # accelerate reads every option that is missing here from the file of `accelerate config`, so all are given.
    own = folder / "accelerate.json"
    table = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",
        "mixed_precision": "no",
        "use_cpu": settings.device == "cpu",
        "debug": False,
    }
    own.write_text(json.dumps(table), "utf-8")
    # `--multi_gpu` also starts several processes on a CPU; with `--cpu`, or without either, accelerate starts one.
    options = ["--multi_gpu", "--num_machines", "1", "--machine_rank", "0", "--num_processes", str(processes)]
    options += ["--gpu_ids", "all", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(own), *options, *work]


def _environment(settings: TrainConfig, processes: int) -> dict[str, str]:
    """The environment of the training processes: their GPUs, and the parent to end with."""
    environment = {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}
    # A tokenizer's threads would compete with torch's, and tokenization is fast anyway.
    environment |= {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1", PARENT_PID: str(os.getpid())}
    # Files of the working folder, such as a datasets.py, are not imported in place of packages.
    environment["PYTHONSAFEPATH"] = "1"
    if settings.device != "cpu" and (visible := gpus()):
        # With several GPUs visible, a single process would use DataParallel and multiply the batch size.
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible[:processes])
    return environment


def _warn_of_another_base(job: TrainJob) -> None:
    """Warn if an adapter was made for another base model. It would load anyway if the shapes are equal."""
    if not job.model.adapter:
        return
    try:
        table = json.loads((locate(job.model.adapter).folder / "adapter_config.json").read_text("utf-8"))
        made_for = table.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError):
        return
    base = hub_id_and_form(locate(job.model.name, job.model.revision).name)[0]
    if _on_the_hub(made_for) and _on_the_hub(base) and made_for.casefold() != base.casefold():
        logger.warning(
            f"adapter {without_folder(job.model.adapter)} was made for {made_for} and is trained further on {base}: it "
            "is useless unless both have the same weights"
        )


def _on_the_hub(name: Any) -> bool:
    """Whether a name looks like the id of a model on the Hub."""
    return isinstance(name, str) and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) is not None and not Path(name).is_dir()
