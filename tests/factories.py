"""Records and recipes for tests. Each is complete; keyword arguments replace what a test is about."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from x_instruction.config.corpus import Corpus
from x_instruction.config.diversify import Diversify
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.config.publish import Publish
from x_instruction.config.recipe import Recipe
from x_instruction.config.refine import Refine
from x_instruction.records import Candidate, Curated, Passage, Rated, Record, as_row, schema, text_digest

# No spaces, combining marks and Latin with diacritics are where multilingual code breaks.
TAGS = ("fi", "th", "bn")

VALUES: dict[str, Any] = {
    "document_id": "d",
    "segment": 0,
    "source": "sample",
    "url": "",
    "license": "Apache-2.0",
    "identified_confidence": 1.0,
    "instruction": "What is it?",
    "instruction_language": "en",
    "style": "question",
    "candidate": 0,
    "round": 0,
    "finish_reason": "stop",
    "generator": "org/generator",
    "generator_revision": "abc",
    "generator_prompt": "def",
    "rater": "pmi:org/rater",
    "rater_revision": "ghi",
    "score": 0.0,
    "p_best": None,
    "p_flawed": None,
    "p_worst": None,
    "cluster": 0,
    "rank": 0,
    "selector": "kmeans",
    "embedder": "org/embedder",
    "embedder_revision": "jkl",
}


def batch(records: Iterable[Curated]) -> pa.RecordBatch:
    """Records as Arrow holds them."""
    return pa.RecordBatch.from_pylist(list(map(as_row, records)), schema=schema(Curated))


def record(kind: type[Record], text: str, tag: str, **changes: Any) -> Record:
    """A record of a stage."""
    digest = text_digest(text)
    own = {"id": f"{tag}-{digest[:16]}", "language": tag, "text": text, "text_hash": digest, "identified": tag}
    values = VALUES | own | changes
    return kind(**{name: values[name] for name in kind.__dataclass_fields__} | changes)


def passage(text: str = "Jibu.", tag: str = "sw", **changes: Any) -> Passage:
    return record(Passage, text, tag, **changes)


def candidate(text: str = "Jibu.", tag: str = "sw", **changes: Any) -> Candidate:
    return record(Candidate, text, tag, **changes)


def rated(text: str = "Jibu.", tag: str = "sw", **changes: Any) -> Rated:
    return record(Rated, text, tag, **changes)


def curated(text: str = "Jibu.", tag: str = "sw", **changes: Any) -> Curated:
    return record(Curated, text, tag, **changes)


def settings(languages: tuple[str, ...], name: str = "tiny", **publish: Any) -> Recipe:
    """A recipe of a run that is never started."""
    model = Model(name="org/generator")
    return Recipe(
        name=name,
        languages=languages,
        corpus=Corpus(source="sample"),
        generate=Generate(model=model),
        refine=Refine(rater="pmi", model=model),
        diversify=Diversify(embedder="embedded"),
        publish=Publish(**publish),
    )


def write_recipe(path: Path, model: Path, **sections: dict[str, Any]) -> Path:
    """Write a recipe over the sample corpus with a tiny model; keyword arguments replace whole sections."""
    table: dict[str, Any] = {
        "corpus": {"source": "sample", "shard_size": 5},
        "generate": {"candidates": 2, "max_tokens": 8, "passage_tokens": 64, "min_chars": 1},
        "generate.model": {"name": str(model), "batch_size": 8},
        "refine": {"rater": "pmi", "direction": "instruction", "response_tokens": 64, "min_score": -1000.0},
        "refine.model": {"name": str(model), "batch_size": 8},
        "diversify": {"embedder": "embedded", "quota": 8},
    } | sections
    lines = ['name = "test"', f"languages = {json.dumps(list(TAGS))}"]
    for name, values in table.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path.write_text("\n".join(lines), "utf-8")
    return path
