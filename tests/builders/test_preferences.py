"""Exports of preference pairs: chosen and rejected texts, and that TRL trains on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import factories
import pytest
from click.testing import CliRunner

from x_instruction.builders.exports import export
from x_instruction.builders.preferences import response_pairs
from x_instruction.cli import cli
from x_instruction.config import recipe
from x_instruction.config.refine import Refine
from x_instruction.errors import RecipeError
from x_instruction.refine import keep
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import CURATED, PASSAGE, StageKey

SCORES = {
    # Best first, then what it is paired with: the nearest and the worst.
    "Jibu moja.": [0.25, 3.0, -1.0, 2.0],
    # One worse instruction makes one pair.
    "Jibu mbili.": [1.0, 2.0],
    # Equal scores, and passages without a kept instruction, make none.
    "Jibu tatu.": [1.0, 1.0],
    "Jibu nne.": [-3.0, -4.0],
}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def rated_run(tmp_path: Path) -> RunFolder:
    """A run whose rated shard the stage itself wrote."""
    run = RunFolder(tmp_path / "rated-run")
    settings = factories.settings(("sw",)).replace(
        refine=Refine(rater="pmi", model=factories.settings(("sw",)).generate.model, min_score=-2.0)
    )
    rated = [
        factories.rated(text, candidate=n, score=score, instruction=f"Ask {n} of {text}")
        for text, scores in SCORES.items()
        for n, score in enumerate(scores)
    ]
    stages: dict[StageKey, Any] = {
        PASSAGE: [factories.passage(text) for text in SCORES],
        StageKey("candidate"): [
            factories.candidate(r.text, candidate=r.candidate, instruction=r.instruction) for r in rated
        ],
        StageKey("rated"): keep(rated, settings.refine),
        CURATED: [factories.curated(text) for text in SCORES],
    }
    for stage, records in stages.items():
        run.write(ShardReport(stage.shard("sw")), records)
        run.finish(stage, "sw", 1)
    (run.root / "recipe.json").write_text(recipe.dumps(settings))
    return run


def test_the_best_instruction_is_preferred_to_worse_ones(rated_run: RunFolder, tmp_path: Path) -> None:
    export(rated_run.root, tmp_path / "out", "dpo", prefer="instructions")
    found = read(tmp_path / "out" / "sw.jsonl")
    texts = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in found]
    assert texts == [
        ("Ask 1 of Jibu moja.", "Ask 2 of Jibu moja."),
        ("Ask 1 of Jibu moja.", "Ask 3 of Jibu moja."),
        ("Ask 1 of Jibu mbili.", "Ask 0 of Jibu mbili."),
    ]
    assert [(row["rejected_as"], row["margin"]) for row in found] == [("worst", 4.0), ("flawed", 1.0), ("worst", 1.0)]
    assert len({row["id"] for row in found}) == 3
    (message,) = found[0]["prompt"]
    assert message["role"] == "user"
    # The prompt of a trained generator, with the whole passage.
    assert message["content"].startswith("Text in Swahili:\nJibu moja.\n")
    export(rated_run.root, tmp_path / "text", "dpo-text", prefer="instructions", margin=3.0)
    (row,) = read(tmp_path / "text" / "sw.jsonl")
    assert row["prompt"].endswith("English question that this text answers:")
    assert (row["chosen"], row["rejected"]) == (" Ask 1 of Jibu moja.", " Ask 2 of Jibu moja.")


def test_a_margin_without_pairs_is_refused(rated_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no passage has a kept instruction and one with a lower score by 9"):
        export(rated_run.root, tmp_path / "out", "dpo", prefer="instructions", margin=9.0)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("form", ["dpo", "dpo-text"])
def test_the_natural_response_is_preferred_to_corrupted_ones(
    run: RunFolder, built: Path, kit: Any, tmp_path: Path, form: str
) -> None:
    export(run.root, tmp_path / "a", form)
    export(built, tmp_path / "b", form, prefer="responses")
    natural = {tag: {f"{r.id}-{r.candidate}": r.text for r in kit.records(tag)} for tag in kit.languages}
    for tag in kit.languages:
        name = f"{tag}.jsonl"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        found = read(tmp_path / "a" / name)
        # Sentences of these rows are equal, so they have no other order.
        assert {row["rejected_as"] for row in found} == {"truncated", "foreign", "other-document"}
        assert sum(row["rejected_as"] == "other-document" for row in found) == 24
        for row in found:
            chosen, rejected = (row[key][0]["content"] if form == "dpo" else row[key] for key in ("chosen", "rejected"))
            id = row["id"].removesuffix(f"-{row['rejected_as']}")
            assert chosen == natural[tag][id] != rejected
            assert rejected
            assert (rejected in natural[tag].values()) == (row["rejected_as"] == "other-document")


def test_every_flaw_is_made_where_possible() -> None:
    rows = [
        {
            "id": f"{n}",
            "instruction": "Ask.",
            "output": f"Hii ni {n} kati ya nyingi. Nyingine. Ya tatu.",
            "document_id": f"d{n}",
        }
        for n in range(40)
    ]
    foreign = [("fi", "Tämä on toinen. Ja tämä kolmas.")]
    assert {row["rejected_as"] for row in response_pairs(rows, "sw", foreign)} == {
        "truncated",
        "shuffled",
        "foreign",
        "other-document",
    }
    assert "foreign" not in {row["rejected_as"] for row in response_pairs(rows, "sw", [])}
    # One word cannot be made worse, and a single document has no other one.
    assert not list(response_pairs([rows[0] | {"output": "Hii."}], "sw", []))
    # Rows of the same document are not used as rejected answers; rows without a document are.
    same = [row | {"document_id": "d", "output": f"Neno{n}."} for n, row in enumerate(rows)]
    assert not [row for row in response_pairs(same, "sw", []) if row["rejected_as"] == "other-document"]
    assert len(list(response_pairs([row | {"document_id": None} for row in same], "sw", []))) == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "chat", "prefer": "responses"}, "--prefer is for the formats dpo and dpo-text, and --format is chat"),
        ({"form": "chat", "margin": 1.0}, "--margin is for the formats dpo and dpo-text"),
        ({"form": "dpo", "margin": 1.0}, "--margin is 1, expected 0 or more, and --prefer instructions"),
        ({"form": "dpo", "prefer": "instructions", "margin": -1.0}, "--margin is -1, expected 0 or more"),
        ({"form": "dpo", "prefer": "both"}, "unknown kind of preferences 'both'"),
    ],
)
def test_incompatible_options_are_refused(
    run: RunFolder, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        export(run.root, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_pairs_of_instructions_need_a_rated_run(built: Path, rated_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="need the scores of all candidates: name the folder of a run"):
        export(built, tmp_path / "out", "dpo", prefer="instructions")
    (rated_run.root / "recipe.json").write_text(
        recipe.dumps(factories.settings(("sw",)).replace(refine=Refine(rater="none")))
    )
    line = ["export", str(rated_run.root), "--format", "dpo", "--prefer", "instructions", "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(cli, line)
    assert done.exit_code == 1
    assert 'rater = "none", which scores nothing' in str(done.exception)


@pytest.fixture(scope="module")
def dpo(tiny_model: Path) -> Any:
    """Trains one step on a file, and returns the trainer."""
    trl = pytest.importorskip("trl", reason="needs trl")
    import datasets
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    def train(path: Path, template: str | None) -> Any:
        tokenizer.chat_template = template
        rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))
        settings = trl.DPOConfig(
            output_dir=str(path.parent / "trained"),
            max_steps=1,
            per_device_train_batch_size=4,
            max_length=256,
            bf16=False,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
        )
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        trainer = trl.DPOTrainer(model, args=settings, train_dataset=rows, processing_class=tokenizer)
        trainer.train()
        return trainer

    return train


TEMPLATE = (
    "{% for m in messages %}{{ '<s>' + m['role'] + '\n' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("prefer", ["instructions", "responses"])
@pytest.mark.parametrize(("form", "template"), [("dpo", TEMPLATE), ("dpo-text", None)])
def test_trl_trains_on_them(
    dpo: Any, rated_run: RunFolder, run: RunFolder, tmp_path: Path, form: str, template: str | None, prefer: str
) -> None:
    source = rated_run if prefer == "instructions" else run
    export(source.root, tmp_path / "out", form, prefer=prefer, languages=["sw"])
    trainer = dpo(tmp_path / "out" / "sw.jsonl", template)
    assert trainer.state.global_step == 1
    (logged,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    # Before the first step both models are equal, so the loss is ln 2.
    assert logged["loss"] == pytest.approx(0.693, abs=0.01)
    row, made = read(tmp_path / "out" / "sw.jsonl")[0], trainer.train_dataset[0]
    text = row["chosen"] if template is None else row["chosen"][0]["content"]
    assert text.strip() in trainer.processing_class.decode(made["chosen_ids"])
