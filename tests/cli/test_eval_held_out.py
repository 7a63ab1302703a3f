"""``x-instruction eval held-out``: errors, the table, the file, and a comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from x_instruction.cli import cli
from x_instruction.config.corpus import Corpus
from x_instruction.corpus.sources import Document, read
from x_instruction.errors import XInstructionError
from x_instruction.languages import language


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two rows in each of three scripts, and one without a language."""
    rows = [{"instruction": "Why?", "output": "because"}]
    for tag in ("fi", "th", "bn"):
        texts = [d.text for d in read(Corpus(source="sample"), language(tag)) if isinstance(d, Document)][:2]
        rows += [{"instruction": f"Why {n}?", "output": text, "language": tag} for n, text in enumerate(texts)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def heldout(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["eval", "held-out", *map(str, arguments)])


def refused(*arguments: object) -> str:
    done = heldout(*arguments)
    assert isinstance(done.exception, XInstructionError), done.output
    return str(done.exception)


SHORT = ("--max-tokens", "16", "--answer-tokens", "4")


def test_bad_input_is_reported_before_a_model_is_loaded(tmp_path: Path, data: Path) -> None:
    assert heldout(tmp_path).exit_code == 2
    assert "cannot read" in refused("/no/model", tmp_path / "none.jsonl")
    assert "unknown key engin, did you mean 'engine'" in refused("/no/model", data, "--set", "engin=vllm")
    assert "KEY=VALUE" in refused("/no/model", data, "--set", "vllm")
    assert "none.json is not a file of results" in refused("/no/model", data, "--baseline", tmp_path / "none.json")
    assert "rows.jsonl is not a file of results" in refused("/no/model", data, "--baseline", data)
    assert "out.txt, expected a .json file" in refused("/no/model", data, "--out", tmp_path / "out.txt")
    assert "/no/model does not exist" in refused("/no/model", data)
    assert heldout("/no/model", data, "--max-tokens", "0").exit_code == 2


def test_a_model_that_cannot_be_evaluated_is_refused(tiny_model: Path, data: Path) -> None:
    assert "has no chat template" in refused(tiny_model, data, "--prompt", "chat")
    message = refused("batch:x", data, "--set", "engine=batch", "--prompt", "answer")
    assert "batch:x must score to be evaluated" in message


def test_results_are_printed_written_and_compared(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    out = tmp_path / "base.json"
    done = heldout(tiny_model, data, *SHORT, "--out", out)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["bn", "2"], ["fi", "2"], ["th", "2"], ["all", "6"]]
    assert done.stderr.split() == ["dropped", "no_language", "1"]
    kept = json.loads(out.read_text("utf-8"))
    assert kept["model"] == tiny_model.name
    assert str(tmp_path) not in out.read_text("utf-8")
    assert (kept["settings"], kept["prompt"]) == ({"max_tokens": 16, "answer_tokens": 4}, "auto")
    fi = [row for row in kept["results"] if row["language"] == "fi"]
    rate = sum(row["bits"] for row in fi) / sum(row["bytes"] for row in fi)
    assert lines[2].split()[2] == f"{rate:.4f}"
    assert kept["metrics"]["fi"]["bits_per_byte"] == pytest.approx(rate)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.json", "rows.jsonl"]

    assert "was evaluated with max_tokens = 16, expected 8" in refused(
        tiny_model, data, "--max-tokens", 8, "--answer-tokens", 4, "--baseline", out
    )
    for row in kept["results"]:
        row["bits"] -= row["bytes"]
        row["in_language"] = True
    out.write_text(json.dumps(kept), "utf-8")
    again = heldout(tiny_model, data, *SHORT, "--limit", "1", "--baseline", out)
    assert again.exit_code == 0, again.output
    compared = again.stdout.split(f"difference to {tiny_model.name}, on the same rows\n")[1].splitlines()
    assert compared[-1].split()[:6] == ["all", "3", "1.0000", "(1.0000", "to", "1.0000)"]
    assert compared[-1].split()[6:10] == ["-1.0000", "(-1.0000", "to", "-1.0000)"]


# PEFT reads an attribute that transformers deprecates.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_adapter_is_evaluated_as_a_model_of_its_own(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    wrapped = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model),
        peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    wrapped.save_pretrained(tmp_path / "lora")
    kept = []
    for more in ((), ("--adapter", tmp_path / "lora")):
        done = heldout(tiny_model, data, *SHORT, *more, "--out", tmp_path / "out.json")
        assert done.exit_code == 0, done.output
        kept.append(json.loads((tmp_path / "out.json").read_text("utf-8")))
    assert kept[1]["model"] == f"{tiny_model.name}+lora"
    pairs = zip(kept[0]["results"], kept[1]["results"], strict=True)
    assert all(abs(base["bits"] - tuned["bits"]) > 1e-3 for base, tuned in pairs)


def test_the_gain_is_recorded(tmp_path: Path, tiny_model: Path, data: Path) -> None:
    from x_instruction.evaluation.comparison import compare
    from x_instruction.evaluation.record import read_instances, read_record

    done = heldout(tiny_model, data, *SHORT, "--gain", "--record", tmp_path / "a", "--json")
    assert done.exit_code == 0, done.exception
    rows = {row["language"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {"bn", "fi", "th", "all"}
    # Two responses per language: at random, the matching one is found in one of two cases.
    assert {row["chance"] for row in rows.values()} == {0.5}
    record = read_record(tmp_path / "a" / "held-out.json")
    metrics = {metric.id: metric for metric in record.metrics}
    assert metrics["held-out/fi/conditional_gain"].value == rows["fi"]["gain"]
    assert metrics["held-out/all/own_response_found"].value == rows["all"]["found"]
    assert metrics["held-out/fi/bits_per_byte"].value == rows["fi"]["bits_per_byte"]
    assert not metrics["held-out/fi/bits_per_byte"].higher_is_better
    gains = [row.score for row in read_instances(record) if row.metric == "held-out/fi/conditional_gain"]
    assert sum(gains) / len(gains) == pytest.approx(rows["fi"]["gain"])
    pairs = {pair.a.id: pair for pair in compare([record], [record])}
    assert (pairs["held-out/fi/conditional_gain"].pairs, pairs["held-out/fi/conditional_gain"].difference) == (2, 0.0)
    table = heldout(tiny_model, data, *SHORT, "--gain").stdout
    assert "conditional gain" in table
    message = refused(tiny_model, data, *SHORT, "--record", tmp_path / "a")
    assert "gain" in message
    assert read_record(tmp_path / "a" / "held-out.json").id == record.id
