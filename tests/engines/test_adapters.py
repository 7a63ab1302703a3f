"""Adapters that ship with the package: small, with a true card, and of use."""

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


@pytest.mark.parametrize("name", ADAPTERS)
def test_it_is_small_and_its_card_is_what_its_records_say(name: str) -> None:
    folder = adapter_folder(name)
    assert sum(path.stat().st_size for path in folder.rglob("*")) < ship_adapter.LIMIT
    assert (folder / "README.md").read_text("utf-8") == model_card(read(folder), name)
    assert str(Path.home()) not in (folder / "training.json").read_text("utf-8")


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_ships_is_what_the_script_makes_of_it(name: str, tmp_path: Path) -> None:
    role = name.removeprefix("embedded-")
    ship_adapter.main([str(adapter_folder(name)), role, "--into", str(tmp_path)])
    made = {path.name: path.read_bytes() for path in (tmp_path / role).iterdir()}
    shipped = {path.name: path.read_bytes() for path in adapter_folder(name).iterdir() if path.is_file()}
    # Figures are given to the script; without them the card has no results.
    for table in (made, shipped):
        table.pop("README.md")
    assert made == shipped


def test_figures_become_results(tmp_path: Path) -> None:
    compared = tmp_path / "compared.json"
    share = {"value": 0.91234, "low": 0.8, "high": 1.0}
    one = {"rater": "trained", "language": "fi", "pairs": 24, "best_worst": share}
    figures = [one, one | {"rater": "pmi"}, one | {"language": "all"}]
    compared.write_text(json.dumps({"labels": "pairs.jsonl", "figures": figures}), "utf-8")
    folder = adapter_folder("embedded-rater")
    ship_adapter.main([str(folder), "rater", "--compared", str(compared), "--into", str(tmp_path)])
    (figure,) = read(tmp_path / "rater").figures
    result = figure.metric
    assert (result.language, result.name, result.value, result.n) == ("fi", "auroc", 0.912, 24)
    assert result.interval == (0.8, 1.0)
    assert "0.912" in (tmp_path / "rater" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("role", "more", "told"),
    [
        ("rater", [], "is an adapter that writes instructions; a rater writes ratings"),
        ("generator", ["--compared", "{tmp}/none.json"], "expected what `x-instruction eval raters --out` writes"),
        ("generator", ["--results", "{tmp}/none.json"], "expected what benchmarks/generator.py --out writes"),
    ],
)
def test_what_cannot_ship_leaves_what_is_there(
    role: str, more: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / role).mkdir()
    (tmp_path / role / "kept").touch()
    folder = adapter_folder("embedded-generator")
    options = [part.format(tmp=tmp_path) for part in more]
    with pytest.raises(SystemExit):
        ship_adapter.main([str(folder), role, *options, "--into", str(tmp_path)])
    assert told in capsys.readouterr().err
    assert (tmp_path / role / "kept").exists()


def test_a_folder_without_an_adapter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ship_adapter.main([str(tmp_path), "rater"])
    assert "has no adapter_config.json, adapter_model.safetensors, training.json" in capsys.readouterr().err


def test_a_package_without_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "embedded-generator", "nowhere")
    with pytest.raises(EngineError, match="embedded-generator is missing from the package: reinstall"):
        locate("embedded-generator")


@pytest.mark.model
def test_the_rater_tells_a_page_from_another() -> None:
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
    with RequestCache(Path(":memory:"), engine, {}) as ledger:
        good, bad = ledger.ask(asked)
    assert isinstance(good, Chosen)
    assert isinstance(bad, Chosen)
    assert good.probabilities[0] > bad.probabilities[0]
