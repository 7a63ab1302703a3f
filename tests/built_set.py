"""Folders as ``build`` writes them, without a run behind them and without being loaded back."""

from __future__ import annotations

import random
from pathlib import Path

from x_instruction.builders.files import split_writers
from x_instruction.builders.layout import texts_and_manifest
from x_instruction.builders.schema import published
from x_instruction.builders.splits import Shares, split_of
from x_instruction.cards.facts import LanguageSet, Provenance, RowFacts
from x_instruction.cards.recipes import recipe_facts
from x_instruction.config.corpus import Corpus
from x_instruction.config.diversify import Diversify
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.config.publish import Publish
from x_instruction.config.recipe import Recipe
from x_instruction.config.refine import Refine
from x_instruction.diversify.report import describe
from x_instruction.records import Curated, text_digest


def row(tag: str, number: int, chars: int, seed: int) -> Curated:
    """A curated record whose text, hex of that many characters, does not shrink below half."""
    text = f"{tag} {number} {random.Random(f'{seed} {tag} {number}').randbytes(chars // 2).hex()}"
    digest = text_digest(text)
    return Curated(
        id=f"{tag}-{digest[:16]}",
        language=tag,
        text=text,
        document_id=f"{tag}-{number}",
        segment=0,
        source="corpus",
        url="",
        license="CC BY-SA 4.0",
        text_hash=digest,
        identified=tag,
        identified_confidence=0.9,
        instruction=f"What is known of number {number}?",
        instruction_language="en",
        style="question",
        candidate=0,
        round=0,
        finish_reason="stop",
        generator="org/generator",
        generator_revision="abc",
        generator_prompt="def",
        rater="pmi:org/rater",
        rater_revision="ghi",
        score=0.1,
        p_best=None,
        p_flawed=None,
        p_worst=None,
        cluster=0,
        rank=number,
        selector="kmeans",
        embedder="org/embedder",
        embedder_revision="jkl",
    )


def settings(tags: tuple[str, ...], name: str = "tiny", **publish: float) -> Recipe:
    """A recipe of some languages."""
    model = Model(name="org/generator")
    return Recipe(
        name=name,
        languages=tags,
        corpus=Corpus(source="sample"),
        generate=Generate(model=model),
        refine=Refine(rater="pmi", model=model),
        diversify=Diversify(embedder="embedded"),
        publish=Publish(**publish),
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
    sets = {}
    asked = settings(tags, test=test)
    shares = Shares.of(asked)
    report = describe(["Write of rice"], clusters=[0])
    for tag in tags:
        facts = RowFacts()
        with split_writers(folder, tag, shares.splits, rows_per_file) as writers:
            for number in range(rows):
                record = row(tag, number, chars, seed)
                writers[split_of(record.document_id, shares)].add(published(record))
                facts.add(record)
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
