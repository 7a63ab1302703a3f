"""Tuning in a process of its own: ``python -m x_instruction.training.worker FOLDER``, or under ``accelerate launch``.

TRL's SFTTrainer does the training. Ours are the rows (``reading``), that a killed tuning goes on from its last
checkpoint to the same weights, and that what cannot work is refused before hours are spent.

    FOLDER/job.json         what to do
    FOLDER/lessons.jsonl    the rows
    FOLDER/checkpoints/     removed by who asked, once the model is there
    FOLDER/model/           what came of it
    FOLDER/tuned.json       what happened, written last
    FOLDER/failed.json      or why not
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from x_instruction.config.section import loads, without_folder
from x_instruction.config.training import TrainConfig
from x_instruction.engines.embedded import hub_id_and_form
from x_instruction.engines.local.transformers import with_adapter
from x_instruction.engines.models import locate
from x_instruction.errors import MissingExtra, TrainingError, XInstructionError
from x_instruction.processes import end_with_parent
from x_instruction.storage.atomic import atomic
from x_instruction.training.afp import AlignmentTrainer, check_rows, columns
from x_instruction.training.job import ASKED_BY, TrainJob, TrainResult, read_examples
from x_instruction.training.tokenization import Reader
from x_instruction.training.trainer import OutputTrainer

try:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, PreTrainedModel, TrainerCallback
    from transformers.utils import logging as library_logging
    from trl import SFTConfig
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "trl", "train") from error

_SAMPLING = {"random": "random", "by_length": "group_by_length", "sequential": "sequential"}
SOFTWARE = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")


def tune(folder: Path) -> TrainResult:
    """Tune as ``job.json`` says, from the last checkpoint where there is one.

    Raises:
        TuningError: it cannot work, or the loss stopped being a number.
    """
    job = loads(TrainJob, (folder / "job.json").read_text("utf-8"))
    settings = job.train
    if settings.method == "full" and job.model.adapter:
        raise TrainingError(
            f"train.method is full, and model.adapter is {without_folder(job.model.adapter)}: the adapter alone "
            "would learn; merge it into its base and name what comes of it in model.name, or take lora"
        )
    device = _device(settings)
    if device == "cuda":
        # Before anything is loaded, or every process would begin on the first GPU.
        torch.cuda.set_device(_rank())
    if settings.log != "none" and find_spec(settings.log) is None:
        raise TrainingError(f"train.log is {settings.log}, which is not installed: pip install {settings.log}")
    if device == "cpu" and settings.threads:
        torch.set_num_threads(settings.threads)
    reader = Reader(job.model.name, job.model.revision)
    lessons = list(read_examples(folder / "lessons.jsonl"))
    read, lengths = reader.rows(lessons, settings.max_tokens, settings.length_percentile)
    rows = list(read.values())
    if job.align:
        check_rows(asdict(lesson) for lesson in lessons)
        for place, row in read.items():
            row |= columns(asdict(lessons[place]), reader.tokenizer, lengths.max_tokens)
    arguments = _arguments(folder, job, device, lengths.max_tokens, len(rows))
    if arguments.n_gpu > 1:
        raise TrainingError(
            f"one process sees {arguments.n_gpu} GPUs, and every batch would be {arguments.n_gpu} times as large: "
            "name one in CUDA_VISIBLE_DEVICES, or set train.processes"
        )
    network = _network(job, device)
    clock = _Clock(folder / "seconds")
    make = partial(AlignmentTrainer, align=job.align) if job.align else OutputTrainer
    trainer = make(
        model=network,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=reader.tokenizer,
        peft_config=_lora(settings) if settings.method != "full" and not job.model.adapter else None,
        callbacks=[clock, _Flow(), _Sane()],
    )
    begin = _last_checkpoint(folder / "checkpoints")
    with contextlib.suppress(_Done):
        trainer.train(resume_from_checkpoint=str(begin) if begin else None)
    _check_weights(trainer.model, trainer.state.global_step)
    losses = [(int(log["step"]), float(log["loss"])) for log in trainer.state.log_history if "loss" in log]
    tail = [loss for _, loss in losses[-max(1, len(losses) // 10) :]]
    tuned = TrainResult(
        rows=len(rows),
        lengths=asdict(lengths),
        steps=trainer.state.global_step,
        tokens=int(trainer.state.num_input_tokens_seen),
        seconds=clock.total(),
        loss=sum(tail) / max(1, len(tail)),
        losses=losses,
        parameters=sum(weight.numel() for weight in trainer.model.parameters()),
        trainable=sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad),
        flops=float(trainer.state.total_flos),
        hardware=_hardware(device, trainer.accelerator.num_processes),
        software={name: version(name) for name in SOFTWARE},
    )
    trainer.save_model(str(folder / "model"))
    if trainer.is_world_process_zero():
        _tidy(folder / "model", hub_id_and_form(reader.model)[0], settings.method)
        with atomic(folder / "tuned.json") as stream:
            stream.write(json.dumps(asdict(tuned), indent=1).encode())
    return tuned


def _device(settings: TrainConfig) -> str:
    if settings.device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if settings.device == "cuda":
        raise TrainingError("train.device is cuda, and no GPU can be used here: install torch for CUDA, or take cpu")
    if settings.method == "qlora":
        raise TrainingError("train.method is qlora, which needs a GPU, and none can be used here: take lora")
    return "cpu"


def _dtype(settings: TrainConfig, device: str) -> torch.dtype:
    if settings.dtype != "auto":
        named: torch.dtype = getattr(torch, settings.dtype)
        return named
    half = device == "cuda" and settings.method != "full" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if half else torch.float32


def _rank() -> int:
    """This process's number among those of the machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _loading(settings: TrainConfig, device: str) -> dict[str, Any]:
    """How the base is loaded."""
    options: dict[str, Any] = {"dtype": _dtype(settings, device)}
    if settings.method == "qlora":
        # Weights in four bits stay where they are loaded; all others the trainer takes to their GPU.
        options |= {"quantization_config": _four_bits(), "device_map": {"": _rank()}}
    return options


def _network(job: TrainJob, device: str) -> PreTrainedModel:
    files = locate(job.model.name, job.model.revision)
    options = _loading(job.train, device)
    library_logging.disable_progress_bar()
    try:
        network = AutoModelForCausalLM.from_pretrained(files.folder, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainingError(f"cannot load {job.model.name!r} to tune it: {reason}") from error
    if job.model.adapter:
        return with_adapter(network, job.model.adapter, job.model.name, trainable=True)
    _check_targets(network, job.train)
    return network


def _check_targets(network: PreTrainedModel, settings: TrainConfig) -> None:
    """Refuse names of layers that are not there, with those that are."""
    if settings.method == "full" or settings.target_modules == ("all-linear",):
        return
    linear = {name.split(".")[-1] for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)}
    if strange := sorted(set(settings.target_modules) - linear):
        raise TrainingError(
            f"train.target_modules names {strange[0]!r}, which is no layer of the model, wanted some of "
            f"{', '.join(sorted(linear))}, or all-linear"
        )


def _four_bits() -> Any:
    try:
        import bitsandbytes  # noqa: F401
        from transformers import BitsAndBytesConfig
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "bitsandbytes", "qlora") from error
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _lora(settings: TrainConfig) -> LoraConfig:
    whole = settings.target_modules == ("all-linear",)
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear" if whole else list(settings.target_modules),
        task_type="CAUSAL_LM",
    )


def _arguments(folder: Path, job: TrainJob, device: str, max_tokens: int, rows: int) -> SFTConfig:
    settings = job.train
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    at_once = min(settings.device_batch_size, max(1, settings.batch_size // processes))
    held = max(1, settings.batch_size // (at_once * processes))
    if at_once * processes * held != settings.batch_size:
        raise TrainingError(
            f"batch_size {settings.batch_size} is no multiple of {at_once} rows at once in {processes} processes"
        )
    # Without packing nothing below joins rows, so their number is known here.
    steps = settings.steps or max(1, math.ceil(settings.epochs * math.ceil(rows / settings.batch_size)))
    end: dict[str, Any] = {}
    name = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}[settings.schedule]
    if settings.min_lr_ratio and settings.schedule == "linear":
        name, end = "polynomial", {"lr_end": settings.learning_rate * settings.min_lr_ratio, "power": 1.0}
    elif settings.min_lr_ratio and settings.schedule == "cosine":
        name, end = "cosine_with_min_lr", {"min_lr_rate": settings.min_lr_ratio}
    mixed = device == "cuda" and settings.method == "full" and settings.dtype == "auto"
    return SFTConfig(
        output_dir=str(folder / "checkpoints"),
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=held,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=name,
        lr_scheduler_kwargs=end or None,
        warmup_steps=math.ceil(settings.warmup_ratio * steps) if not settings.packing else settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        num_train_epochs=settings.epochs,
        max_steps=settings.steps or -1,
        max_length=max_tokens,
        packing=settings.packing,
        train_sampling_strategy="random" if settings.packing else _SAMPLING[settings.sampling],
        **{_checkpointing(): settings.gradient_checkpointing},
        bf16=mixed and torch.cuda.is_bf16_supported(),
        use_cpu=device == "cpu",
        seed=settings.seed,
        data_seed=settings.seed,
        save_steps=settings.save_steps,
        save_total_limit=1,
        logging_steps=1 if steps <= 100 else 5,
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="non_padding",
        report_to=settings.log,
        disable_tqdm=not sys.stderr.isatty(),
    )


def _checkpointing() -> str:
    """The key's name, which newer versions of transformers have changed."""
    names = SFTConfig.__dataclass_fields__
    return "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"


class _Done(Exception):
    """The checkpoint that a tuning goes on from is its last one."""


class _Flow(TrainerCallback):  # type: ignore[misc]
    """What transformers does otherwise when it goes on from a checkpoint, and the log of the last steps."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step >= state.max_steps:
            # It would make one step more before it looks whether there is one to make.
            raise _Done
        # A checkpoint brings its own intervals, and these may have been changed since.
        state.compute_steps(args, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        control.should_log |= state.global_step >= state.max_steps


def _check_weights(network: torch.nn.Module, step: int) -> None:
    """Refuse weights that are no numbers: the loss of a step is of those before it, and tells nothing of the last."""
    for name, weight in network.named_parameters():
        if weight.requires_grad and not bool(torch.isfinite(weight).all()):
            raise TrainingError(f"{name} is no number at step {step}: lower learning_rate, or take another dtype")


class _Sane(TrainerCallback):  # type: ignore[misc]
    """Ends a tuning whose loss is no number: what follows would be no model, and no checkpoint to go on from."""

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        if control.should_save:
            _check_weights(model, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **more: Any) -> None:
        for name in ("loss", "grad_norm", "train_loss"):
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(float(value)):
                raise TrainingError(
                    f"{name} is {value} at step {state.global_step}: lower learning_rate, or take another dtype"
                )


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Wall time over all attempts, kept with each checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = float(path.read_text()) if path.exists() else 0.0
        self.started = time.monotonic()

    def total(self) -> float:
        return self.before + time.monotonic() - self.started

    def on_train_begin(self, *given: Any, **more: Any) -> None:
        self.started = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.is_world_process_zero:
            self.path.write_text(f"{self.total():.3f}")


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole: its state is written last."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]), reverse=True)
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        return path
    return None


def _tidy(folder: Path, base: str, method: str) -> None:
    """Only what is the model stays; where its base stood on this machine is nobody's business."""
    for name in ("training_args.bin", "README.md"):
        (folder / name).unlink(missing_ok=True)
    if method == "full":
        return
    for path in folder.iterdir():
        if path.name not in ("adapter_config.json", "adapter_model.safetensors"):
            path.unlink()
    table = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    table |= {"base_model_name_or_path": base, "revision": None}
    # A set in peft, so its order differs from run to run, and with it the file.
    if isinstance(table["target_modules"], list):
        table["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", "utf-8")


def _hardware(device: str, processes: int) -> str:
    if device == "cuda":
        return f"{processes} x {torch.cuda.get_device_name()}"
    several = f"{processes} x " if processes > 1 else ""
    return f"{several}{torch.get_num_threads()} threads of {platform.processor() or platform.machine()}"


def main(arguments: Sequence[str]) -> int:
    """The process: 0, or 1 with ``failed.json``."""
    folder = Path(arguments[0])
    # With several processes the parent is accelerate's launcher, and the run is another process.
    end_with_parent(int(os.environ.get(ASKED_BY, os.getppid())))
    try:
        tune(folder)
    except XInstructionError as error:
        # Every process may fail, and all by the same.
        with atomic(folder / "failed.json") as stream:
            stream.write(json.dumps([type(error).__name__, str(error)]).encode())
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
