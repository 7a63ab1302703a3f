"""CPU time of writing candidates for three passages of the demo, in a batch that shrinks and in one that does not.

python benchmarks/preview.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from x_instruction.config.recipe import load
from x_instruction.corpus.stage import passages
from x_instruction.engines import Request, Result
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.generate import generate
from x_instruction.languages import language
from x_instruction.records import Passage


def main() -> None:
    """Print seconds of CPU time for both."""
    recipe = load("demo", {"languages": ["fi"], "corpus.passages": 3})
    with tempfile.TemporaryDirectory() as folder:
        records = list(passages(recipe.corpus, language("fi"), Path(folder)))
    rows = [record for record in records if isinstance(record, Passage)]
    engine = TransformersEngine(recipe.generate.model)

    def ask(requests: Sequence[Request]) -> list[Result]:
        found: dict[int, Result] = {}
        for batch in engine.plan(requests):
            answers = engine.answer([requests[row] for row in batch.rows], batch.shared)
            found |= {batch.rows[position]: answer for position, answer in answers}
        return [found[row] for row in range(len(requests))]

    for shrinks in (False, True):
        engine.shrinks = shrinks
        started = time.process_time()
        written = list(generate(rows, recipe.generate, engine, ask, recipe.seed))
        print(f"shrinks={shrinks}: {time.process_time() - started:.1f} s, {len(written)} candidates")


if __name__ == "__main__":
    main()
