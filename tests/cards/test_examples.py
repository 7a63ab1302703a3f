"""The cards in the repository are what the templates render from the facts beside them."""

from __future__ import annotations

from pathlib import Path

import make_cards
import pytest


@pytest.mark.parametrize("path", make_cards.cards(), ids=lambda path: path.parent.name)
def test_a_card_in_the_repository_is_current(path: Path) -> None:
    assert path.read_text("utf-8") == make_cards.cards()[path], "run make docs"
