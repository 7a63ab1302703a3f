"""Fixtures of tests of judges."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from natural_pairs import Natural, make


@pytest.fixture(scope="session")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Natural:
    return make(tmp_path_factory.mktemp("natural"))
