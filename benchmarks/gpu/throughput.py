"""Tokens per second through the engine and by transformers alone, on the same prompts and the same network.

Writing counts new tokens, choosing and scoring count tokens read. "Alone" is what a careful user writes: prompts sorted
by length, padded batches of the engine's size, logits only where they are needed. "Of the floor" compares with the
least time that the measured ceilings allow for that plain work; what the engine spares by reading shared starts once
counts in its favour.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ceilings
import ours
import torch
from models import CONTEXT, SIZES, SMALL, Costs, Machine, config, costs, machine, network, stub, tokenizer
from part import Settings
from report import Report
from transformers import GenerationConfig

ANSWERS = ("1", "2", "3", "4", "5")
HEADER = "Write a request in English that the text below answers. Use one sentence, and name its topic.\n\nText:\n"


@dataclass(frozen=True)
class Load:
    """How much is asked.

    Args:
        rows: prompts.
        prompt: tokens of a passage.
        new: tokens to write, or to score.
        batch: prompts at once.
        repeats: of each measurement.
    """

    rows: int
    prompt: int
    new: int
    batch: int
    repeats: int


class Bare:
    """transformers alone."""

    def __init__(self, engine: Any, load: Load) -> None:
        self.network, self.tokenizer, self.load = engine.network, engine.tokenizer, load
        self.device = engine.network.device

    def _batches(self, rows: Sequence[list[int]]) -> list[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Positions, ids and mask of batches of like lengths, padded on the left."""
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        found = []
        for start in range(0, len(order), self.load.batch):
            places = order[start : start + self.load.batch]
            padded = self.tokenizer.pad({"input_ids": [rows[p] for p in places]}, return_tensors="pt")
            found.append((places, padded["input_ids"].to(self.device), padded["attention_mask"].to(self.device)))
        return found

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(ids) for ids in self.tokenizer(list(texts))["input_ids"]]

    def _generation(self) -> GenerationConfig:
        return GenerationConfig(max_new_tokens=self.load.new, do_sample=False, eos_token_id=1, pad_token_id=2)

    def write(self, prompts: Sequence[str]) -> int:
        """New tokens by ``generate``."""
        tokens = 0
        for _, ids, mask in self._batches(self._ids(prompts)):
            out = self.network.generate(input_ids=ids, attention_mask=mask, generation_config=self._generation())
            new = out[:, ids.shape[1] :].tolist()
            tokens += sum(row.index(1) if 1 in row else len(row) for row in new)
        return tokens

    def write_continuous(self, prompts: Sequence[str]) -> int:
        """New tokens by ``generate_batch``."""
        with torch.inference_mode(False), torch.no_grad():
            out = self.network.generate_batch(self._ids(prompts), generation_config=self._generation()).values()
        return sum(len([token for token in output.generated_tokens if token != 1]) for output in out)

    def choose(self, prompts: Sequence[str]) -> int:
        """Tokens read; a probability for each answer by one forward pass."""
        answer_ids = torch.tensor([self.tokenizer(a, add_special_tokens=False)["input_ids"][0] for a in ANSWERS])
        tokens = 0
        for _, ids, mask in self._batches(self._ids(prompts)):
            logits = self._logits(ids, mask, 1)[:, -1]
            logits[:, answer_ids.to(self.device)].float().softmax(-1).tolist()
            tokens += int(mask.sum())
        return tokens

    def score(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[float]:
        """Log-likelihood of each continuation by one forward pass over prompt and continuation."""
        starts = self._ids(prompts)
        ends = [row[: self.load.new] for row in self._ids(continuations)]
        found = [0.0] * len(starts)
        for places, ids, mask in self._batches([a + b for a, b in zip(starts, ends, strict=True)]):
            longest = max(len(ends[place]) for place in places)
            logits = self._logits(ids, mask, longest + 1)[:, :-1].float()
            chosen = logits.gather(-1, ids[:, -longest:, None])[..., 0] - logits.logsumexp(-1)
            for row, place in enumerate(places):
                found[place] = float(chosen[row, -len(ends[place]) :].sum())
        return found

    def _logits(self, ids: torch.Tensor, mask: torch.Tensor, keep: int) -> torch.Tensor:
        positions = (mask.cumsum(-1) - 1).clamp_min(0)
        out = self.network(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=keep
        )
        return out.logits


@dataclass(frozen=True)
class Asked:
    """The same work for both: prompts, and requests of them."""

    prompts: list[str]
    continuations: list[str]
    prompt_tokens: int
    continuation_tokens: int
    writing: list[ours.Request]
    choosing: list[ours.Request]
    scoring: list[ours.Request]


def asked(engine: Any, load: Load) -> Asked:
    """Prompts with a common start, from the sample corpus; numbered, so that no two are equal."""
    texts = [record.text for record in ours.passages()]
    prompts, continuations = [], []
    for row in range(load.rows):
        text = texts[row % len(texts)]
        start = ours.truncate(engine, text, load.prompt)
        prompts.append(f"{HEADER}{row}. {start}")
        continuations.append(text[len(start) :][: 8 * load.new] or text[: 8 * load.new])
    read = sum(len(ids) for ids in engine.tokenizer(prompts)["input_ids"])
    scored = sum(min(load.new, len(ids)) for ids in engine.tokenizer(continuations)["input_ids"])
    return Asked(
        prompts,
        continuations,
        read,
        scored,
        [ours.Completion(prompt, load.new) for prompt in prompts],
        [ours.Choice(prompt, ANSWERS) for prompt in prompts],
        [ours.Scoring(p, c, load.new) for p, c in zip(prompts, continuations, strict=True)],
    )


def opened(folder: Any, made: Any, load: Load, batching: str) -> Any:
    """The engine on the stub's folder, with the measured network in place of the stub's."""
    engine = ours.open_transformers(
        folder,
        device="cpu",
        threads=torch.get_num_threads(),
        batching=batching,
        batch_size=load.batch,
        batch_tokens=load.batch * CONTEXT,
    )
    engine.network, engine.device = made, made.device
    return engine


def written(results: Sequence[Any]) -> int:
    return sum(result.output_tokens for result in results)


def speeds(
    device: Machine, ours_: Callable[[], int], bare: Callable[[], int], repeats: int
) -> tuple[float, float, float]:
    """Tokens per second of both, medians, and the median ratio of pairs; in turn, the order changed."""
    found: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(repeats):
        for name in sorted(found, reverse=bool(turn % 2)):
            device.wait()
            started = time.perf_counter()
            tokens = (ours_ if name == "ours" else bare)()
            device.wait()
            found[name].append(tokens / (time.perf_counter() - started))
    ratios = [a / b for a, b in zip(found["ours"], found["bare"], strict=True)]
    return statistics.median(found["ours"]), statistics.median(found["bare"]), statistics.median(ratios)


def floors(cost: Costs, load: Load, work: Asked, known: dict[str, float] | None) -> dict[str, float]:
    """Least seconds that the plain work takes at the measured ceilings; empty without them."""
    if not known:
        return {}
    flops, size = known["flops"], known["bytes"]
    rows = len(work.prompts)
    read = 2 * cost.body * work.prompt_tokens / flops
    head = 2 * cost.head / flops
    # A step of writing reads all weights and the cache of its batch; the first token comes from reading the prompt.
    batches = -(-rows // load.batch)
    cache = (work.prompt_tokens + rows * load.new / 2) * cost.kv_bytes
    step_bytes = (load.new - 1) * (batches * cost.weight_bytes + cache) / size
    step_flops = 2 * (cost.body + cost.head) * rows * (load.new - 1) / flops
    return {
        "write": read + head * rows + max(step_bytes, step_flops),
        "choose": read + head * rows,
        "score": read + 2 * cost.body * work.continuation_tokens / flops + head * work.continuation_tokens,
    }


def measure(settings: Settings, report: Report, name: str, made: Any, load: Load) -> None:
    """The rows of one model."""
    device = machine()
    engine = opened(settings.scratch, made, load, "static")
    continuous = opened(settings.scratch, made, load, "continuous")
    bare = Bare(engine, load)
    work = asked(engine, load)
    cost = costs(made)
    report.detail(f"{name}: parameters", cost.parameters)
    report.detail(f"{name}: prompt tokens", work.prompt_tokens)
    least = floors(cost, load, work, ceilings.read(settings.out))

    def add(what: str, kind: str, tokens: int, found: tuple[float, float, float], note: str = "") -> None:
        speed, alone, ratio = found
        report.detail(f"{name}: {what}", {"ours": speed, "alone": alone, "ratio": ratio})
        share = f"; {least[kind] * speed / tokens:.2f} of the floor" if least else ""
        report.add(f"{name}: {what}", speed, "tokens/s", f"{ratio:.2f} x alone ({alone:,.0f}){share}{note}")

    everything = load.rows * load.new
    ours.answer(engine, work.writing[: load.batch])
    bare.write(work.prompts[: load.batch])
    found = speeds(
        device, lambda: written(ours.answer(engine, work.writing)), lambda: bare.write(work.prompts), load.repeats
    )
    add("writing, static", "write", everything, found)
    read = work.prompt_tokens
    found = speeds(
        device,
        lambda: (ours.answer(engine, work.choosing), read)[1],
        lambda: bare.choose(work.prompts),
        load.repeats,
    )
    add("choosing of 5", "choose", read, found)
    both = read + work.continuation_tokens
    found = speeds(
        device,
        lambda: (ours.answer(engine, work.scoring), both)[1],
        lambda: (bare.score(work.prompts, work.continuations), both)[1],
        load.repeats,
    )
    add("scoring", "score", both, found)
    check(report, name, device, ours.answer(engine, work.scoring), bare.score(work.prompts, work.continuations))
    if settings.small and name != next(iter(SMALL)):
        # On a CPU a call takes seconds, and a third of the memory, whatever is asked.
        return
    # Paged batching divides up what is free when it starts.
    device.empty()
    with ours.Warnings() as warnings:
        if not settings.small:
            ours.answer(continuous, work.writing[:8])
            bare.write_continuous(work.prompts[:8])
        found = speeds(
            device,
            lambda: written(ours.answer(continuous, work.writing)),
            lambda: bare.write_continuous(work.prompts),
            load.repeats,
        )
    add("writing, continuous", "write", everything, found, "".join(f"; {message}" for message in warnings.messages[:1]))


def check(report: Report, name: str, device: Machine, ours_: Sequence[Any], bare: Sequence[float]) -> None:
    """Both sides did the same work: the likelihoods agree."""
    off = max(abs(a.log_likelihood - b) / a.tokens for a, b in zip(ours_, bare, strict=True))
    report.detail(f"{name}: likelihoods, engine and alone, largest difference in nats/token", off)
    if not off <= (0.05 if device.gpu else 0.001):
        report.failed_check(f"{name}: engine and plain forward differ by {off:.4f} nats per token")


def run(settings: Settings, report: Report) -> None:
    """Every size, the smallest first."""
    device = machine()
    trained = tokenizer(settings.scratch, [r.text for r in ours.passages()], 600 if settings.small else 8000)
    stub(settings.scratch, len(trained))
    for name, shape in (SMALL if settings.small else SIZES).items():
        load = Load(8, 32, 6, 8, 1) if settings.small else Load(128 if name == "8B" else 256, 256, 64, 128, 2)
        made = network(config(shape, len(trained)), device.device, device.dtype)
        with torch.inference_mode():
            measure(settings, report, name, made, load)
        del made
        gc.collect()
        device.empty()
