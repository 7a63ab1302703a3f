"""One small run of all experiments with the tiny model, which the tests of experiments share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import warm

from x_instruction.experiments.claims import analysis, design, pool, run

# Rows of each language in the pool of the tests.
ROWS = {"fr": 60, "sw": 60, "vi": 60, "ja": 40, "ko": 12}
SMALL = {"seen": 8, "unseen_language": 6, "unseen_source": 4, "curve": [8, 16], "multilingual": [0, 2, 16]}


@dataclass(frozen=True)
class Shared:
    """The run.

    Args:
        design: its TOML file.
        pool: its documents.
        folder: of its results.
        outcome: what it found.
    """

    design: Path
    pool: Path
    folder: Path
    outcome: run.Outcome

    def results(self) -> dict[str, Any]:
        """``results.json``."""
        return run.read_results(self.folder / run.RESULTS)


WriteDesign = Callable[..., Path]


@pytest.fixture(scope="session")
def write_design(tiny_model: Path) -> WriteDesign:
    """Writes the design that ships with the tiny model and fewer rows; keyword arguments change its sections."""

    def write(file: Path, **changes: dict[str, Any]) -> Path:
        table = design.load().model_dump(mode="json")
        table |= {"model": str(tiny_model), "rater_adapter": "", "heldout_languages": ["ko"]}
        # The tiny model has more tokens for a prompt than the rows of the alignment that ships.
        table["align_train"]["max_tokens"] = 200
        table["profiles"] = {"small": table["profiles"]["small"] | SMALL}
        for section, values in changes.items():
            table[section] = table[section] | values
        file.write_text(tomli_w.dumps(_without_none(table)), "utf-8")
        return file

    return write


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="session")
def small_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents in five languages of the pool that ships, one of them held out."""
    left = dict(ROWS)
    lines = []
    for document in pool.read():
        if left.get(document.language, 0):
            left[document.language] -= 1
            lines.append(json.dumps(asdict(document), ensure_ascii=False))
    file = tmp_path_factory.mktemp("claims-pool") / "pool.jsonl"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


@pytest.fixture(scope="session")
def shared(write_design: WriteDesign, small_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """All experiments at the smallest sizes."""
    root = tmp_path_factory.mktemp("claims")
    file = write_design(root / "design.toml")
    with pytest.MonkeyPatch.context() as patch:
        warm.trainings(patch.setattr)
        patch.setattr(analysis, "DRAWS", 200)
        outcome = run.run(
            design.load(file),
            "small",
            root / "run",
            documents=small_pool,
            device="cpu",
        )
    return Shared(file, small_pool, root / "run", outcome)
