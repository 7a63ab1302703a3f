"""What the stages cost over the bare engine, rating by probabilities against generating and parsing, and raters' speed.

    python benchmarks/engine.py overhead --model embedded --repeats 3
    python benchmarks/engine.py rating --model embedded --repeats 3
    python benchmarks/engine.py raters --model embedded --adapter embedded-rater --repeats 3

``overhead``: tokens/s of ``generate`` (prompts, request cache on disk, reading and filtering of answers) over tokens/s
of the engine answering the very same requests, in turn within one process. ``rating``: pairs/s of the ``prompted``
rater over pairs/s of the same model and rubric when it writes its rating and the digit is searched for; and how many it
parses. ``raters``: pairs/s of each rater on the same pairs, four instructions to a page, in turn within one process.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from x_instruction.config.corpus import Corpus
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.corpus.sources import Document, read
from x_instruction.engines import Choice, Completed, Completion, Engine, Request, Result, open_engine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.generate import generate
from x_instruction.languages import language
from x_instruction.records import Candidate, Passage, Rated, extend, text_digest
from x_instruction.refine import prompted, rate
from x_instruction.refine.compare import settings_for


def passages(tags: Sequence[str]) -> list[Passage]:
    found = []
    for tag in tags:
        for document in read(Corpus(source="sample"), language(tag)):
            assert isinstance(document, Document)
            found.append(
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
            )
    return found


def answer(engine: Engine, requests: Sequence[Request]) -> list[Result]:
    """What the engine alone does: the difference is the cost of the request cache."""
    found: dict[int, Result] = {}
    for batch in engine.plan(requests):
        for position, result in engine.answer([requests[row] for row in batch.rows], batch.shared):
            found[batch.rows[position]] = result
    return [found[row] for row in range(len(requests))]


def overhead(engine: Engine, model: Model, repeats: int, candidates: int) -> None:
    settings = Generate(model=model, candidates=candidates, passage_tokens=128, max_tokens=16)
    records = passages(["sw"])
    asked: list[Request] = []

    def through(requests: Sequence[Request]) -> list[Result]:
        asked[:] = requests
        return answer(engine, requests)

    list(generate(records, settings, engine, through, 1))  # warms up, and shows the requests
    requests = list(asked)

    def bare() -> float:
        started = time.process_time()
        answer(engine, requests)
        return time.process_time() - started

    def stage() -> float:
        with tempfile.TemporaryDirectory() as folder:
            clock, started = time.perf_counter(), time.process_time()
            with RequestCache(Path(folder) / "cache.sqlite", engine, {}) as cache:
                list(generate(records, settings, engine, cache.ask, 1))
                inside.append(cache.totals()["seconds"] / (time.perf_counter() - clock))
            return time.process_time() - started

    inside: list[float] = []
    seconds: dict[Callable[[], float], list[float]] = {bare: [], stage: []}
    for turn in range(repeats):
        # Who goes first changes: a machine that slows down would otherwise count against the second.
        for way in (bare, stage) if turn % 2 == 0 else (stage, bare):
            seconds[way].append(way())
        print(f"bare {seconds[bare][-1]:.1f}, stage {seconds[stage][-1]:.1f} CPU seconds", flush=True)
    ratio = statistics.median(seconds[bare]) / statistics.median(seconds[stage])
    print(f"{len(requests)} requests, medians of {repeats}:")
    print(f"stage over bare, CPU time: {ratio:.3f}")
    print(f"engine's share of the stage's wall time: {statistics.median(inside):.3f}")


def instructed(record: Passage, instruction: str, number: int) -> Candidate:
    return extend(
        record,
        Candidate,
        instruction=instruction,
        instruction_language="en",
        style="question",
        candidate=number,
        round=0,
        finish_reason="stop",
        generator="",
        generator_revision="",
        generator_prompt="",
    )


def raters(model: Model, adapter: str, repeats: int) -> None:
    """Pages are read in the language's own order; a page's instructions stand together, as a run has them."""
    asked = (
        "Explain how the tides of the sea come about.",
        "How is a salmon soup cooked?",
        "Describe how a football team prepares for a match.",
        "What should one know about keeping bees?",
    )
    pairs = [instructed(page, text, n) for page in passages(["sw", "fi"]) for n, text in enumerate(asked)]
    common = Refine(rater="pmi", model=model, direction="instruction", response_tokens=128)
    chosen = {name: settings_for(common, name, adapter) for name in ("trained", "prompted", "pmi")}
    engines = {settings.model: open_engine(settings.model) for settings in chosen.values()}
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    for turn in range(repeats):
        for name in list(chosen) if turn % 2 == 0 else reversed(chosen):
            engine = engines[chosen[name].model]
            started = time.perf_counter()
            with RequestCache(Path(":memory:"), engine, {}) as cache:
                found = rate(pairs, chosen[name], engine, cache.ask)
            seconds[name].append(time.perf_counter() - started)
            assert all(isinstance(one, Rated) for one in found), found
    for name, taken in seconds.items():
        speeds = sorted(len(pairs) / one for one in taken)
        print(
            f"{name:9} {statistics.median(speeds):6.2f} pairs/s of {len(pairs)} ({speeds[0]:.2f} to {speeds[-1]:.2f})"
        )


def rating(engine: Engine, model: Model, repeats: int) -> None:
    settings = Refine(rater="prompted", model=model, response_tokens=256)
    pairs = [instructed(record, "Explain how the tides of the sea come about.", 0) for record in passages(["sw", "fi"])]
    parsed = 0

    def by_probability() -> None:
        prompted.rate(pairs, settings, engine, lambda requests: answer(engine, requests))

    def by_parsing() -> None:
        nonlocal parsed

        def written(requests: Sequence[Request]) -> list[Result]:
            prompts = [Completion(r.prompt, 16, stop=("\n",)) for r in requests if isinstance(r, Choice)]
            nonlocal parsed
            texts = [r.text for r in answer(engine, prompts) if isinstance(r, Completed)]
            parsed = sum(bool(re.search(r"\b[1-5]\b", text)) for text in texts)
            return answer(engine, requests[:1]) * len(requests)

        prompted.rate(pairs, settings, engine, written)

    seconds: dict[Callable[[], None], list[float]] = {by_probability: [], by_parsing: []}
    for _ in range(repeats):
        for way, found in seconds.items():
            started = time.perf_counter()
            way()
            found.append(time.perf_counter() - started)
    ratios = [b / a for a, b in zip(seconds[by_probability], seconds[by_parsing], strict=True)]
    print(f"by probability {len(pairs) / statistics.median(seconds[by_probability]):.2f} pairs/s, all rated")
    rate = len(pairs) / statistics.median(seconds[by_parsing])
    print(f"by parsing     {rate:.2f} pairs/s, {parsed}/{len(pairs)} parsed")
    print(f"probabilities over parsing, median of {repeats}: {statistics.median(ratios):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "rating", "raters"])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--adapter", default="embedded-rater", help="of raters, for the trained one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=3, help="of overhead, per passage")
    options = parser.parse_args()
    model = Model(name=options.model, threads=options.threads, batch_size=96)
    if options.what == "overhead":
        overhead(open_engine(model), model, options.repeats, options.candidates)
    elif options.what == "raters":
        raters(model, options.adapter, options.repeats)
    else:
        rating(open_engine(model), model, options.repeats)


if __name__ == "__main__":
    main()
