"""Adapters included in the package: small, useful and with a current card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import ship_adapter

from x_instruction.cards.model import model_card
from x_instruction.cards.records import read
from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.engines import Chosen, open_engine
from x_instruction.engines.embedded import ADAPTERS, adapter_folder
from x_instruction.engines.models import locate
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import EngineError
from x_instruction.refine import calibration
from x_instruction.refine.trained import question

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_adapter_is_small_and_its_card_is_current(name: str) -> None:
    folder = adapter_folder(name)
    assert sum(path.stat().st_size for path in folder.rglob("*")) < ship_adapter.LIMIT
    assert (folder / "README.md").read_text("utf-8") == model_card(read(folder), name)
    assert str(Path.home()) not in (folder / "training.json").read_text("utf-8")


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_included_adapter_equals_the_output_of_the_script(name: str, tmp_path: Path) -> None:
    role = name.removeprefix("embedded-")
    ship_adapter.main([str(adapter_folder(name)), role, "--into", str(tmp_path)])
    folders = (tmp_path / role, adapter_folder(name))
    made, shipped = ({path.name: path.read_bytes() for path in one.rglob("*") if path.is_file()} for one in folders)
    assert made == shipped


def test_the_card_has_the_measured_results(tmp_path: Path) -> None:
    compared = tmp_path / "compared.json"
    share = {"value": 0.91234, "low": 0.8, "high": 1.0}
    one = {"rater": "trained", "language": "fi", "pairs": 24, "best_worst": share}
    figures = [one, one | {"rater": "pmi"}, one | {"language": "all"}]
    compared.write_text(json.dumps({"labels": "pairs.jsonl", "figures": figures}), "utf-8")
    folder = adapter_folder("embedded-rater")
    ship_adapter.main([str(folder), "rater", "--compared", str(compared), "--into", str(tmp_path)])
    (result,) = (figure.metric for figure in read(tmp_path / "rater").figures if figure.metric.language)
    assert (result.language, result.name, result.value, result.n) == ("fi", "auroc", 0.912, 24)
    assert result.interval == (0.8, 1.0)
    assert "0.912" in (tmp_path / "rater" / "README.md").read_text("utf-8")


def test_the_card_of_the_rater_has_the_results_of_the_experiments(tmp_path: Path) -> None:
    folder, results = adapter_folder("embedded-rater"), ROOT / "docs/results/claims-cpu.json"
    figures = [one for one in json.loads(results.read_text("utf-8"))["figures"] if one["experiment"] == "raters"]
    (expected,) = (one for one in figures if (one["arm"], one["baseline"], one["measure"]) == ("trained", "", "first"))
    shipped = {figure.metric.id: figure.metric for figure in read(folder).figures}
    found = shipped["rater/all/first/flaw=all"]
    assert (found.value, found.n) == (round(expected["value"], 3), expected["rows"])
    ship_adapter.main([str(folder), "rater", "--claims", str(results), "--into", str(tmp_path)])
    again = {figure.metric.id: figure.metric for figure in read(tmp_path / "rater").figures}
    assert again == shipped, "run tools/ship_adapter.py with the current results"


@pytest.mark.parametrize(
    ("role", "more", "message"),
    [
        ("rater", [], "is an adapter that writes instructions; a rater writes ratings"),
        ("generator", ["--compared", "{tmp}/none.json"], "expected what `x-instruction eval raters --out` writes"),
        ("generator", ["--claims", "{tmp}/none.json"], "--claims has results of a rater"),
        ("rater", ["--claims", "{tmp}/none.json"], "expected what `x-instruction experiment run claims` writes"),
        ("generator", ["--results", "{tmp}/none.json"], "expected what benchmarks/generator.py --out writes"),
    ],
)
def test_an_invalid_adapter_keeps_the_included_one(
    role: str, more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / role).mkdir()
    (tmp_path / role / "kept").touch()
    folder = adapter_folder("embedded-generator")
    options = [part.format(tmp=tmp_path) for part in more]
    with pytest.raises(SystemExit):
        ship_adapter.main([str(folder), role, *options, "--into", str(tmp_path)])
    assert message in capsys.readouterr().err
    assert (tmp_path / role / "kept").exists()


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ship_adapter.main([str(tmp_path), "rater"])
    assert "has no adapter_config.json, adapter_model.safetensors, training.json" in capsys.readouterr().err


def test_missing_package_data_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "embedded-generator", "nowhere")
    with pytest.raises(EngineError, match="embedded-generator is missing from the package: reinstall"):
        locate("embedded-generator")


@pytest.mark.model
def test_the_rater_distinguishes_pages() -> None:
    settings = Refine(rater="trained", model=Model(name="embedded", adapter="embedded-rater"))
    assert calibration.of(settings.model) is not None
    text = (
        "Kalakeitto on suomalainen keitto. Keitä perunat suolatussa vedessä, lisää sipuli, lohi ja kerma, ja mausta "
        "tillillä. Tarjoa ruisleivän kanssa."
    )
    engine = open_engine(settings.model)
    asked = [
        question(text, "fi", instruction, "en", settings, engine)
        for instruction in ("Explain how to cook a salmon soup.", "Explain how a steam engine works.")
    ]
    with RequestCache(Path(":memory:"), engine, {}) as cache:
        good, bad = cache.ask(asked)
    assert isinstance(good, Chosen)
    assert isinstance(bad, Chosen)
    assert good.probabilities[0] > bad.probabilities[0]
