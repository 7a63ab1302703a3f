"""Folders as ``build`` writes them, without a run behind them and without being loaded back."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path

from factories import batch, curated, settings

from x_instruction.builders.files import split_writers
from x_instruction.builders.layout import texts_and_manifest
from x_instruction.builders.manifest import Manifest
from x_instruction.builders.schema import published
from x_instruction.builders.splits import Shares, parts
from x_instruction.cards.facts import LanguageSet, Provenance, RowFacts
from x_instruction.cards.recipes import recipe_facts
from x_instruction.diversify.report import describe
from x_instruction.records import Curated


def row(tag: str, number: int, chars: int, seed: int) -> Curated:
    """A curated record whose text, hex of that many characters, does not shrink below half."""
    text = f"{tag} {number} {random.Random(f'{seed} {tag} {number}').randbytes(chars // 2).hex()}"
    return curated(
        text,
        tag,
        document_id=f"{tag}-{number}",
        source="corpus",
        license="CC BY-SA 4.0",
        identified_confidence=0.9,
        instruction=f"What is known of number {number}?",
        score=0.1,
        rank=number,
    )


def built(
    folder: Path,
    tags: tuple[str, ...],
    rows: int = 8,
    rows_per_file: int = 4,
    chars: int = 40,
    seed: int = 0,
    test: float = 0.0,
) -> Path:
    """A folder with some languages, each with as many rows of as many characters."""
    records = {tag: [row(tag, number, chars, seed) for number in range(rows)] for tag in tags}
    return written(folder, records, rows_per_file, test)


def written(
    folder: Path, records: Mapping[str, Iterable[Curated]], rows_per_file: int = 100_000, test: float = 0.0
) -> Path:
    """A folder with the rows of each language."""
    sets = {}
    asked = settings(tuple(records), test=test)
    shares = Shares.of(asked)
    report = describe(["Write of rice"], clusters=[0])
    for tag, several in records.items():
        facts = RowFacts()
        with split_writers(folder, tag, shares.splits, rows_per_file) as writers:
            rows = batch(several)
            facts.add(rows)
            for split, part in parts(published(rows), shares).items():
                writers[split].add(part)
            splits = {split: done for split, writer in writers.items() if (done := writer.finish()).rows}
        made = Provenance(
            recipe=recipe_facts(asked),
            stages=(),
            spreads={},
            variety={"before": report, "random": report, "after": report},
            samples=(),
        )
        sets[tag] = LanguageSet(tag, splits, facts, made)
    texts, manifest = texts_and_manifest(sets, "A set")
    for path, text in texts.items():
        (folder / path).write_bytes(text)
    manifest.write(folder)
    return folder


def with_report(folder: Path, page: bytes) -> Path:
    """A built folder with a report beside its card."""
    read = Manifest.read(folder)
    texts, manifest = texts_and_manifest(read.languages, read.pretty_name, report=page)
    for path, text in texts.items():
        (folder / path).write_bytes(text)
    manifest.write(folder)
    return folder
