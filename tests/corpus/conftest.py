"""What the corpus tests share: texts of the sample, and files of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def sample_texts() -> Callable[[str], list[str]]:
    """Texts of the sample that ships with the package, by tag."""

    def read(tag: str) -> list[str]:
        content = resources.files("x_instruction.corpus.sample").joinpath(f"{tag}.jsonl").read_text("utf-8")
        return [json.loads(line)["text"] for line in content.splitlines()]

    return read


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as JSON lines and returns the path."""

    def write(rows: list[Any], name: str = "corpus.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        return path

    return write
