"""Render the cards in the repository from the facts beside them (``make docs``); tests keep them current.

model_cards/demo/README.md and the plot in it    from the manifest of a run of the demo
x_instruction/adapters/*/README.md               from the records of the adapters that ship
"""

from __future__ import annotations

import sys
from pathlib import Path

from x_instruction.builders.layout import README
from x_instruction.builders.manifest import Manifest
from x_instruction.cards.dataset import readme
from x_instruction.cards.dataset_facts import DatasetFacts
from x_instruction.cards.model import model_card
from x_instruction.cards.plot import PLOT, plot
from x_instruction.cards.records import read
from x_instruction.engines.embedded import ADAPTERS, adapter_folder

DEMO = Path(__file__).parent.parent / "model_cards" / "demo"


def cards() -> dict[Path, str]:
    """Path to text of every card."""
    manifest = Manifest.read(DEMO)
    rendered = {
        DEMO / README: readme(DatasetFacts.of(manifest.languages, manifest.pretty_name)),
        DEMO / PLOT: plot(manifest.languages),
    }
    for name in ADAPTERS:
        folder = adapter_folder(name)
        rendered[folder / README] = model_card(read(folder), name)
    return rendered


def main() -> int:
    """Write every card."""
    for path, text in cards().items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
