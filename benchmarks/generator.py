"""Does a tuned generator write better instructions than the prompted base, on pages that no model was trained on?

Both write candidates for every page of the sample corpus (ten languages), whose English topic is known. Compared: the
share of candidates that pass the stage's own checks, the cosine of candidate and topic (all-MiniLM-L6-v2), and how much
the candidate gains from its page (``pmi`` by the base model, nats). A page counts once: the mean over its candidates.
Intervals are of the paired difference, 2,000 bootstrap samples of pages.

    python benchmarks/generator.py --adapter runs/adapters/models/generator-0 --out results.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from x_instruction.config import recipe
from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.engines import Engine, open_engine
from x_instruction.engines.local.embedder import Embedder
from x_instruction.engines.request_cache import RequestCache
from x_instruction.evaluation.metric import ModelInfo
from x_instruction.evaluation.record import write_record
from x_instruction.generate import generate
from x_instruction.languages import PAPER_LANGUAGES
from x_instruction.records import Candidate, Passage, text_digest
from x_instruction.refine import Rating, pmi

sys.path.append(str(Path(__file__).parents[1] / "tools"))
from ship_adapter import on_the_sample

# Figures of a candidate, and their descriptions.
FIGURES = {
    "usable": "share of candidates that pass the checks",
    "cosine": "similarity of the candidate and the page's topic, all-MiniLM-L6-v2",
    "pmi": "nats that a candidate gains from its page, scored by the base",
}
# Their ranges and units, where they are not shares.
SCALES: dict[str, dict[str, Any]] = {
    "cosine": {"minimum": -1.0, "unit": "cosine"},
    "pmi": {"minimum": None, "maximum": None, "unit": "nats"},
}


def pages(tag: str, number: int) -> list[tuple[Passage, str]]:
    lines = resources.files("x_instruction.corpus.sample").joinpath(f"{tag}.jsonl").read_text("utf-8").splitlines()
    found = []
    for line in lines[:number]:
        row = json.loads(line)
        text = row["text"]
        passage = Passage(
            id=row["id"],
            language=tag,
            text=text,
            document_id=row["id"],
            segment=0,
            source="sample",
            url="",
            license="Apache-2.0",
            text_hash=text_digest(text),
            identified=tag,
            identified_confidence=1.0,
        )
        found.append((passage, row["topic"]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--recipe", default="english-pages", help="whose [generate] the prompted base follows")
    parser.add_argument("--pages", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="results for the adapter's card, .json")
    given = parser.parse_args()
    prompted = recipe.load(given.recipe).generate
    base = prompted.model.replace(threads=given.threads, adapter=None)
    prompted = prompted.replace(model=base, prompt="auto")
    tuned = prompted.replace(model=base.replace(adapter=given.adapter), prompt="trained-auto", passage_tokens=96)
    data = {tag: pages(tag, given.pages) for tag in PAPER_LANGUAGES}
    written: dict[str, dict[str, list[Candidate]]] = {}
    for name, settings in (("prompted", prompted), ("tuned", tuned)):
        engine = open_engine(settings.model)
        started = time.monotonic()
        written[name] = {}
        for tag, rows in data.items():
            with RequestCache(Path(":memory:"), engine, {}) as cache:
                made = list(generate([passage for passage, _ in rows], settings, engine, cache.ask, 1))
            written[name][tag] = [record for record in made if isinstance(record, Candidate)]
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        del engine
    judge = open_engine(Model(name="embedded", threads=given.threads))
    rated = Refine(rater="pmi", model=Model(name="embedded"), direction="instruction", response_tokens=192)
    encoder = Embedder("embedded", threads=given.threads)
    heads = ["language", *(f"{title}, {name}" for title in FIGURES for name in written)]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    values: dict[str, list[list[float]]] = {name: [] for name in written}
    results = []
    for tag, rows in data.items():
        cells = []
        for name, by_tag in written.items():
            per_page = measured(rows, by_tag[tag], prompted.candidates, judge, rated, encoder)
            values[name] += per_page
            cells.append(np.nanmean(np.array(per_page), axis=0))
        for number, (metric, what) in enumerate(FIGURES.items()):
            note = f"{what}; prompted base: {cells[0][number]:.3f}"
            results.append(
                on_the_sample(
                    "generator", tag, metric, float(cells[1][number]), len(rows), note, **SCALES.get(metric, {})
                )
            )
        print(
            f"| {tag} | " + " | ".join(f"{cell[n]:.2f}" for n in range(len(FIGURES)) for cell in cells) + " |",
            flush=True,
        )
    if given.out:
        model = ModelInfo(name=Path(given.adapter).name, engine="transformers", deployment="self_deployed")
        write_record(given.out.parent, given.out.stem, model, results, [], settings={})
    random = np.random.default_rng(0)
    first, second = (np.array(values[name]) for name in ("prompted", "tuned"))
    for number, title in enumerate(FIGURES):
        both = ~np.isnan(first[:, number]) & ~np.isnan(second[:, number])
        gain = (second - first)[both, number]
        drawn = [gain[random.integers(len(gain), size=len(gain))].mean() for _ in range(2_000)]
        low, high = np.percentile(drawn, [2.5, 97.5])
        print(
            f"- {title}: {np.nanmean(first[:, number]):.3f} prompted, {np.nanmean(second[:, number]):.3f} tuned, "
            f"difference {gain.mean():+.3f} ({low:+.3f} to {high:+.3f}), {len(gain)} pages"
        )
    for name, by_tag in written.items():
        for tag in ("sw", "th", "ur"):
            print(f"  {name} {tag}: {[record.instruction for record in by_tag[tag][:4]]}")


def measured(
    rows: list[tuple[Passage, str]],
    written: list[Candidate],
    candidates: int,
    judge: Engine,
    rated: Refine,
    encoder: Embedder,
) -> list[list[float]]:
    """Of each page: usable share, and over usable candidates the mean cosine to the topic and the mean gain."""
    with RequestCache(Path(":memory:"), judge, {}) as cache:
        gains = pmi.rate(written, rated, judge, cache.ask) if written else []
    found = []
    for passage, topic in rows:
        own = [(c, g) for c, g in zip(written, gains, strict=True) if c.id == passage.id]
        if not own:
            found.append([0.0, np.nan, np.nan])
            continue
        vectors = encoder.encode([topic, *(c.instruction for c, _ in own)])
        cosine = float((vectors[1:] @ vectors[0]).mean())
        found.append(
            [len(own) / candidates, cosine, float(np.mean([g.score for _, g in own if isinstance(g, Rating)]))]
        )
    return found


if __name__ == "__main__":
    main()
