"""How often does the pmi rater prefer a matched pair to a mismatched one?

For each page of parallel text (JSONL with ``id``, ``title_en``, ``text_en``, ``text``), the English title (or the first
English sentence) is rated against the page's own body and against the body of the next page of the same source. Pages
that are not translated are left out. Accuracy is the share of pages whose own body wins, with Wilson's 95 % interval.

    python benchmarks/raters.py --data FOLDER --pairs 60 --direction instruction
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.engines import Engine, open_engine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.languages import PAPER_LANGUAGES
from x_instruction.records import Candidate, text_digest
from x_instruction.refine import Rating, pmi


def candidate(tag: str, row: dict[str, str], instruction: str) -> Candidate:
    return Candidate(
        id=row["id"],
        language=tag,
        text=row["text"],
        document_id=row["id"],
        segment=0,
        source=row["source"],
        url="",
        license=row["license"],
        text_hash=text_digest(row["text"]),
        identified=tag,
        identified_confidence=1.0,
        instruction=instruction,
        instruction_language="en",
        style="search",
        candidate=0,
        round=0,
        finish_reason="stop",
        generator="",
        generator_revision="",
        generator_prompt="",
    )


def wilson(hits: float, n: int) -> tuple[float, float]:
    z, p = 1.96, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return middle - half, middle + half


def accuracy(engine: Engine, settings: Refine, tag: str, rows: list[dict[str, str]], field: str) -> tuple[float, int]:
    instructions = [row["title_en"] if field == "title" else row["text_en"].split(".")[0][:120] for row in rows]
    own = [candidate(tag, row, text) for row, text in zip(rows, instructions, strict=True)]
    other = [candidate(tag, rows[(n + 1) % len(rows)], text) for n, text in enumerate(instructions)]
    with RequestCache(Path(":memory:"), engine, {}) as cache:
        ratings = pmi.rate([*own, *other], settings, engine, cache.ask)
    scores = [rating.score if isinstance(rating, Rating) else math.nan for rating in ratings]
    half = len(rows)
    hits = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(scores[:half], scores[half:], strict=True))
    return hits, half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--direction", choices=["instruction", "response"], default="instruction")
    parser.add_argument("--response-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--languages", default=",".join(PAPER_LANGUAGES))
    options = parser.parse_args()
    model = Model(name=options.model, threads=options.threads)
    engine = open_engine(model)
    settings = Refine(rater="pmi", model=model, direction=options.direction, response_tokens=options.response_tokens)
    print("| language | source | against | pairs | accuracy | 95 % | seconds |\n|---|---|---|---|---|---|---|")
    totals: dict[str, list[float]] = {}
    for tag in options.languages.split(","):
        lines = (options.data / f"{tag}.jsonl").read_text("utf-8").splitlines()
        rows = [row for line in lines if (row := json.loads(line))["text"] != row["text_en"]]
        for source in dict.fromkeys(row["source"] for row in rows):
            chosen = [row for row in rows if row["source"] == source]
            random.Random(0).shuffle(chosen)
            chosen = chosen[: options.pairs]
            for field in ("title", "first sentence"):
                if len(chosen) < 8:
                    continue
                started = time.monotonic()
                hits, n = accuracy(engine, settings, tag, chosen, field)
                low, high = wilson(hits, n)
                seconds = time.monotonic() - started
                print(
                    f"| {tag} | {source} | {field} | {n} | {hits / n:.2f} | {low:.2f}-{high:.2f} | {seconds:.0f} |",
                    flush=True,
                )
                totals.setdefault(f"{source}, {field}", []).append(hits / n)
    for name, values in totals.items():
        print(f"mean over {len(values)} languages ({name}): {sum(values) / len(values):.3f}")


if __name__ == "__main__":
    main()
