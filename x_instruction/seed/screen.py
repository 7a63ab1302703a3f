"""Which pairs may be seeds: one after another, then against each other, then so many of them.

form -> evaluation sets -> language of the response -> exact and near duplicates -> sample
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from x_instruction.config.recipe import Filters, Seeds
from x_instruction.corpus import characters
from x_instruction.corpus.clean import normalise
from x_instruction.corpus.dedup import Deduplicator
from x_instruction.corpus.identify import LanguageCheck
from x_instruction.errors import RecipeError
from x_instruction.languages import Language, language
from x_instruction.records import Dropped, Passage, dropped, text_digest
from x_instruction.seed.contamination import ContaminationIndex
from x_instruction.seed.pairs import Pair

# Responses that are shown to the identifier together.
BATCH = 256


def screen(
    pairs: Iterable[Pair | Dropped], settings: Seeds, wanted: Language, evaluations: ContaminationIndex
) -> Iterator[Pair | Dropped]:
    """Dropped ones as they are met, then the seeds in an order that is their own, whatever order they came in.

    What passes the language check is held in memory: seeds are few.

    Args:
        pairs: from any reader.
        settings: thresholds.
        wanted: language of the responses.
        evaluations: what no seed may repeat.

    Raises:
        RecipeError: no identifier knows the language.
    """
    passed: list[Pair] = []
    for record in _spoken(_formed(pairs, settings, wanted, evaluations), settings, wanted):
        if isinstance(record, Dropped):
            yield record
        else:
            passed.append(record)
    # By content, so that which of two duplicates stays and who is sampled does not depend on the order of files.
    passed.sort(key=lambda pair: (_chance(pair, settings.seed), pair.id))
    left = settings.count
    for record in _unlike(passed, settings, wanted):
        if isinstance(record, Pair):
            left -= 1
            if left < 0:
                record = dropped(record.id, "over_count", f"{settings.count} are taken", record.output)
        yield record


def _formed(
    pairs: Iterable[Pair | Dropped], settings: Seeds, wanted: Language, evaluations: ContaminationIndex
) -> Iterator[Pair | Dropped]:
    """Pairs of a usable length that no evaluation set holds, in one Unicode form."""
    asked = language(settings.instruction_language)
    for pair in pairs:
        if isinstance(pair, Dropped):
            yield pair
            continue
        tidy = dataclasses.replace(
            pair, instruction=normalise(pair.instruction), input=normalise(pair.input), output=normalise(pair.output)
        )
        fault = _fault(tidy, settings, wanted, asked, evaluations)
        yield tidy if fault is None else dropped(pair.id, *fault, tidy.output or tidy.instruction)


def _fault(
    pair: Pair, settings: Seeds, wanted: Language, asked: Language, evaluations: ContaminationIndex
) -> tuple[str, str] | None:
    """Reason and detail of what is wrong with a pair, or None."""
    for tag, right, what in (
        (pair.language, wanted, "response"),
        (pair.instruction_language, asked, "instruction"),
    ):
        if tag and not _same(tag, right):
            return "other_language", f"the {what} is said to be {tag}, wanted {right.tag}"
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
    found = evaluations.shared(instruction, characters.spaced(asked))
    found = found or evaluations.shared(pair.output, characters.spaced(wanted))
    return ("contaminated", found) if found else None


def _same(tag: str, wanted: Language) -> bool:
    try:
        return language(tag).tag == wanted.tag
    except RecipeError:
        return False


def _spoken(records: Iterable[Pair | Dropped], settings: Seeds, wanted: Language) -> Iterator[Pair | Dropped]:
    """Records without the pairs whose response is in another language."""
    if not settings.language_check:
        yield from records
        return
    limits = Filters(
        min_confidence=settings.min_confidence,
        min_script=settings.min_script,
        max_foreign_lines=settings.max_foreign_lines,
        lid_model=settings.lid_model,
    )
    looks = LanguageCheck(wanted, limits)
    several = iter(records)
    while batch := list(islice(several, BATCH)):
        pairs = [record for record in batch if isinstance(record, Pair)]
        verdicts = iter(looks.judge([pair.output for pair in pairs]))
        for record in batch:
            if isinstance(record, Pair) and (verdict := next(verdicts)).reason is not None:
                yield dropped(record.id, verdict.reason, verdict.detail, record.output)
            else:
                yield record


def _unlike(pairs: list[Pair], settings: Seeds, wanted: Language) -> Iterator[Pair | Dropped]:
    """Pairs without those that say what an earlier one says."""
    asked: dict[str, str] = {}
    answered: dict[str, str] = {}
    unique: list[Pair] = []
    for pair in pairs:
        question = " ".join(f"{pair.instruction} {pair.input}".casefold().split())
        if question in asked:
            yield dropped(pair.id, "duplicate_instruction", f"of {asked[question]}", pair.instruction)
        elif pair.output in answered:
            yield dropped(pair.id, "exact_duplicate", f"of {answered[pair.output]}", pair.output)
        else:
            asked[question] = answered[pair.output] = pair.id
            unique.append(pair)
    with (
        tempfile.TemporaryDirectory(prefix="seeds-") as folder,
        Deduplicator(Path(folder), settings.near_duplicate_jaccard, characters.spaced(wanted)) as near,
    ):
        for pair in unique:
            near.add(_passage(pair))
        near.decide()
        for pair, decided in zip(unique, near.survivors(), strict=True):
            yield decided if isinstance(decided, Dropped) else pair


def _passage(pair: Pair) -> Passage:
    """A response as the deduplicator takes it."""
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


def _chance(pair: Pair, seed: int) -> bytes:
    text = "\0".join((str(seed), pair.instruction, pair.input, pair.output))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
