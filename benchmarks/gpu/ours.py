"""Everything that these benchmarks import from the package, so that a move there changes one file here."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from x_instruction.config.corpus import Corpus
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.config.section import dumps
from x_instruction.config.training import Align, TrainConfig
from x_instruction.corpus.sources import Document, read
from x_instruction.engines import Choice, Chosen, Completed, Completion, Engine, Request, Result, Scored, Scoring
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import MissingExtra
from x_instruction.generate import generate
from x_instruction.languages import PAPER_LANGUAGES, language
from x_instruction.records import Passage, text_digest
from x_instruction.training.job import EXAMPLES, TrainingExample, TrainJob, write_examples

__all__ = [
    "Choice",
    "Chosen",
    "Completed",
    "Completion",
    "MissingExtra",
    "Request",
    "Result",
    "Scored",
    "Scoring",
    "Warnings",
    "answer",
    "open_transformers",
    "passages",
    "run_stage",
    "topics",
    "train",
    "truncate",
    "write_job",
]


def open_transformers(folder: Path | str, **settings: Any) -> Any:
    """The transformers engine on a model folder (or an embedded model's name)."""
    from x_instruction.engines.local.transformers import TransformersEngine

    return TransformersEngine(Model(name=str(folder), **settings))


def truncate(engine: Engine, text: str, tokens: int) -> str:
    """The longest start of the text that has at most this many tokens."""
    return engine.truncate(text, tokens)


def answer(engine: Engine, requests: Sequence[Request]) -> list[Result]:
    """Answers in the order of the requests, by the engine's own plan."""
    found: dict[int, Result] = {}
    for batch in engine.plan(requests):
        for position, result in engine.answer([requests[row] for row in batch.rows], batch.shared):
            found[batch.rows[position]] = result
    return [found[row] for row in range(len(requests))]


def passages() -> list[Passage]:
    """The sample corpus in ten languages."""
    return [
        Passage(
            id=document.id,
            language=tag,
            text=document.text,
            document_id=document.id,
            segment=0,
            source=document.source,
            url="",
            license=document.license,
            text_hash=text_digest(document.text),
            identified=tag,
            identified_confidence=1.0,
        )
        for tag in PAPER_LANGUAGES
        for document in read(Corpus(source="sample"), language(tag))
        if isinstance(document, Document)
    ]


def topics() -> dict[str, str]:
    """Passage text to its English topic."""
    folder = resources.files("x_instruction.corpus.sample")
    rows = [
        json.loads(line)
        for tag in PAPER_LANGUAGES
        for line in folder.joinpath(f"{tag}.jsonl").read_text("utf-8").splitlines()
    ]
    return {row["text"]: row["topic"] for row in rows}


def run_stage(engine: Engine, tags: Sequence[str], candidates: int, passage_tokens: int, max_tokens: int) -> int:
    """The generate stage with its request cache on disk, as a worker runs it; returns the number of requests."""
    settings = Generate(
        model=Model(name="random"), candidates=candidates, passage_tokens=passage_tokens, max_tokens=max_tokens
    )
    asked = 0
    with tempfile.TemporaryDirectory() as folder, RequestCache(Path(folder) / "cache.sqlite", engine, {}) as cache:
        for tag in tags:
            records = [record for record in passages() if record.language == tag]
            asked += len(list(generate(records, settings, engine, cache.ask, 1)))
    return asked


class Warnings(logging.Handler):
    """Collects the package's warnings, such as a fall back to static batches, while it is open."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __enter__(self) -> Warnings:
        logging.getLogger("x_instruction").addHandler(self)
        return self

    def __exit__(self, *given: object) -> None:
        logging.getLogger("x_instruction").removeHandler(self)


def write_job(folder: Path, base: Path, rows: Sequence[dict[str, str]], settings: dict[str, Any], align: bool) -> None:
    """A training job's folder: rows of prompt, completion, sentence and parallel; ``settings`` of the training."""
    job = TrainJob(model=Model(name=str(base)), train=TrainConfig(**settings), align=Align() if align else None)
    write_examples(folder / EXAMPLES, [TrainingExample(**row) for row in rows])
    (folder / "job.json").write_text(dumps(job), "utf-8")


def train(folder: Path) -> None:
    """Train as a job's folder says, in this process."""
    from x_instruction.training import worker

    worker.train(folder)
