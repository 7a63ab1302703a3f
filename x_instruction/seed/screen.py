"""Screen pairs for use as seeds: each alone, then against each other, then draw a sample.

length -> evaluation sets -> language of the response -> exact and near duplicates -> sample
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from x_instruction.config.seeds import Seeds
from x_instruction.corpus import characters
from x_instruction.corpus.clean import normalise
from x_instruction.corpus.contamination import ContaminationIndex
from x_instruction.corpus.dedup import Deduplicator
from x_instruction.corpus.identify import LanguageCheck
from x_instruction.errors import RecipeError
from x_instruction.languages import Language, language
from x_instruction.records import Dropped, Passage, dropped, text_digest
from x_instruction.seed.pairs import Pair

# Responses per call of the language identifier.
BATCH = 256


def screen(
    pairs: Iterable[Pair | Dropped], settings: Seeds, target: Language, evaluations: ContaminationIndex
) -> Iterator[Pair | Dropped]:
    """Yield dropped pairs as they occur, then the seeds. Their order does not depend on the order of ``pairs``.

    Pairs that pass the language check are held in memory, since seeds are few.

    Args:
        pairs: pairs of any reader.
        settings: thresholds.
        target: language of the responses.
        evaluations: texts that no seed may repeat.

    Raises:
        RecipeError: no identifier knows the language.
    """
    passed: list[Pair] = []
    for record in _in_language(_well_formed(pairs, settings, target, evaluations), settings, target):
        if isinstance(record, Dropped):
            yield record
        else:
            passed.append(record)
    # Sorted by content, so that the order of files does not decide which duplicate is kept and which pairs are drawn.
    passed.sort(key=lambda pair: (_order_key(pair, settings.seed), pair.id))
    left = settings.count
    for record in _unique(passed, settings, target):
        if isinstance(record, Pair):
            left -= 1
            if left < 0:
                record = dropped(record.id, "over_count", f"{settings.count} are taken", record.output)
        yield record


def _well_formed(
    pairs: Iterable[Pair | Dropped], settings: Seeds, target: Language, evaluations: ContaminationIndex
) -> Iterator[Pair | Dropped]:
    """Normalised pairs with a length within the limits that are in no evaluation set."""
    asked_in = language(settings.instruction_language)
    for pair in pairs:
        if isinstance(pair, Dropped):
            yield pair
            continue
        tidy = dataclasses.replace(
            pair, instruction=normalise(pair.instruction), input=normalise(pair.input), output=normalise(pair.output)
        )
        reason = _reason(tidy, settings, target, asked_in, evaluations)
        yield tidy if reason is None else dropped(pair.id, *reason, tidy.output or tidy.instruction)


def _reason(
    pair: Pair, settings: Seeds, target: Language, asked_in: Language, evaluations: ContaminationIndex
) -> tuple[str, str] | None:
    """Reason and detail for dropping a pair, or None."""
    for tag, expected, part in (
        (pair.language, target, "response"),
        (pair.instruction_language, asked_in, "instruction"),
    ):
        if tag and not _same(tag, expected):
            return "other_language", f"the {part} is marked as {tag}, expected {expected.tag}"
    instruction = f"{pair.instruction}\n{pair.input}" if pair.input else pair.instruction
    for text, name, least, most in (
        (instruction, "instruction", settings.min_instruction_chars, settings.max_instruction_chars),
        (pair.output, "output", settings.min_chars, settings.max_chars),
    ):
        if not text:
            return f"no_{name}", "nothing but space and control characters"
        if len(text) < least:
            return f"{name}_too_short", f"{len(text)} characters, at least {least}"
        if len(text) > most:
            return f"{name}_too_long", f"{len(text)} characters, at most {most}"
    match = evaluations.shared(instruction, characters.spaced(asked_in))
    match = match or evaluations.shared(pair.output, characters.spaced(target))
    return ("contaminated", match) if match else None


def _same(tag: str, target: Language) -> bool:
    try:
        return language(tag).tag == target.tag
    except RecipeError:
        return False


def _in_language(records: Iterable[Pair | Dropped], settings: Seeds, target: Language) -> Iterator[Pair | Dropped]:
    """Records with pairs dropped whose response is in another language."""
    if not settings.language_check:
        yield from records
        return
    language_check = LanguageCheck(target, settings)
    records_left = iter(records)
    while batch := list(islice(records_left, BATCH)):
        pairs = [record for record in batch if isinstance(record, Pair)]
        verdicts = iter(language_check.judge([pair.output for pair in pairs]))
        for record in batch:
            if isinstance(record, Pair) and (verdict := next(verdicts)).reason is not None:
                yield dropped(record.id, verdict.reason, verdict.detail, record.output)
            else:
                yield record


def _unique(pairs: list[Pair], settings: Seeds, target: Language) -> Iterator[Pair | Dropped]:
    """Pairs with those dropped that duplicate an earlier one."""
    first_by_instruction: dict[str, str] = {}
    first_by_response: dict[str, str] = {}
    unique: list[Pair] = []
    for pair in pairs:
        question = " ".join(f"{pair.instruction} {pair.input}".casefold().split())
        if question in first_by_instruction:
            yield dropped(pair.id, "duplicate_instruction", f"of {first_by_instruction[question]}", pair.instruction)
        elif pair.output in first_by_response:
            yield dropped(pair.id, "exact_duplicate", f"of {first_by_response[pair.output]}", pair.output)
        else:
            first_by_instruction[question] = first_by_response[pair.output] = pair.id
            unique.append(pair)
    with (
        tempfile.TemporaryDirectory(prefix="seeds-") as folder,
        Deduplicator(Path(folder), settings.near_duplicate_jaccard, characters.spaced(target)) as near,
    ):
        for pair in unique:
            near.add(_passage(pair))
        near.decide()
        for pair, decided in zip(unique, near.survivors(), strict=True):
            yield decided if isinstance(decided, Dropped) else pair


def _passage(pair: Pair) -> Passage:
    """The response as a passage, for the deduplicator."""
    return Passage(
        id=pair.id,
        language=pair.language,
        text=pair.output,
        document_id=pair.id,
        segment=0,
        source=pair.source,
        url=pair.url,
        license=pair.license,
        text_hash=text_digest(pair.output),
        identified="und",
        identified_confidence=0.0,
    )


def _order_key(pair: Pair, seed: int) -> bytes:
    text = "\0".join((str(seed), pair.instruction, pair.input, pair.output))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
