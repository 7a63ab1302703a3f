"""Do rounds of rating and tuning raise the share of good pairs among those that are kept?

A mixture of known good and bad pairs is rated, its better half is kept, the rater is tuned on what was kept (examples
of three levels made of it, as a run makes them), and rates the mixture again, without knowing which pairs are good.
Every round starts from the same rater. Precision is the share of good pairs among the kept; half of the mixture is
good, so a rater that knows nothing has 0.5. Intervals are of the difference to the first round, 2,000 bootstrap
samples of documents.

    python benchmarks/sample_pairs.py --labels pairs.jsonl
    python benchmarks/rounds.py pairs.jsonl --adapter embedded-rater --rounds 2 --steps 60
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from x_instruction.config import recipe
from x_instruction.config.refine import Refine
from x_instruction.engines import open_engine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.refine import Rating, labels, trained
from x_instruction.refine.compare import candidate
from x_instruction.refine.label_files import read
from x_instruction.seed.pairs import Pair
from x_instruction.training.job import TrainingExample, TrainJob
from x_instruction.training.launch import launch
from x_instruction.training.roles import rater_examples
from x_instruction.training.tokenization import ExampleEncoder


def scores(examples: list[labels.Example], settings: Refine) -> np.ndarray:
    engine = open_engine(settings.model)
    candidates = [candidate(example, number) for number, example in enumerate(examples)]
    with RequestCache(Path(":memory:"), engine, {}) as cache:
        found = trained.rate(candidates, settings, engine, cache.ask)
    return np.array([made.score if isinstance(made, Rating) else -np.inf for made in found])


def better_half(found: np.ndarray, examples: list[labels.Example]) -> np.ndarray:
    """Of each language the half with the better scores, so that none is left out."""
    kept = np.zeros(len(found), dtype=bool)
    tags = np.array([example.language for example in examples])
    for tag in np.unique(tags):
        (rows,) = np.nonzero(tags == tag)
        kept[rows[np.argsort(-found[rows], kind="stable")][: len(rows) // 2]] = True
    return kept


def examples_of(
    examples: list[labels.Example], kept: np.ndarray, settings: Refine, reader: ExampleEncoder, seed: int
) -> list[TrainingExample]:
    pairs = [
        Pair(
            id=example.id,
            instruction=example.instruction,
            output=example.text,
            language=example.language,
            instruction_language=example.instruction_language,
            source="mixture",
        )
        for example, take in zip(examples, kept, strict=True)
        if take
    ]
    made = labels.examples(pairs, settings.label_strategies, settings.per_level, seed)
    return rater_examples(labels.balance(made, seed), settings, reader)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--adapter", default="embedded-rater")
    parser.add_argument("--recipe", default="adapters", help="whose [refine] says how the rater is asked and tuned")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    loaded = recipe.load(given.recipe)
    start = loaded.refine.model.replace(adapter=given.adapter, threads=given.threads)
    settings = loaded.refine.replace(model=start)
    assert settings.train is not None
    tune = settings.train.replace(
        steps=given.steps,
        learning_rate=given.learning_rate,
        threads=given.threads,
        length_percentile=100.0,
    )
    examples = [example for example in read(given.labels) if example.level != "flawed"]
    good = np.array([example.level == "best" for example in examples])
    documents = np.array([example.document for example in examples])
    reader = ExampleEncoder(start.name, start.revision)
    random = np.random.default_rng(0)
    print(f"{len(examples)} pairs, {int(good.sum())} of them good", flush=True)
    first: np.ndarray | None = None
    with tempfile.TemporaryDirectory() as folder:
        for round in range(given.rounds + 1):
            kept = better_half(scores(examples, settings), examples)
            precision = good[kept].mean()
            line = f"- round {round}: {precision:.3f} of {int(kept.sum())} kept pairs are good"
            if first is None:
                first = kept
            else:
                gains = []
                names = np.unique(documents)
                where = {name: np.nonzero(documents == name)[0] for name in names}
                for _ in range(2_000):
                    rows = np.concatenate([where[name] for name in random.choice(names, len(names))])
                    gains.append(good[rows][kept[rows]].mean() - good[rows][first[rows]].mean())
                low, high = np.percentile(gains, [2.5, 97.5])
                line += f", {precision - good[first].mean():+.3f} ({low:+.3f} to {high:+.3f})"
            print(line, flush=True)
            if round == given.rounds:
                break
            tuning_rows = examples_of(examples, kept, settings, reader, loaded.seed + round)
            target = Path(folder) / f"rater-{round + 1}"
            tuned = launch(TrainJob(model=start, train=tune), tuning_rows, target)
            print(f"  tuned on {len(tuning_rows)} rows, {tuned.seconds:.0f} s, loss {tuned.loss:.2f}", flush=True)
            settings = settings.replace(model=start.replace(adapter=str(target)))


if __name__ == "__main__":
    main()
