"""AFP training on a small model: its loss equals manual sums, and it brings translations together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig
from trl import SFTConfig

from x_instruction.config.training import Align
from x_instruction.errors import RecipeError
from x_instruction.evaluation.representations import retrieval
from x_instruction.training.afp import AlignmentCollator, AlignmentTrainer, check_layer, check_rows, sentence_columns

# PEFT uses the old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
# Renamed in transformers 5.2x; the old name warns.
CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(SFTConfig, name)
)
SENTENCES = [
    ("How to cook rice", "Miten riisi keitetään"),
    ("What is a drum", "Mikä on rumpu"),
    ("Why wash old maps", "Miksi pestä vanhoja karttoja"),
    ("How do people sell goats", "Miten ihmiset myyvät vuohia"),
    ("Explain how to paint the roof", "Selitä miten katto maalataan"),
    ("Tell about letters", "Kerro kirjeistä"),
    ("Describe the harvest", "Kuvaile sadonkorjuuta"),
    ("Explain why one carries a net", "Selitä miksi verkkoa kannetaan"),
]


def rows(model: Path, number: int = 8, without: Sequence[int] = ()) -> list[dict[str, list[int]]]:
    """Rows of different lengths; those in ``without`` are not part of the contrast."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    made = []
    for place, (sentence, parallel) in enumerate(SENTENCES[:number]):
        prompt, output = tokenizer(sentence)["input_ids"], tokenizer(f" {parallel}")["input_ids"][: 3 + place]
        texts = {} if place in without else {"sentence": sentence, "parallel": parallel}
        made.append(
            {"input_ids": prompt + output, "completion_mask": [0] * len(prompt) + [1] * len(output)}
            | sentence_columns(texts, tokenizer, 32)
        )
    return made


def trainer(model: Path, data: list[dict[str, list[int]]], align: Align, out: Path, **given: Any) -> AlignmentTrainer:
    arguments = {"per_device_train_batch_size": len(data), "max_steps": 1, "logging_steps": 1, "learning_rate": 0.0}
    more = {name: given.pop(name) for name in ("peft_config", "data_collator") if name in given}
    return AlignmentTrainer(
        align=align,
        model=AutoModelForCausalLM.from_pretrained(model),
        args=SFTConfig(
            output_dir=str(out),
            **arguments
            | {"bf16": False, "use_cpu": True, "report_to": "none", "save_strategy": "no", "disable_tqdm": True}
            | {CHECKPOINTING: False, "lr_scheduler_type": "constant", "warmup_steps": 0}
            | given,
        ),
        train_dataset=Dataset.from_list(data),
        processing_class=AutoTokenizer.from_pretrained(model),
        **more,
    )


# Bad input


def test_a_layer_that_the_model_lacks_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    config = LlamaConfig(num_hidden_layers=2)
    check_layer(Align(layer=2), config)
    with pytest.raises(RecipeError, match=r"align.layer is 3 and the model has 2 layers, expected 0 .* to 2"):
        check_layer(Align(layer=3), config)
    with pytest.raises(RecipeError, match="the model has 2 layers"):
        trainer(tiny_model, rows(tiny_model, 2), Align(layer=3), tmp_path)


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ([], 0),
        ([{"sentence": "Why?", "parallel": ""}, {"sentence": " ", "parallel": "Miksi?"}, {}], 0),
        ([{"sentence": "Why?", "parallel": "Miksi?"}, {"sentence": None, "parallel": None}], 1),
    ],
)
def test_rows_without_two_pairs_are_refused(given: list[dict[str, str]], number: int) -> None:
    with pytest.raises(RecipeError, match=f"sentence and parallel, and the data has {number}: .*mixer afp"):
        check_rows(given)


def test_reading_stops_at_the_second_pair() -> None:
    left = iter([{"sentence": "Why?", "parallel": "Miksi?"}] * 3)
    check_rows(left)
    assert len(list(left)) == 1


@pytest.mark.parametrize("wrong", [{}, {"labels": [1]}, {"completion_mask": [0, 1, 1]}])
def test_a_row_without_output_marks_is_refused(wrong: dict[str, list[int]]) -> None:
    with pytest.raises(ValueError, match="expected labels or completion_mask with one value per token"):
        AlignmentCollator(2)([{"input_ids": [5, 6], **wrong}])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"packing": True, "packing_strategy": "wrapped"}, "packing joins them"),
        ({"padding_free": True, "max_length": None}, "packing joins them"),
        ({"per_device_train_batch_size": 1}, "device_batch_size to 2"),
    ],
)
def test_settings_without_a_contrast_are_refused(
    given: dict[str, Any], words: str, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=words):
        trainer(tiny_model, rows(tiny_model, 2), Align(), tmp_path, **given)


# Rows and batches


def test_columns_hold_the_tokens_of_the_model(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    made = sentence_columns({"sentence": "How to cook", "parallel": "Miten keitetään"}, tokenizer, 32)
    assert {name: tokenizer.decode(ids) for name, ids in made.items()} == {
        "sentence_ids": "How to cook",
        "parallel_ids": "Miten keitetään",
    }
    cut = sentence_columns({"sentence": "How to cook", "parallel": "Miten keitetään"}, tokenizer, 3)
    assert cut == {name: ids[:3] for name, ids in made.items()}
    for missing in ({}, {"sentence": "How"}, {"sentence": "How", "parallel": " "}, {"sentence": None, "parallel": "M"}):
        assert sentence_columns(missing, tokenizer, 32) == {"sentence_ids": [], "parallel_ids": []}


def test_a_batch_by_hand() -> None:
    batch = AlignmentCollator(9)(
        [
            {"input_ids": [1, 2, 3], "completion_mask": [0, 0, 1], "sentence_ids": [4], "parallel_ids": [5, 6]},
            {"input_ids": [7, 9], "labels": [-100, 9], "sentence_ids": [], "parallel_ids": []},
            {"input_ids": [1], "completion_mask": [1], "sentence_ids": [7, 9, 9], "parallel_ids": [8]},
            {"input_ids": [1], "completion_mask": [0]},
        ]
    )
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[1, 2, 3], [7, 9, 9], [1, 9, 9], [1, 9, 9]],
        "attention_mask": [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]],
        "labels": [[-100, -100, 3], [-100, 9, -100], [1, -100, -100], [-100, -100, -100]],
        "pair_ids": [[4, 9, 9], [7, 9, 9], [5, 6, 9], [8, 9, 9]],
        "pair_mask": [[1, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 0]],
    }
    none = AlignmentCollator(9)([{"input_ids": [1], "labels": [1]}])
    assert none["pair_ids"].shape == none["pair_mask"].shape == (0, 0)


# The loss


def by_hand(network: Any, data: list[dict[str, list[int]]], align: Align) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the output tokens' losses, and the contrast, one row at a time."""
    total, pooled = torch.zeros(()), []
    for row in data:
        out = network(input_ids=torch.tensor([row["input_ids"]]))
        for place, token in enumerate(row["input_ids"]):
            if row["completion_mask"][place]:
                total = total - out.logits[0, place - 1].log_softmax(0)[token]
        if row["sentence_ids"]:
            found = []
            for name in ("sentence_ids", "parallel_ids"):
                hidden = network(input_ids=torch.tensor([row[name]]), output_hidden_states=True).hidden_states
                state = hidden[align.layer][0]
                found.append(state[-1] if align.pooling == "last" else state.mean(0))
            pooled.append(found)
    cosines = torch.stack(
        [torch.stack([torch.cosine_similarity(one, other, 0) for _, other in pooled]) for one, _ in pooled]
    )
    own = torch.arange(len(pooled))
    contrast = torch.nn.functional.cross_entropy(cosines / align.temperature, own)
    if align.symmetric:
        contrast = (contrast + torch.nn.functional.cross_entropy(cosines.T / align.temperature, own)) / 2
    return total, contrast


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize(
    "align",
    [
        Align(),
        Align(layer=0, pooling="mean", symmetric=True, contrast_weight=0.5, output_weight=2.0),
        Align(layer=2, temperature=0.5, output_weight=0.0),
    ],
    ids=["afp", "embeddings", "last"],
)
def test_the_loss_and_its_gradient_equal_a_manual_computation(
    align: Align, adapted: bool, tiny_model: Path, tmp_path: Path
) -> None:
    data = rows(tiny_model, 5, without=[3])
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    made = trainer(tiny_model, data, align, tmp_path, **{"peft_config": lora} if adapted else {})
    batch = made.data_collator([made.train_dataset[place] for place in range(5)])
    loss = made.compute_loss(made.model, batch)
    total, contrast = by_hand(made.model, data, align)
    outputs = sum(sum(row["completion_mask"]) for row in data)
    expected = align.contrast_weight * contrast + align.output_weight * total / outputs
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert min(contrast.item(), total.item()) > 0.01
    weights = [weight for weight in made.model.parameters() if weight.requires_grad]
    for found, other in zip(
        torch.autograd.grad(loss, weights, allow_unused=True),
        torch.autograd.grad(expected, weights, allow_unused=True),
        strict=True,
    ):
        found, other = (0 * weights[0].sum() if grad is None else grad for grad in (found, other))
        torch.testing.assert_close(found, other.expand_as(found), rtol=2e-3, atol=2e-5)


def test_the_log_has_both_parts_averaged_over_accumulation_steps(tiny_model: Path, tmp_path: Path) -> None:
    data = rows(tiny_model, 4, without=[])
    align = Align(contrast_weight=1.0, output_weight=1.5)
    made = trainer(tiny_model, data, align, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    made._get_train_sampler = lambda *_: SequentialSampler(data)
    made.train()
    log = made.state.log_history[0]
    parts = [by_hand(made.model, half, align) for half in (data[:2], data[2:])]
    output = sum(total for total, _ in parts) / sum(sum(row["completion_mask"]) for row in data)
    contrast = sum(each for _, each in parts) / 2
    assert log["output_loss"] == pytest.approx(output.item(), rel=1e-3)
    assert log["contrast_loss"] == pytest.approx(contrast.item(), rel=1e-3)
    assert log["contrast_pairs"] == 2
    assert log["loss"] == pytest.approx(contrast.item() + 1.5 * output.item(), rel=1e-3)


@pytest.mark.parametrize(("without", "pairs"), [([0, 1, 2], 0), ([0, 2], 1)])
def test_a_batch_with_fewer_than_two_pairs_has_no_contrast(
    without: list[int], pairs: int, tiny_model: Path, tmp_path: Path
) -> None:
    made = trainer(tiny_model, rows(tiny_model, 3, without), Align(), tmp_path)
    made.train()
    log = made.state.log_history[0]
    assert "contrast_loss" not in log
    assert log["contrast_pairs"] == pairs
    assert log["loss"] == pytest.approx(1.5 * log["output_loss"], rel=1e-4)


def test_a_weight_of_zero_disables_the_contrast(tiny_model: Path, tmp_path: Path) -> None:
    data = rows(tiny_model, 2)
    made = trainer(tiny_model, data, Align(contrast_weight=0.0), tmp_path, per_device_train_batch_size=1)
    made.train()
    assert not {"contrast_loss", "contrast_pairs"} & made.state.log_history[0].keys()


def test_evaluation_computes_the_same_loss(tiny_model: Path, tmp_path: Path) -> None:
    data = rows(tiny_model, 3)
    made = trainer(tiny_model, data, Align(), tmp_path)
    found = made.evaluate(Dataset.from_list(data))
    total, contrast = by_hand(made.model, data, Align())
    output = total / sum(sum(row["completion_mask"]) for row in data)
    assert found["eval_loss"] == pytest.approx(contrast.item() + 1.5 * output.item(), rel=1e-4)


# Training

QUICK = {"max_steps": 15, "learning_rate": 3e-3, "per_device_train_batch_size": 8}


def accuracy(made: AlignmentTrainer, data: list[dict[str, list[int]]]) -> float:
    network = made.model.eval()
    with torch.no_grad():
        sides = [
            [
                network(input_ids=torch.tensor([row[name]]), output_hidden_states=True).hidden_states[1][0, -1]
                for row in data
            ]
            for name in ("sentence_ids", "parallel_ids")
        ]
    return retrieval(*(torch.stack(side).numpy() for side in sides)).mean


@pytest.mark.parametrize(("adapted", "checkpointed"), [(False, False), (True, True)])
def test_training_brings_translations_together(
    adapted: bool, checkpointed: bool, tiny_model: Path, tmp_path: Path
) -> None:
    data = rows(tiny_model)
    lora = LoraConfig(r=8, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    given: dict[str, Any] = {"peft_config": lora, "learning_rate": 1e-2} if adapted else {}
    made = trainer(tiny_model, data, Align(), tmp_path, **QUICK | given | {CHECKPOINTING: checkpointed})
    before = accuracy(made, data)
    made.train()
    after = accuracy(made, data)
    assert before <= 0.6
    assert after >= before + 0.3
    first, last = (log for log in made.state.log_history if log.get("step") in (1, 15) and "contrast_loss" in log)
    assert last["contrast_loss"] < first["contrast_loss"] / 2
    assert last["output_loss"] < first["output_loss"]


def test_checkpointing_changes_no_weight(tiny_model: Path, tmp_path: Path) -> None:
    data, quick = rows(tiny_model, 4), QUICK | {"max_steps": 2, "per_device_train_batch_size": 4, "optim": "sgd"}
    found = []
    for checkpointed in (False, True):
        made = trainer(tiny_model, data, Align(), tmp_path, **quick | {CHECKPOINTING: checkpointed})
        made.train()
        found.append(made.model.state_dict())
    for name, weight in found[0].items():
        torch.testing.assert_close(weight, found[1][name], rtol=1e-5, atol=1e-6)


def test_unused_columns_are_ignored(tiny_model: Path, tmp_path: Path) -> None:
    data = [row | {"id": str(place)} for place, row in enumerate(rows(tiny_model, 2))]
    made = trainer(tiny_model, data, Align(), tmp_path, remove_unused_columns=False)
    made.train()
    assert made.state.log_history[0]["contrast_pairs"] == 2


def step(model: Path, out: Path) -> None:
    """One step on four rows, of which the process has its share; three of them have pairs."""
    data = rows(model, 4, without=[1])
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    given = {"per_device_train_batch_size": 4 // processes, "learning_rate": 0.1, "optim": "sgd", "max_grad_norm": 0.0}
    made = trainer(model, data, Align(temperature=0.5), out, **given, ddp_backend="gloo" if processes > 1 else None)
    made.train()
    if made.is_world_process_zero():
        torch.save((made.state.log_history[0], made.model.state_dict()), out / f"{processes}.pt")


def test_two_processes_make_the_same_step_as_one(tiny_model: Path, tmp_path: Path) -> None:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    line = [sys.executable, __file__, str(tiny_model), str(tmp_path)]
    running = [
        subprocess.Popen(line, env=os.environ | place | {"RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")
    ]
    assert [process.wait(300) for process in running] == [0, 0]
    step(tiny_model, tmp_path)
    (one_log, one), (two_log, two) = (torch.load(tmp_path / f"{n}.pt") for n in (1, 2))
    for name in ("loss", "output_loss", "contrast_loss"):
        assert two_log[name] == pytest.approx(one_log[name], rel=1e-4), name
    assert one_log["contrast_pairs"] == two_log["contrast_pairs"] == 3
    begun = AutoModelForCausalLM.from_pretrained(tiny_model).state_dict()
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-6)
    assert any((one[name] - begun[name]).abs().max() > 1e-3 for name in one)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    step(Path(sys.argv[1]), Path(sys.argv[2]))
