"""The training process: ``python -m x_instruction.training.worker FOLDER``, or the same under ``accelerate launch``.

TRL's SFTTrainer does the training. This module adds tokenized rows (``tokenization``), resuming from a checkpoint to
the same weights as without an interruption, and checks that fail before hours are spent.

    FOLDER/job.json             the settings (``job.TrainJob``)
    FOLDER/examples.jsonl       the rows
    FOLDER/checkpoints/         deleted by the parent process once the model is complete
    FOLDER/model/               the trained model
    FOLDER/train_result.json    the result (``job.TrainResult``), written last
    FOLDER/failed.json          or the error
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
from x_instruction.engines.local.transformers import load_network, with_adapter
from x_instruction.engines.models import loading, locate
from x_instruction.errors import MissingExtra, TrainingError, XInstructionError
from x_instruction.processes import end_with_parent
from x_instruction.storage.atomic import atomic
from x_instruction.training.afp import AlignmentTrainer, check_rows, sentence_columns
from x_instruction.training.job import EXAMPLES, PARENT_PID, RESULT, TrainJob, TrainResult, read_examples
from x_instruction.training.tokenization import ExampleEncoder
from x_instruction.training.trainer import OutputTrainer

try:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PreTrainedModel, TrainerCallback
    from transformers.utils import logging as library_logging
    from trl import SFTConfig
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "trl", "train") from error

# Our names of the orders of rows, and transformers'.
_SAMPLING = {"random": "random", "by_length": "group_by_length", "sequential": "sequential"}
SOFTWARE = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")


def train(folder: Path) -> TrainResult:
    """Train as ``job.json`` says, from the last checkpoint if there is one.

    Raises:
        TrainingError: the settings cannot work, or the loss is not finite.
    """
    job = loads(TrainJob, (folder / "job.json").read_text("utf-8"))
    settings = job.train
    if settings.method == "full" and job.model.adapter:
        raise TrainingError(
            f"train.method is full and model.adapter is {without_folder(job.model.adapter)}, so only the adapter would "
            "be trained: merge it into its base and name the merged model in model.name, or use lora"
        )
    device = _device(settings)
    if device == "cuda":
        # Before anything is loaded: otherwise every process allocates memory on the first GPU.
        torch.cuda.set_device(_rank())
    if settings.log != "none" and find_spec(settings.log) is None:
        raise TrainingError(f"train.log is {settings.log}, which is not installed: pip install {settings.log}")
    if device == "cpu" and settings.threads:
        torch.set_num_threads(settings.threads)
    encoder = ExampleEncoder(job.model.name, job.model.revision)
    examples = list(read_examples(folder / EXAMPLES))
    encoded, lengths = encoder.rows(examples, settings.max_tokens, settings.length_percentile)
    rows = list(encoded.values())
    if job.align:
        check_rows(asdict(example) for example in examples)
        for index, row in encoded.items():
            row |= sentence_columns(asdict(examples[index]), encoder.tokenizer, lengths.max_tokens)
    arguments = _arguments(folder, job, device, lengths.max_tokens, len(rows))
    if arguments.n_gpu > 1:
        raise TrainingError(
            f"one process sees {arguments.n_gpu} GPUs, which would multiply the batch size by {arguments.n_gpu}: "
            "select one with CUDA_VISIBLE_DEVICES, or set train.processes"
        )
    network = _network(job, device)
    clock = _WallClock(folder / "seconds")
    trainer_class = partial(AlignmentTrainer, align=job.align) if job.align else OutputTrainer
    trainer = trainer_class(
        model=network,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=encoder.tokenizer,
        peft_config=_lora(settings) if settings.method != "full" and not job.model.adapter else None,
        callbacks=[clock, _ResumeExactly(), _FiniteLoss()],
    )
    checkpoint = _last_checkpoint(folder / "checkpoints")
    with contextlib.suppress(_Finished):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    _check_weights(trainer.model, trainer.state.global_step)
    losses = [(int(log["step"]), float(log["loss"])) for log in trainer.state.log_history if "loss" in log]
    tail = [loss for _, loss in losses[-max(1, len(losses) // 10) :]]
    result = TrainResult(
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
        _clean_up(folder / "model", hub_id_and_form(encoder.model)[0], settings.method)
        with atomic(folder / RESULT) as stream:
            stream.write(json.dumps(asdict(result), indent=1).encode())
    return result


def _device(settings: TrainConfig) -> str:
    if settings.device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if settings.device == "cuda":
        raise TrainingError("train.device is cuda and torch finds no GPU: install torch for CUDA, or set it to cpu")
    if settings.method == "qlora":
        raise TrainingError("train.method is qlora, which needs a GPU, and torch finds none: set it to lora")
    return "cpu"


def _dtype(settings: TrainConfig, device: str) -> torch.dtype:
    if settings.dtype != "auto":
        named: torch.dtype = getattr(torch, settings.dtype)
        return named
    half = device == "cuda" and settings.method != "full" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if half else torch.float32


def _rank() -> int:
    """The rank of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _loading(settings: TrainConfig, device: str) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for the base."""
    options: dict[str, Any] = {"dtype": _dtype(settings, device)}
    if settings.method == "qlora":
        # Quantized weights cannot be moved, so they are loaded onto their GPU; the trainer moves all other weights.
        options |= {"quantization_config": _four_bits(), "device_map": {"": _rank()}}
    return options


def _network(job: TrainJob, device: str) -> PreTrainedModel:
    files = locate(job.model.name, job.model.revision)
    options = _loading(job.train, device)
    library_logging.disable_progress_bar()
    with loading(f"{job.model.name!r} for training", TrainingError):
        network = load_network(files.folder, **options)
    if job.model.adapter:
        return with_adapter(network, job.model.adapter, job.model.name, trainable=True)
    _check_targets(network, job.train)
    return network


def _check_targets(network: PreTrainedModel, settings: TrainConfig) -> None:
    """Reject ``target_modules`` that are not layers of the model, and name those that are."""
    if settings.method == "full" or settings.target_modules == ("all-linear",):
        return
    linear = {name.split(".")[-1] for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)}
    if unknown := sorted(set(settings.target_modules) - linear):
        raise TrainingError(
            f"train.target_modules has {unknown[0]!r}, which is not a linear layer of the model, expected some of "
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
    micro_batch = min(settings.device_batch_size, max(1, settings.batch_size // processes))
    accumulation = max(1, settings.batch_size // (micro_batch * processes))
    if micro_batch * processes * accumulation != settings.batch_size:
        raise TrainingError(
            f"train.batch_size is {settings.batch_size}, expected a multiple of device_batch_size times processes, "
            f"{micro_batch} * {processes}"
        )
    # The number of steps without packing. With packing it is known only to the trainer, which then takes a share.
    steps = settings.steps or max(1, math.ceil(settings.epochs * math.ceil(rows / settings.batch_size)))
    scheduler: dict[str, Any] = {}
    name = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}[settings.schedule]
    if settings.min_lr_ratio and settings.schedule == "linear":
        name, scheduler = "polynomial", {"lr_end": settings.learning_rate * settings.min_lr_ratio, "power": 1.0}
    elif settings.min_lr_ratio and settings.schedule == "cosine":
        name, scheduler = "cosine_with_min_lr", {"min_lr_rate": settings.min_lr_ratio}
    mixed_precision = device == "cuda" and settings.method == "full" and settings.dtype == "auto"
    return SFTConfig(
        output_dir=str(folder / "checkpoints"),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=name,
        lr_scheduler_kwargs=scheduler or None,
        warmup_steps=math.ceil(settings.warmup_ratio * steps) if not settings.packing else settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        num_train_epochs=settings.epochs,
        max_steps=settings.steps or -1,
        max_length=max_tokens,
        packing=settings.packing,
        train_sampling_strategy="random" if settings.packing else _SAMPLING[settings.sampling],
        **{_checkpointing(): settings.gradient_checkpointing},
        bf16=mixed_precision and torch.cuda.is_bf16_supported(),
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
    """The name of the argument, which newer versions of transformers have renamed."""
    names = SFTConfig.__dataclass_fields__
    return "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"


class _Finished(Exception):
    """Training resumed from the checkpoint of its last step."""


class _ResumeExactly(TrainerCallback):  # type: ignore[misc]
    """Corrects how transformers resumes from a checkpoint, and logs the last step."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step >= state.max_steps:
            # The trainer would run one more step before it compares the step with the maximum.
            raise _Finished
        # A checkpoint has the intervals of its time; they may have been changed since.
        state.compute_steps(args, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        control.should_log |= state.global_step >= state.max_steps


def _check_weights(network: torch.nn.Module, step: int) -> None:
    """Reject weights that are not finite. The loss of a step is computed before its update, so it cannot tell."""
    for name, weight in network.named_parameters():
        if weight.requires_grad and not bool(torch.isfinite(weight).all()):
            raise TrainingError(
                f"{name} is not finite at step {step}: lower train.learning_rate, or set another train.dtype"
            )


class _FiniteLoss(TrainerCallback):  # type: ignore[misc]
    """Ends training if the loss or the weights are not finite, so that no such checkpoint is saved."""

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        if control.should_save:
            _check_weights(model, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **more: Any) -> None:
        for name in ("loss", "grad_norm", "train_loss"):
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(float(value)):
                raise TrainingError(
                    f"{name} is {value} at step {state.global_step}: lower train.learning_rate, or set another "
                    "train.dtype"
                )


class _WallClock(TrainerCallback):  # type: ignore[misc]
    """Wall time over all attempts, saved with each checkpoint."""

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
    """The newest complete checkpoint; its trainer state is written last."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]), reverse=True)
    for path in checkpoints:
        try:
            json.loads((path / "trainer_state.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        return path
    return None


def _clean_up(folder: Path, base: str, method: str) -> None:
    """Keep the files of the model only, and name its base instead of the base's path on this machine."""
    for name in ("training_args.bin", "README.md"):
        (folder / name).unlink(missing_ok=True)
    if method == "full":
        return
    for path in folder.iterdir():
        if path.name not in ("adapter_config.json", "adapter_model.safetensors"):
            path.unlink()
    table = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    table |= {"base_model_name_or_path": base, "revision": None}
    # peft writes a set, whose order differs from run to run.
    if isinstance(table["target_modules"], list):
        table["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", "utf-8")


def _hardware(device: str, processes: int) -> str:
    if device == "cuda":
        return f"{processes} x {torch.cuda.get_device_name()}"
    times = f"{processes} x " if processes > 1 else ""
    return f"{times}{torch.get_num_threads()} threads of {platform.processor() or platform.machine()}"


def main(arguments: Sequence[str]) -> int:
    """Run the process. Returns its exit code: 0, or 1 with the error in ``failed.json``."""
    folder = Path(arguments[0])
    # With several processes the parent is accelerate's launcher, and the run is another process.
    end_with_parent(int(os.environ.get(PARENT_PID, os.getppid())))
    try:
        train(folder)
    except XInstructionError as error:
        # Every process may write the file; all fail with the same error.
        with atomic(folder / "failed.json") as stream:
            stream.write(json.dumps([type(error).__name__, str(error)]).encode())
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
