"""One training under a clock: ``trainer_process.py ours|trl FOLDER`` writes ``FOLDER/clock.json``.

The clock is the same for both: when each step begins, with the device's work done, and the tokens that it reads.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer


class Clock:
    """Times and tokens of every step, read off transformers' Trainer."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {"begun": [], "tokens": [], "losses": [], "multiplied": 0}
        plain_step, plain_log = Trainer.training_step, Trainer.log
        seen = self.seen

        def training_step(trainer: Any, model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seen["begun"].append(time.perf_counter())
            seen["tokens"].append(int(inputs["attention_mask"].sum()))
            return plain_step(trainer, model, inputs, *more, **named)

        def log(trainer: Any, logs: dict[str, float], *more: Any, **named: Any) -> None:
            if "loss" in logs:
                seen["losses"].append(float(logs["loss"]))
            seen["multiplied"] = multiplied(trainer.model)
            plain_log(trainer, logs, *more, **named)

        Trainer.training_step, Trainer.log = training_step, log


def multiplied(model: Any) -> int:
    """Weights that are multiplied for a token: all but an embedding table that is only looked up."""
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return sum(weight.numel() for weight in model.parameters()) - (0 if table is head else table.numel())


def train_by_trl(folder: Path) -> None:
    """SFTTrainer as TRL's documentation has it."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    job = json.loads((folder / "rows.json").read_text("utf-8"))
    options = job["settings"]
    full, gpu = options["method"] == "full", torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(folder / "checkpoints"),
        per_device_train_batch_size=options["batch_size"],
        learning_rate=options["learning_rate"],
        max_steps=options["steps"],
        max_length=options["max_tokens"],
        warmup_steps=1,
        gradient_checkpointing=False,
        bf16=full and gpu,
        use_cpu=not gpu,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    lora = LoraConfig(
        r=options["rank"], lora_alpha=options["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            job["base"], dtype=torch.bfloat16 if gpu and not full else torch.float32
        ),
        args=arguments,
        train_dataset=Dataset.from_list(
            [{"prompt": row["prompt"], "completion": row["completion"]} for row in job["rows"]]
        ),
        processing_class=AutoTokenizer.from_pretrained(job["base"]),
        peft_config=None if full else lora,
    )
    trainer.train()


def main(way: str, folder: Path) -> None:
    clock = Clock()
    if way == "trl":
        train_by_trl(folder)
    else:
        import ours

        ours.train(folder)
    (folder / "clock.json").write_text(json.dumps(clock.seen), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
