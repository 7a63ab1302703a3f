"""A recipe whose generator and rater are trained, and what runs of it must have in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from x_instruction.config.corpus import Corpus
from x_instruction.config.recipe import Recipe, load
from x_instruction.config.section import toml_value
from x_instruction.corpus.sources import Document, read
from x_instruction.languages import language

Write = Callable[..., Path]
TUNE = {"steps": 2, "batch_size": 4, "device_batch_size": 4, "rank": 2, "threads": 1, "device": "cpu", "save_steps": 1}


@pytest.fixture
def seeds(tmp_path: Path) -> str:
    """Seed files of Finnish and Thai, none of Bengali."""
    for tag in ("fi", "th"):
        texts = [found.text for found in read(Corpus(source="sample"), language(tag)) if isinstance(found, Document)]
        rows = [
            {"id": f"page-{n}", "instruction": f"Explain thing number {n} in detail.", "output": text}
            for n, text in enumerate(texts)
        ]
        (tmp_path / f"{tag}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(tmp_path / "{tag}.jsonl")


@pytest.fixture
def looped_file(recipe_file: Write, tiny_model: Path, seeds: str) -> Path:
    """The file of a recipe whose generator and rater are tuned, with two rounds."""
    model = {"name": str(tiny_model), "batch_size": 8}
    return recipe_file(
        **{
            "seeds": {"paths": [seeds], "near_duplicate_jaccard": 1.0},
            "corpus": {"source": "sample", "shard_size": 5, "passages": 7},
            "generate": {"candidates": 2, "max_tokens": 8, "passage_tokens": 32, "min_chars": 1},
            "generate.model": model,
            "generate.train": TUNE,
            "refine": {
                "rater": "trained",
                "response_tokens": 32,
                "min_score": 0.34,
                "rounds": 2,
                "convergence_tolerance": 0.0,
                "label_strategies": ["pair", "shuffled", "random-negative"],
                "validation": 0.3,
                "prior": 0.34,
            },
            "refine.model": model,
            "refine.train": TUNE,
        }
    )


@pytest.fixture
def looped(looped_file: Path) -> Callable[..., Recipe]:
    """The recipe, with overrides."""
    return lambda **overrides: load(looped_file, {key: toml_value(value) for key, value in overrides.items()})


def bytes_of(root: Path) -> dict[str, bytes]:
    """Every shard and every weight of a run."""
    files = [
        *root.glob("*/**/*.parquet"),
        *root.glob("models/*/*.safetensors"),
        *root.glob("models/*/calibration.json"),
    ]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}
