"""A preview as text in colour, for terminals and notebooks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Literal

from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from x_instruction.languages import language
from x_instruction.pipeline.estimate import Estimate, Expected
from x_instruction.pipeline.progress import duration
from x_instruction.pipeline.samples import Choice, Sample
from x_instruction.pipeline.status import money, short_number

Part = Text | Table | Rule | Padding | str
Justify = Literal["left", "right"]
# Characters of a passage, and of an instruction.
_PASSAGE, _INSTRUCTION = 240, 300


def parts(samples: Sequence[Sample], note: str, estimate: Estimate, seconds: float) -> Iterator[Part]:
    """The parts of a preview, from top to bottom.

    Args:
        samples: its passages.
        note: printed below them; may be empty.
        estimate: of the run.
        seconds: that the preview took.
    """
    last = ""
    for sample in samples:
        if sample.passage.language != last:
            last = sample.passage.language
            yield Rule(Text(language(last).name, "bold"), align="left")
        yield from _sample(sample)
    if not samples:
        yield Text("no passage passed the filters: see the reasons below", "red")
    if note:
        yield Text(f"{note}\n", "dim")
    yield from _estimate(estimate)
    yield Text(f"preview: {duration(seconds)}; its answers are kept for the run", "dim")


def _sample(sample: Sample) -> Iterator[Part]:
    yield Text(clean(sample.passage.text, _PASSAGE))
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1, 0, 0))
    for justify in ("right", "right", "left"):
        table.add_column(justify=justify, vertical="top", no_wrap=justify == "right")
    for choice in sample.candidates:
        table.add_row(*_choice(choice))
    yield Padding(table, (0, 0, 1, 2))


def _choice(choice: Choice) -> tuple[Text, Text, Text]:
    style = "bold green" if not choice.reason else "yellow" if choice.score is not None else "red"
    text = Text(clean(choice.text, _INSTRUCTION), style if not choice.reason else "")
    text.append("  chosen" if not choice.reason else f"  {choice.reason}", style)
    score = "" if choice.score is None else f"{choice.score:.3f}"
    return Text("" if choice.rank is None else f"{choice.rank}", style), Text(score, style), text


def _estimate(estimate: Estimate) -> Iterator[Part]:
    yield Rule(Text("Estimate of the run", "bold"), align="left")
    yield _table(estimate)
    yield Text()
    for expected in estimate.languages:
        yield Text(_filters(expected))
    yield Text()
    for model in estimate.models:
        size = f"{short_number(model.size)}B of weights" if model.size is not None else model.where
        yield Text(clean(f"model: {model.name} ({model.engine}), {size}"))
    if estimate.memory:
        memory = f"memory: {short_number(estimate.memory)}B for one worker"
        if estimate.workers > 1:
            memory += f", {short_number(estimate.memory * estimate.workers)}B for {estimate.workers}"
        yield Text(memory)
    yield Text(estimate.summary(), "bold")


def _table(estimate: Estimate) -> Table:
    titles = ["language", "documents", "passages", "requests", "tokens", "time", *(["cost"] if estimate.priced else [])]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, justify="left" if title == "language" else "right", no_wrap=True)
    for expected in estimate.languages:
        table.add_row(*_cells(expected)[: len(titles)])
    if len(estimate.languages) > 1:
        table.add_row(*_sums(estimate)[: len(titles)], style="bold")
    return table


def _cells(expected: Expected) -> list[str]:
    documents = "unknown" if expected.documents is None else f"{expected.documents:,}"
    return [
        expected.language,
        documents if expected.counted or expected.documents is None else f"about {documents}",
        _number(expected.passages),
        _number(expected.requests),
        "-" if expected.requests is None else short_number(_tokens(expected)),
        "-" if expected.seconds is None else duration(expected.seconds),
        "-" if expected.cost is None else money(expected.cost),
    ]


def _sums(estimate: Estimate) -> list[str]:
    every = estimate.languages
    return [
        "all",
        f"{sum(expected.documents or 0 for expected in every):,}",
        f"{sum(expected.passages or 0 for expected in every):,}",
        f"{sum(expected.requests or 0 for expected in every):,}",
        short_number(sum(map(_tokens, every))),
        duration(estimate.seconds),
        money(estimate.cost),
    ]


def _tokens(expected: Expected) -> int:
    return (expected.prompt_tokens or 0) + (expected.output_tokens or 0)


def _number(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _filters(expected: Expected) -> str:
    lost = ", ".join(f"{reason} {number:,}" for reason, number in expected.dropped.items())
    documents = f"{expected.read:,} document{'s' if expected.read != 1 else ''}"
    passages = f"{expected.kept:,} passage{'s' if expected.kept != 1 else ''}"
    return f"{expected.language}: {passages} of the first {documents}" + (f"; dropped: {lost}" if lost else "")


def clean(text: str, most: int = 1_000) -> str:
    """Text on one line that cannot move the cursor or turn its direction: such characters become spaces."""
    shown = "".join(
        " " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(c) in _TURNS else c
        for c in text
    )
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else f"{shown[:most]}…"


# Unicode classes of characters that change the direction of what follows.
_TURNS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
