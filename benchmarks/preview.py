"""CPU time of a passage of the demo, in the batches of a preview and in those of a run.

python benchmarks/preview.py [LANGUAGE ...]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from x_instruction.config.recipe import load
from x_instruction.corpus.stage import passages
from x_instruction.engines import Ask, Request, Result
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.generate import generate
from x_instruction.languages import language
from x_instruction.records import Candidate, Passage
from x_instruction.refine import refine


def through(engine: TransformersEngine) -> Ask:
    """Asks an engine without a cache."""

    def ask(requests: Sequence[Request]) -> list[Result]:
        found: dict[int, Result] = {}
        for batch in engine.plan(requests):
            answers = engine.answer([requests[row] for row in batch.rows], batch.shared)
            found |= {batch.rows[position]: answer for position, answer in answers}
        return [found[row] for row in range(len(requests))]

    return ask


def timed(function: Callable[[], list[object]], rows: int) -> tuple[list[object], float]:
    """The result, and seconds of CPU time per row."""
    started = time.process_time()
    return function(), (time.process_time() - started) / rows


def main(tags: Sequence[str]) -> None:
    """Print seconds of CPU time per passage."""
    recipe = load("demo")
    generator, rater = TransformersEngine(recipe.generate.model), TransformersEngine(recipe.refine.rater_model)
    for tag in tags:
        with tempfile.TemporaryDirectory() as folder:
            records = list(passages(recipe.corpus, language(tag), Path(folder)))
        found = [record for record in records if isinstance(record, Passage)]
        # The first round fills caches, and is not printed.
        for name, rows, shrinks in (("", found[:1], True), ("preview", found[:3], True), ("run", found, False)):
            generator.shrinks = shrinks
            written, writing = timed(
                lambda rows=rows: list(generate(rows, recipe.generate, generator, through(generator), recipe.seed)),  # type: ignore[misc]
                len(rows),
            )
            candidates = [record for record in written if isinstance(record, Candidate)]
            _, rating = timed(
                lambda some=candidates: list(refine(some, recipe.refine, rater, through(rater))),  # type: ignore[misc]
                len(rows),
            )
            if name:
                print(f"{tag}, {name}: {writing:.2f} s to write, {rating:.2f} s to rate, for a passage")


if __name__ == "__main__":
    main(sys.argv[1:] or ["fi", "th"])
