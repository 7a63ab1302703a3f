"""Labels and a comparison of raters from the command line, on the tiny model."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Say

from x_instruction.cli.eval.raters import _RATERS
from x_instruction.config.corpus import Corpus
from x_instruction.config.refine import UNASKED
from x_instruction.corpus.sources import Document, read
from x_instruction.evaluation.record import read_record
from x_instruction.languages import language
from x_instruction.refine import RATERS
from x_instruction.refine.calibration import Calibration
from x_instruction.refine.label_files import read as read_labels

Write = Callable[..., Path]


@pytest.fixture
def recipe(recipe_file: Write, tmp_path: Path, tiny_model: Path) -> Path:
    """A recipe with eight seeds in Finnish and Thai each, and a model that may rate, with its calibration beside it."""
    tuned = tmp_path / "tuned"
    shutil.copytree(tiny_model, tuned)
    Calibration(1.0).write(tuned)
    for tag in ("fi", "th"):
        texts = [d.text for d in read(Corpus(source="sample"), language(tag)) if isinstance(d, Document)][:8]
        rows = [{"id": f"{n}", "instruction": f"Tell me about topic {n}.", "output": t} for n, t in enumerate(texts)]
        (tmp_path / f"seeds-{tag}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return recipe_file(
        seeds={"paths": [f"{tmp_path}/seeds-{{tag}}.jsonl"]},
        refine={"rater": "trained", "direction": "instruction", "response_tokens": 24, "validation": 0.25},
        **{"refine.model": {"name": str(tuned), "batch_size": 8}},
    )


def test_the_command_offers_every_rater_that_reads_pairs() -> None:
    assert set(_RATERS) == set(RATERS) - set(UNASKED)


def test_bad_input_is_refused(say: Say, recipe: Path, tmp_path: Path) -> None:
    labels, out = tmp_path / "labels.jsonl", tmp_path / "out.jsonl"
    assert "expected a name that ends in .jsonl" in say("seeds", "labels", recipe, "--out", tmp_path / "labels.csv")[2]
    assert "no seeds" in say("seeds", "labels", recipe, "--out", out, "--languages", "bn")[2]
    code, _, errors = say("seeds", "labels", recipe, "--out", out, "--set", "refine.label_strategies=['worse']")
    assert code == 1
    assert "refine.label_strategies[0] is 'worse', expected 'pair'" in errors
    assert not out.exists()
    assert "cannot read" in say("eval", "raters", recipe, labels)[2]
    labels.write_text('{"prompt": "a"}\n')
    assert "row 1: 'instruction' is missing" in say("eval", "raters", recipe, labels)[2]
    assert "'none'" in say("eval", "raters", recipe, labels, "--rater", "none")[2]
    say("seeds", "labels", recipe, "--out", labels)
    assert "out.csv, expected a .json file" in say("eval", "raters", recipe, labels, "--out", tmp_path / "out.csv")[2]
    assert "has no pairs in bn" in say("eval", "raters", recipe, labels, "--languages", "bn")[2]
    precise = ("eval", "raters", recipe, labels, "--set", "refine.precision=0.9")
    assert "no threshold of the rater reaches" in say(*precise)[2]
    assert (
        "answer with levels, which embedded does not"
        in say("eval", "raters", recipe, labels, "--set", "refine.model.name='embedded'")[2]
    )
    assert "does not exist" in say("eval", "raters", recipe, labels, "--adapter", "/no/adapter")[2]


def test_labels_are_written_for_every_language(say: Say, recipe: Path, tmp_path: Path) -> None:
    parts = {}
    for part in ("training", "validation", "all"):
        out = tmp_path / f"{part}.jsonl"
        code, shown, errors = say("seeds", "labels", recipe, "--out", out, "--part", part)
        assert code == 0, errors
        parts[part] = read_labels(out)
        assert shown == f"{out}: {len(parts[part])} pairs of {len(parts[part]) // 3} seeds\n"
        assert len(set(Counter(example.level for example in parts[part]).values())) == 1
        assert "best     pair " in errors
    apart = [{example.document for example in parts[part]} for part in ("training", "validation")]
    assert apart[0].isdisjoint(apart[1])
    assert all(apart)
    assert len(apart[0] | apart[1]) == 8
    assert {example.language for example in parts["validation"]} == {"fi", "th"}
    assert len(parts["all"]) == 48


def test_raters_are_compared_on_labels(say: Say, recipe: Path, tmp_path: Path, tiny_model: Path) -> None:
    labels, out = tmp_path / "labels.jsonl", tmp_path / "out.json"
    say("seeds", "labels", recipe, "--out", labels)
    code, shown, errors = say("eval", "raters", recipe, labels, "--out", out)
    assert code == 0, errors
    table = json.loads(out.read_text())
    assert table["labels"] == "labels.jsonl"
    found = [(line["rater"], line["language"], line["pairs"]) for line in table["figures"]]
    assert found == [(r, tag, n) for r in _RATERS for tag, n in (("fi", 24), ("th", 24), ("all", 48))]
    lines = shown.splitlines()
    assert lines[0].split()[:5] == ["language", "rater", "pairs", "best>worst", "best>rest"]
    assert lines[0].split()[5:] == ["precision", "recall", "calibration"]
    for line, figures in zip(lines[1:], table["figures"], strict=True):
        assert line.split()[:3] == [figures["language"], figures["rater"], str(figures["pairs"])]
        for name in ("best_worst", "best_rest"):
            assert f"{figures[name]['value']:.3f} {figures[name]['low']:.3f}-{figures[name]['high']:.3f}" in line
            assert 0 <= figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"] <= 1
        assert (figures["calibration_error"] is None) == (figures["rater"] in ("pmi", "contrastive"))
        assert line.endswith(" -") == (figures["rater"] in ("pmi", "contrastive"))
    # Answers are kept: the same command sends no requests and prints the same.
    assert say("eval", "raters", recipe, labels, "--out", out)[1] == shown
    pmi = ("eval", "raters", recipe, labels, "--rater", "pmi", "--languages", "th")
    code, one, _ = say(*pmi, "--record", tmp_path / "record")
    metrics = {metric.id: metric for metric in read_record(tmp_path / "record" / "raters-pmi.json").metrics}
    (figures,) = (line for line in table["figures"] if (line["rater"], line["language"]) == ("pmi", "th"))
    assert metrics["raters/th/auroc_best_worst/rater=pmi"].value == pytest.approx(figures["best_worst"]["value"])
    assert "raters/th/calibration_error/rater=pmi" not in metrics
    assert [line.split()[:3] for line in one.splitlines()[1:]] == [["th", "pmi", "24"]]
    assert one.splitlines()[1].split() in [line.split() for line in lines]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_only_trained_and_combined_raters_use_the_adapter(
    say: Say, recipe: Path, tmp_path: Path, tiny_model: Path
) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(tiny_model)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(network, config).save_pretrained(tmp_path / "adapter")
    Calibration(20.0).write(tmp_path / "adapter")
    labels = tmp_path / "labels.jsonl"
    say("seeds", "labels", recipe, "--out", labels, "--languages", "fi")
    plain, tuned = (
        {line.split()[1]: line for line in say("eval", "raters", recipe, labels, *more)[1].splitlines()[1:]}
        for more in ((), ("--adapter", tmp_path / "adapter"))
    )
    assert {name for name in _RATERS if plain[name] != tuned[name]} == {"trained", "combined"}
    assert plain.keys() == tuned.keys() == set(_RATERS)
