"""A stand-in for a fastText model, which has no small one to test with."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest


class FakeModel:
    """A fastText model that knows Ewe by one letter and calls the rest English."""

    def predict(self, text: str, k: int, threshold: float = 0.0) -> tuple[list[str], list[float]]:
        assert "\n" not in text
        if threshold < 0:
            return ["__label__ewe_Latn", "__label__eng_Latn", "__label__swh_Latn"], [0.5, 0.3, 0.2]
        if "ɖ" in text:
            return ["__label__ewe_Latn", "__label__eng_Latn"][:k], [0.9, 0.1][:k]
        return ["__label__eng_Latn"], [1.00001]


@pytest.fixture
def fasttext(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    module: Any = types.ModuleType("fasttext")

    def load_model(path: str) -> FakeModel:
        if Path(path).stat().st_size == 0:
            raise ValueError("wrong file format")
        return FakeModel()

    module.load_model = load_model
    monkeypatch.setitem(sys.modules, "fasttext", module)
    path = tmp_path / "model.bin"
    path.write_bytes(b"x")
    return path
