"""What is measured of a model on held-out prompts: the gain from the instruction, and the language of its answers."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from x_instruction import engines
from x_instruction.engines import Engine
from x_instruction.evaluation import held_out, intrinsic
from x_instruction.evaluation.language import answer_languages, language_checks
from x_instruction.experiments.claims.design import Sizes

# An answer repeats itself if fewer than half of its pieces of ten characters are different.
_PIECE, _LEAST_DISTINCT = 10, 0.5


@dataclass(frozen=True, slots=True)
class Prompt:
    """A held-out prompt with its reference response.

    Args:
        id, document, language: of the document.
        group: ``seen``, ``unseen_language`` or ``unseen_source``.
        instruction: without the language of the answer.
        response: the text of the document.
    """

    id: str
    document: str
    language: str
    group: str
    instruction: str
    response: str


@dataclass(frozen=True, slots=True)
class RowMeasures:
    """What was measured of one prompt.

    Args:
        id, document, language, group: as in ``Prompt``.
        gain: conditional gain in nats; None if it was not measured.
        found: whether the own response gains most among those like it; None if it was not measured.
        right: whether the answer is in the right language.
        clean: whether it is, and does not repeat itself.
        answer: the model's answer.
    """

    id: str
    document: str
    language: str
    group: str
    gain: float | None
    found: bool | None
    right: bool
    clean: bool
    answer: str


def measure(
    prompts: Sequence[Prompt],
    engine: Engine,
    render: Callable[[Prompt], engines.Prompt],
    sizes: Sizes,
    likelihoods: bool = True,
) -> list[RowMeasures]:
    """Measure every prompt, in order.

    Args:
        prompts: the prompts.
        engine: the model.
        render: makes the text that the model continues.
        sizes: numbers of tokens and of prompts.
        likelihoods: also measure the gain, and whether the own response is found.

    Raises:
        EngineError: the engine failed.
        CorpusError: every language has one response only.
    """
    rows = [held_out.Row(p.id, str(number), p.response, p.language) for number, p in enumerate(prompts)]

    def rendered(number: str) -> engines.Prompt:
        return render(prompts[int(number)])

    gains: dict[str, float] = {}
    found: dict[str, bool] = {}
    if likelihoods:
        counts = Counter(row.language for row in rows)
        # The gain compares with another page of the language, so a language with one page has none.
        several = [row for row in rows if counts[row.language] > 1]
        measured = intrinsic.conditional(several, engine, rendered, sizes.scored_tokens, nearest=1)
        gains = {row.prompt: one.gain for row, one in zip(several, measured, strict=True)}
        some = _whole_languages(several, counts, sizes.found_prompts)
        measured = intrinsic.conditional(some, engine, rendered, sizes.scored_tokens)
        found = {row.prompt: one.found for row, one in zip(some, measured, strict=True)}
    answers = held_out.answers(rows, engine, rendered, sizes.answer_tokens)
    tags = [row.language for row in rows]
    languages = answer_languages(answers, tags, language_checks(tags))
    return [
        RowMeasures(
            p.id, p.document, p.language, p.group, gains.get(row.prompt), found.get(row.prompt), own.right,
            own.right and not repeats(answer), answer,
        )
        for p, row, own, answer in zip(prompts, rows, languages, answers, strict=True)
    ]  # fmt: skip


def repeats(text: str) -> bool:
    """Whether a text repeats itself."""
    pieces = [text[start : start + _PIECE] for start in range(len(text) - _PIECE + 1)]
    return bool(pieces) and len(set(pieces)) < _LEAST_DISTINCT * len(pieces)


def _whole_languages(rows: Sequence[held_out.Row], counts: Mapping[str, int], number: int) -> list[held_out.Row]:
    """Rows of the languages with most rows, until there are enough: a response is found among those of its language."""
    chosen: set[str] = set()
    total = 0
    for tag in sorted({row.language for row in rows}, key=lambda tag: (-counts[tag], tag)):
        if total < number:
            chosen.add(tag)
            total += counts[tag]
    return [row for row in rows if row.language in chosen]


def free() -> None:
    """Give the memory of models that nothing refers to back."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
