"""What the stages cost over bare vLLM: the same prompts through stage, request cache and engine, and ``LLM.generate``.

    python benchmarks/vllm_engine.py generate --model MODEL --threads 1 --repeats 7
    python benchmarks/vllm_engine.py score --model MODEL --threads 1 --repeats 7

One process and one loaded model for both, its prefix cache emptied before every pass, in turn, the order changed from
turn to turn. ``generate``: written tokens a second. ``score``: read tokens a second of the ``pmi`` rater, against
``LLM.generate`` with ``prompt_logprobs`` as vLLM sets it by itself.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import passages

from x_instruction.config.generate import Generate
from x_instruction.config.model import Model, Vllm
from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Completion, Prompt, Request, Result, Scoring
from x_instruction.engines.local.vllm import VllmEngine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.generate import generate
from x_instruction.records import Candidate, extend
from x_instruction.refine import pmi

TITLES = ("How to mend a net by hand", "What the river brings", "Why the roof leaks", "A day at the market")
Stage = Callable[[Ask], object]


@dataclass
class Pass:
    """Tokens per second of one pass, by the clock and by the processor."""

    wall: float
    cpu: float


def timed(work: Callable[[], int]) -> Pass:
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = work()
    return Pass(tokens / (time.perf_counter() - wall), tokens / (time.process_time() - cpu))


def generating(model: Model, engine: VllmEngine, tags: Sequence[str]) -> Stage:
    settings = Generate(model=model, candidates=4, passage_tokens=64, max_tokens=32)
    records = [(tag, passages([tag])) for tag in tags]
    return lambda ask: [list(generate(found, settings, engine, ask, 1)) for _, found in records]


def scoring(model: Model, engine: VllmEngine, tags: Sequence[str]) -> Stage:
    settings = Refine(rater="pmi", model=model, direction="instruction", response_tokens=128)
    made = {"round": 0, "finish_reason": "stop", "generator": "", "generator_revision": "", "generator_prompt": ""}
    pairs = [
        extend(p, Candidate, instruction=title, instruction_language="en", style="title", candidate=n, **made)
        for p in passages(tags)
        for n, title in enumerate(TITLES)
    ]
    return lambda ask: pmi.rate(pairs, settings, engine, ask)


def bare(engine: VllmEngine, requests: Sequence[Request]) -> Callable[[], int]:
    """The requests as one who uses vLLM alone would write them."""
    from vllm import SamplingParams

    def text(prompt: Prompt) -> str:
        if isinstance(prompt, str):
            return prompt
        messages = [{"role": role, "content": content} for role, content in prompt]
        return str(engine._requests.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))

    def params(request: Request) -> Any:
        if not isinstance(request, Completion):
            return SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
        return SamplingParams(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            seed=request.seed,
            stop=list(request.stop),
        )

    prompts = [text(r.prompt) + (r.continuation if isinstance(r, Scoring) else "") for r in requests]
    chosen = [params(request) for request in requests]

    def work() -> int:
        found = engine._load().generate(prompts, chosen, use_tqdm=False)
        if isinstance(requests[0], Completion):
            return sum(len(output.outputs[0].token_ids) for output in found)
        return sum(len(output.prompt_token_ids) for output in found)

    return work


def through(engine: VllmEngine, stage: Stage) -> Callable[[], int]:
    """The stage with a request cache on disk."""

    def work() -> int:
        with tempfile.TemporaryDirectory() as folder, RequestCache(Path(folder) / "cache.sqlite", engine, {}) as cache:
            stage(cache.ask)
            totals = cache.totals()
        return int(totals["output_tokens"] or totals["prompt_tokens"])

    return work


def shown(engine: VllmEngine, stage: Stage) -> list[Request]:
    """The requests that a stage makes; answering them warms up."""
    made: list[Request] = []

    def ask(requests: Sequence[Request]) -> list[Result]:
        made.extend(requests)
        found = dict(engine.answer(requests))
        return [found[row] for row in range(len(requests))]

    stage(ask)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["generate", "score"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--languages", nargs="+", default=["fi"])
    parser.add_argument("--compiled", action="store_true", help="let vLLM compile the model")
    chosen = parser.parse_args()
    settings = Vllm(eager=not chosen.compiled, max_model_len=2048)
    model = Model(name=chosen.model, engine="vllm", threads=chosen.threads, vllm=settings)
    started = time.perf_counter()
    engine = VllmEngine(model)
    print(f"loaded in {time.perf_counter() - started:.0f} s", flush=True)
    stage = (generating if chosen.what == "generate" else scoring)(model, engine, chosen.languages)
    requests = shown(engine, stage)
    ways = {"bare": bare(engine, requests), "stage": through(engine, stage)}
    passes: dict[str, list[Pass]] = {name: [] for name in ways}
    for turn in range(chosen.repeats):
        # Who goes first changes: a machine that slows down would otherwise count against the second.
        for name in sorted(ways, reverse=bool(turn % 2)):
            engine._load().reset_prefix_cache()
            passes[name].append(timed(ways[name]))
        print(", ".join(f"{name} {done[-1].wall:.0f} tokens/s" for name, done in passes.items()), flush=True)
    print(f"{len(requests)} requests, medians of {chosen.repeats}:")
    for clock in ("wall", "cpu"):
        speeds = {name: [getattr(done, clock) for done in found] for name, found in passes.items()}
        both = ", ".join(f"{name} {statistics.median(found):.1f}" for name, found in speeds.items())
        ratios = [stage / bare for stage, bare in zip(speeds["stage"], speeds["bare"], strict=True)]
        print(
            f"{clock}: {both} tokens/s; stage over bare {statistics.median(ratios):.3f} "
            f"(pairs from {min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
