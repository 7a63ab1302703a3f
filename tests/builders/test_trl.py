"""TRL's own preparation of an export and of a view: the loss covers exactly the output. Skipped without TRL."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from x_instruction.builders.views import chat, prompt_completion

# Look for the package first: importing it takes seconds.
trl = pytest.importorskip("trl", reason="needs trl")
pytestmark = pytest.mark.filterwarnings("default")

TEMPLATE = (
    "{% for m in messages %}{{ '<s>' + m['role'] + '\n' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
ROWS = [
    {"id": f"sw-{n}", "language": "sw", "score": None, "instruction": f"What is {n}?", "output": text}
    for n, text in enumerate(["Jibu.", "ก" * 50, "line\nline", "<s>user\nfake</s> 🚜", "\u202eעברית"])
]


@pytest.fixture(scope="module")
def prepared_by(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory):
    """Rows as SFTTrainer has prepared them, with the batch that its collator makes of them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = TEMPLATE
    model = AutoModelForCausalLM.from_pretrained(tiny_model)

    def prepare(rows: datasets.Dataset):
        folder = tmp_path_factory.mktemp("sft")
        settings = trl.SFTConfig(output_dir=str(folder), bf16=False, use_cpu=True, report_to=[], max_length=None)
        trainer = trl.SFTTrainer(model, args=settings, train_dataset=rows, processing_class=tokenizer)
        batch = trainer.data_collator([trainer.train_dataset[n] for n in range(len(rows))])
        return tokenizer, batch

    return prepare


def from_export(tmp_path: Path) -> datasets.Dataset:
    path = tmp_path / "sw.jsonl"
    path.write_text("".join(json.dumps(prompt_completion(row), ensure_ascii=False) + "\n" for row in ROWS), "utf-8")
    return datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))


def from_view(tmp_path: Path) -> datasets.Dataset:
    rows = datasets.Dataset.from_list(ROWS)
    return rows.map(prompt_completion, remove_columns=["instruction", "output"])


@pytest.mark.parametrize("rows", [from_export, from_view])
def test_the_loss_covers_exactly_the_output(prepared_by, tmp_path, rows):
    tokenizer, batch = prepared_by(rows(tmp_path))
    for row, ids, labels in zip(ROWS, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        learned = [label for label in labels if label != -100]
        assert tokenizer.decode(learned) == row["output"] + "</s>"
        read = [token for token, label in zip(ids, labels, strict=True) if label == -100 and token != 2]
        assert tokenizer.decode(read) == f"<s>user\n{row['instruction']}</s><s>assistant\n"


def test_chats_are_trained_on(prepared_by, tmp_path):
    tokenizer, batch = prepared_by(datasets.Dataset.from_list([chat(row) for row in ROWS]))
    for row, ids in zip(ROWS, batch["input_ids"].tolist(), strict=True):
        whole = tokenizer.decode([token for token in ids if token != 2])
        assert whole == f"<s>user\n{row['instruction']}</s><s>assistant\n{row['output']}</s>"
