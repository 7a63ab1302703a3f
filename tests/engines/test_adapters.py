"""Adapters that ship with the package: small, with a true card, and of use."""

from __future__ import annotations

from pathlib import Path

import pytest

from x_instruction.cards.model import model_card
from x_instruction.cards.records import read
from x_instruction.engines import Chosen, open_engine
from x_instruction.engines.embedded import ADAPTERS, adapter_folder
from x_instruction.engines.ledger import Ledger
from x_instruction.engines.models import locate
from x_instruction.errors import EngineError
from x_instruction.recipe import Model, Refine
from x_instruction.refine import calibration
from x_instruction.refine.trained import question

# A megabyte is a million bytes on the package index.
LIMIT = 12_000_000


@pytest.mark.parametrize("name", ADAPTERS)
def test_it_is_small_and_its_card_is_what_its_records_say(name: str) -> None:
    folder = adapter_folder(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) < LIMIT
    assert (folder / "README.md").read_text("utf-8") == model_card(read(folder), name)
    assert str(Path.home()) not in (folder / "training.json").read_text("utf-8")


def test_a_package_without_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "embedded-generator", "nowhere")
    with pytest.raises(EngineError, match="embedded-generator is missing from the package: install"):
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
    with Ledger(Path(":memory:"), engine, {}) as ledger:
        good, bad = ledger.ask(asked)
    assert isinstance(good, Chosen)
    assert isinstance(bad, Chosen)
    assert good.probabilities[0] > bad.probabilities[0]
