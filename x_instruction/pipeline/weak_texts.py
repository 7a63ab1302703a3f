"""Texts of the untrained generator for known pairs, from which the rater learns what weak pairs look like.

The prompted base model writes an instruction for each response (strategy ``weak-instruction``), or a response to each
instruction (``weak-response``). Its answers are kept in a request cache, so they cost once per run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from x_instruction.config.generate import Generate
from x_instruction.engines import Completed, Completion, open_engine
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.engines.request_cache import RequestCache
from x_instruction.generate import generate
from x_instruction.hashing import derive_seed
from x_instruction.languages import language
from x_instruction.prompts.answer import frame
from x_instruction.prompts.reading import without_thinking
from x_instruction.records import Candidate, Passage, text_digest
from x_instruction.refine import labels
from x_instruction.seed.pairs import Pair


def weak_texts(
    pairs: Sequence[Pair],
    strategies: Sequence[str],
    settings: Generate,
    response_tokens: int,
    seed: int,
    cache: Path,
) -> dict[str, dict[str, str]]:
    """The weak texts of each strategy.

    Args:
        pairs: known pairs.
        strategies: label strategies that need weak texts; others are an error.
        settings: how the base model writes.
        response_tokens: the most tokens of a response.
        seed: seed of the recipe.
        cache: file of the request cache.

    Returns:
        By strategy and ``labels.key`` of the pair: an instruction for the response, or a response to the instruction.
    """
    if not strategies:
        return {}
    with RequestCache(cache, open_engine(settings.model), fingerprint(settings.model)) as requests:
        texts = {
            "weak-instruction": lambda: _instructions(pairs, settings, seed, requests),
            "weak-response": lambda: _responses(pairs, settings, response_tokens, seed, requests),
        }
        return {name: texts[name]() for name in strategies}


def _instructions(pairs: Sequence[Pair], settings: Generate, seed: int, requests: RequestCache) -> dict[str, str]:
    """An instruction for the response of each pair; pairs whose instruction was dropped are missing."""
    by_tag: dict[str, list[Passage]] = {}
    for pair in pairs:
        by_tag.setdefault(pair.language, []).append(_passage(pair))
    return {
        record.id: record.instruction
        for passages in by_tag.values()
        for record in generate(passages, settings, requests.engine, requests.ask, seed)
        if isinstance(record, Candidate)
    }


def _responses(
    pairs: Sequence[Pair], settings: Generate, response_tokens: int, seed: int, requests: RequestCache
) -> dict[str, str]:
    """A response to the instruction of each pair, in the language of the pair as far as asking for it helps."""
    prompt = frame("auto", requests.engine.chat)
    completions = [
        Completion(
            prompt=prompt(f"{pair.asked} Answer in {language(pair.language).name}."),
            max_tokens=response_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            seed=derive_seed(seed, "answer", labels.key(pair)),
        )
        for pair in pairs
    ]
    answers = zip(pairs, requests.ask(completions), strict=True)
    return {
        labels.key(pair): without_thinking(answer.text).strip()
        for pair, answer in answers
        if isinstance(answer, Completed)
    }


def _passage(pair: Pair) -> Passage:
    """The response of a pair as a passage to write an instruction for."""
    return Passage(
        id=labels.key(pair),
        language=pair.language,
        text=pair.output,
        document_id=pair.id,
        segment=0,
        source=pair.source,
        url=pair.url,
        license=pair.license,
        text_hash=text_digest(pair.output),
        identified=pair.language,
        identified_confidence=1.0,
    )
