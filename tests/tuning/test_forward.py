"""Tuning on rows of any file, the choice of a learning rate, and the record for the card; with a tiny model."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from x_instruction.cards import records
from x_instruction.cli import cli
from x_instruction.corpus.sources import Document, read
from x_instruction.engines.transformers import TransformersEngine
from x_instruction.errors import CorpusError, MissingExtra, RecipeError, TuningError
from x_instruction.languages import language
from x_instruction.recipe import Corpus, Model, Tune
from x_instruction.tuning import forward, heldout
from x_instruction.tuning.mixing.files import sources
from x_instruction.tuning.recipe import Tuning, load
from x_instruction.tuning.sizes import curve, fit

TUNE = [
    "tune.steps=2",
    "tune.batch_size=4",
    "tune.device_batch_size=4",
    "tune.rank=2",
    "tune.threads=1",
    "tune.device=cpu",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve rows of Finnish and twelve of Thai."""
    rows = []
    for tag in ("fi", "th"):
        for number, found in enumerate(read(Corpus(source="sample"), language(tag))):
            assert isinstance(found, Document)
            rows.append(
                {"id": f"{tag}-{number}", "instruction": f"Tell of {number}.", "output": found.text, "language": tag}
            )
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def settings(model: Path, *sets: str) -> Tuning:
    return load("embedded", dict(pair.split("=", 1) for pair in (f"model.name='{model}'", *TUNE, *sets)))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["tune", *map(str, arguments)])


def test_nothing_to_tune_on(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"instruction": "a", "output": " ", "language": "fi"}\n', "utf-8")
    with pytest.raises(CorpusError, match=r"no row to tune on in empty\.jsonl \(empty 1\)"):
        forward.read(sources(str(empty), "web"))


def test_rows_whose_language_nobody_says(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "a", "output": "b"}\n', "utf-8")
    with pytest.raises(CorpusError, match=r"no_language 1"):
        forward.read(sources(str(path), "web"))
    assert forward.read(sources(f"fi={path}", "web")).pairs[0].language == "fi"


def test_sentences_to_align_go_with_their_row(tmp_path: Path) -> None:
    """Rows need no id for it, and an id that several rows have says nothing of the others."""
    same = {"id": "1", "instruction": "a", "output": "b", "language": "fi"}
    rows = [
        {"instruction": "a", "output": "b", "language": "fi", "sentence": "one", "parallel": "yksi"},
        {**same, "sentence": "two", "parallel": "kaksi"},
        {**same, "output": "c"},
        {**same, "output": "d", "sentence": "three", "parallel": None},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    data = forward.read(sources(str(path), "web"))
    assert [pair.id for pair in data.pairs] == ["rows.jsonl:1", "1", "1", "1"]
    found = [data.parallel.get(pair) for pair in data.pairs]
    assert found == [("one", "yksi"), ("two", "kaksi"), None, None]


def test_rows_longer_than_the_context(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    wanted = settings(tiny_model, "tune.max_tokens=999999")
    with pytest.raises(TuningError, match=r"max_tokens is 999,999, and .* reads"):
        forward.tune(wanted, forward.read(sources(str(data), "web")), tmp_path / "m", print)


def test_a_chat_prompt_without_a_template(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="chat template"):
        forward.tune(
            settings(tiny_model, "prompt=chat"), forward.read(sources(str(data), "web")), tmp_path / "m", print
        )


def test_everything_kept_apart(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    wanted = settings(tiny_model, "learning_rates=[1e-3]", "development=1000")
    with pytest.raises(TuningError, match="development = 1000 leaves no row to tune on: 24 rows are there"):
        forward.tune(wanted, forward.read(sources(str(data), "web")), tmp_path / "m", print)


def test_the_command_tunes_and_records(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "mine"
    sets = [part for pair in (f"model.name={tiny_model}", *TUNE) for part in ("--set", pair)]
    done = run("embedded", data, "--out", out, *sets)
    assert done.exit_code == 0, done.output
    assert "cut at" in done.output
    assert "2 steps" in done.output
    found = records.read(out).training
    assert found.languages == ("fi", "th")
    assert found.relation == "adapter"
    assert found.rows == 24
    assert found.steps == 2
    assert "{instruction}" in found.prompt
    assert str(tmp_path) not in (out / "training.json").read_text()
    assert str(tiny_model) not in (out / "training.json").read_text()
    TransformersEngine(Model(name=str(tiny_model), adapter=str(out)))
    again = run("embedded", data, "--out", out, *sets)
    assert again.exit_code == 1
    assert "is there already" in str(again.exception)


def test_without_a_recipe_those_that_ship_are_listed() -> None:
    done = run()
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.output.splitlines()] == ["afp", "embedded", "x-instruction"]


def test_the_learning_rate_that_does_best_is_taken(
    tiny_model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By development rows of the target languages; those are not tuned on."""
    wanted = settings(tiny_model, "learning_rates=[1e-6, 1e-2]", "trial=6", "development=4", "answer_tokens=4")
    said: list[str] = []
    done = forward.tune(wanted, forward.read(sources(str(data), "web")), tmp_path / "m", said.append)
    rates: dict[str, Any] = json.loads((tmp_path / "m" / forward.RATES).read_text())
    assert set(rates) == {"1e-06", "0.01"}
    best = max(rates, key=lambda rate: rates[rate]["score"])
    assert records.read(tmp_path / "m").training.hyperparameters["learning_rate"] == float(best)
    assert rates["0.01"]["bits_per_byte"] < rates["1e-06"]["bits_per_byte"]
    assert done.rows == 20
    assert any("is the best of 2" in line for line in said)
    assert not (tmp_path / ".m.trials").exists()


EWE = "Tsi dza ŋdi sia, eye ɖeviwo ƒu du yi aƒeme hafi ahom va ɖo."


@pytest.fixture
def ewe(tmp_path: Path) -> Path:
    """Rows of a language that py3langid does not know."""
    path = tmp_path / "ewe.jsonl"
    rows = ({"instruction": f"Tell of {n}.", "output": f"{EWE} {n}", "language": "ee"} for n in range(8))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_a_language_that_nobody_identifies_is_told_before_anything_is_tuned(
    tiny_model: Path, ewe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "launch", lambda *given, **more: pytest.fail("tuned"))
    data = forward.read(sources(str(ewe), "web"))
    told = r"py3langid does not know Ewe \('ee'\): set lid_model to the file of a fastText model .*languages\)$"
    with pytest.raises(RecipeError, match=told):
        forward.tune(settings(tiny_model, "learning_rates=[1e-3]", "development=2"), data, tmp_path / "m", print)
    rows, _ = heldout.read([str(ewe)])
    with pytest.raises(RecipeError, match=told):
        curve(settings(tiny_model), data, [2, 4], rows, tmp_path / "sizes", print)
    missing = settings(tiny_model, "learning_rates=[1e-3]", "development=2", "lid_model=none.bin")
    with pytest.raises((RecipeError, MissingExtra), match=r"^lid_model none.bin is not a file|fasttext"):
        forward.tune(missing, data, tmp_path / "m", print)


def test_the_recipe_names_what_identifies(
    tiny_model: Path, ewe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "lid.bin"
    model.touch()
    module: Any = types.ModuleType("fasttext")
    module.load_model = lambda path: types.SimpleNamespace(predict=lambda text, k: (["__label__ewe_Latn"], [1.0]))
    monkeypatch.setitem(sys.modules, "fasttext", module)
    monkeypatch.setattr(heldout, "answers", lambda rows, *given: [EWE] * len(rows))
    rows, _ = heldout.read([str(ewe)], 2)
    asked = dataclasses.replace(settings(tiny_model, f"lid_model={model}"), tune=Tune(method="full"))
    assert forward.worth(asked, tiny_model, rows)["ee"].right == 1.0


def test_the_line_through_sizes() -> None:
    line = fit([1, 10, 100], [2.0, 2.0 + 3 * 2.302585092994046, 2.0 + 6 * 2.302585092994046])
    assert (line.slope, line.constant) == (pytest.approx(3.0), pytest.approx(2.0))
    assert line.low == pytest.approx(3.0)
    with pytest.raises(RecipeError, match="wanted two different ones"):
        fit([5, 5], [1.0, 2.0])
