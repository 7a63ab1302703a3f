"""The language of the answers in a folder, per language and system, and their fluency to a reference model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from x_instruction.bootstrap import Interval, interval
from x_instruction.config.model import Model
from x_instruction.corpus.identify import LanguageCheck
from x_instruction.engines import Engine, open_engine
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.evaluation.answers import AnswerSet, read_folder
from x_instruction.evaluation.held_out import RESAMPLES, Row, bits_per_byte
from x_instruction.evaluation.language import (
    AnswerLanguage,
    LanguageMetrics,
    answer_languages,
    by_question,
    language_checks,
    language_metrics,
)
from x_instruction.evaluation.metric import Data, Instance, Metric
from x_instruction.evaluation.models import system_info
from x_instruction.evaluation.record import check_target, write_record
from x_instruction.hashing import digest
from x_instruction.storage.atomic import file_digest

TASK = "language"


@dataclass(frozen=True, slots=True)
class Fluency:
    """How likely answers in the right language are to a reference model.

    Args:
        bits_per_byte: sum of bits over sum of bytes; lower is more fluent.
        interval: its 95 % bootstrap interval over the questions.
        answers: number of answers in the right language.
    """

    bits_per_byte: float
    interval: Interval
    answers: int


@dataclass(frozen=True, slots=True)
class LanguageResult:
    """The answers of one system in one language.

    Args:
        system: its name.
        language: tag of the expected language.
        metrics: shares and means over the answers; None if there are none.
        failed: number of questions that the system could not be asked.
        fluency: None without a reference model, or if no answer is in the right language.
        answers: question id, question, answer and the language of the answer.
    """

    system: str
    language: str
    metrics: LanguageMetrics | None
    failed: int
    fluency: Fluency | None
    answers: tuple[tuple[str, str, str, AnswerLanguage], ...]


def measure_languages(
    folder: Path,
    tags: Sequence[str],
    *,
    reference: Model | None = None,
    max_tokens: int = 256,
    lid_model: str | None = None,
    overwrite: bool = False,
    log: Callable[[str], None] = lambda text: None,
) -> list[LanguageResult]:
    """Measure the language of all answers in a folder, and write a record ``language-SYSTEM`` for each system.

    Args:
        folder: a folder that ``x-instruction eval answers`` wrote, or of the paper's layout.
        tags: the languages; all of the folder if empty.
        reference: a model for fluency.
        max_tokens: tokens of an answer that the reference model scores.
        lid_model: path of a fastText model, for languages that py3langid does not know.
        overwrite: replace results of other settings.
        log: called with the path of each record.

    Raises:
        CorpusError: the folder has no answers, or they do not match the questions.
        RecipeError: a language cannot be identified.
        NotCapable: the reference model cannot score.
        RunChanged: the folder has results of other settings.
    """
    sets = read_folder(folder, tags)
    checks = language_checks([each.tag for each in sets], lid_model)
    names = list(dict.fromkeys(name for each in sets for name in each.systems))
    shared = {
        "lid_model": file_digest(Path(lid_model)) if lid_model else "",
        "reference": fingerprint(reference) if reference else {},
        "max_tokens": max_tokens if reference else 0,
    }
    settings = {name: shared | {"answers": _digests(sets, name)} for name in names}
    infos = {name: system_info(sets, name) for name in names}
    for name in names:
        check_target(folder, f"{TASK}-{name}", infos[name], settings[name], overwrite)
    engine = open_engine(reference) if reference else None
    found = [_measure(each, name, checks, engine, max_tokens) for name in names for each in sets]
    data = Data(name=folder.resolve().name)
    for name in names:
        rows = [row for row in found if row.system == name]
        metrics = [metric for row in rows for metric in result_metrics(row, data)]
        instances = [instance for row in rows for instance in _instances(row, data)]
        record = write_record(
            *(folder, f"{TASK}-{name}", infos[name], metrics, instances), settings=settings[name], overwrite=overwrite
        )
        log(f"written: {record}")
    return found


def _digests(sets: Sequence[AnswerSet], name: str) -> dict[str, str]:
    return {each.tag: digest({id: list(texts) for id, texts in each.systems[name].answers.items()}) for each in sets}


def _measure(
    asked: AnswerSet, name: str, checks: Mapping[str, LanguageCheck], engine: Engine | None, max_tokens: int
) -> LanguageResult:
    given = asked.systems[name]
    questions = {str(question.id): question.text for question in asked.questions}
    flat = [(id, text) for id, texts in given.answers.items() for text in texts]
    texts = [text for _, text in flat]
    answers = answer_languages(texts, [asked.tag] * len(texts), checks)
    right = [Row(id, "", text, asked.tag) for (id, text), own in zip(flat, answers, strict=True) if own.right]
    return LanguageResult(
        system=name,
        language=asked.tag,
        metrics=language_metrics(answers, [id for id, _ in flat]) if answers else None,
        failed=len(given.failed),
        fluency=fluency(right, engine, max_tokens) if engine and right else None,
        answers=tuple((id, questions[id], text, own) for (id, text), own in zip(flat, answers, strict=True)),
    )


def fluency(rows: Sequence[Row], engine: Engine, max_tokens: int) -> Fluency:
    """Bits per byte of texts alone.

    Args:
        rows: the texts, as responses to an empty prompt.
        engine: the reference model.
        max_tokens: number of tokens of a text to score.

    Raises:
        NotCapable: the engine cannot score.
        EngineError: the engine failed on a text.
    """
    likelihoods = bits_per_byte(rows, engine, lambda text: text, max_tokens)
    columns = by_question([(each.bits, each.bytes) for each in likelihoods], [row.id for row in rows])

    def rate(sums: npt.NDArray[np.float64]) -> float:
        bits, size = sums.sum(axis=0)
        return float(bits / size)

    return Fluency(rate(columns), interval(rate, [columns], RESAMPLES, 0), len(rows))


def result_metrics(result: LanguageResult, data: Data) -> list[Metric]:
    """The figures of one system in one language, as metrics of a record."""
    found = result.metrics
    if found is None:
        return []
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(found.reasons.items()))
    not_right = f"not right: {reasons}" if reasons else ""
    shares = (
        ("right_language", found.right, found.right_interval, found.answers, True, not_right),
        ("script_share", found.script_share, found.script_share_interval, found.identified, True, "share of letters"),
        ("switched", found.switched, found.switched_interval, found.identified, False, "share of characters"),
    )
    metrics = [
        Metric(
            task=TASK,
            name=name,
            value=value,
            low=ends[0],
            high=ends[1],
            n=number,
            data=data,
            language=result.language,
            higher_is_better=better,
            interval_method="bootstrap by question",
            notes=notes,
        )
        for name, value, ends, number, better, notes in shares
        if not math.isnan(value)
    ]
    if result.fluency:
        fluent = Metric(
            task=TASK,
            name="fluency",
            value=result.fluency.bits_per_byte,
            low=result.fluency.interval[0],
            high=result.fluency.interval[1],
            n=result.fluency.answers,
            data=data,
            language=result.language,
            higher_is_better=False,
            maximum=None,
            unit="bits per byte",
            interval_method="bootstrap by question",
            notes="of a reference model, over answers in the right language",
        )
        metrics.append(fluent)
    return metrics


def _instances(result: LanguageResult, data: Data) -> Iterator[Instance]:
    metrics = result_metrics(result, data)
    right = metrics[0].id if metrics else ""
    numbers: Counter[str] = Counter()
    for id, question, text, own in result.answers:
        numbers[id] += 1
        yield Instance(
            metric=right,
            id=f"{id}/{numbers[id]}",
            input=question,
            outputs=(text,),
            score=float(own.right),
            correct=own.right,
            error="" if text else "no answer",
            details={
                "language": result.language,
                "identified": own.identified,
                "reason": own.reason or "",
                "script_share": f"{own.script_share:.4f}",
                "switched": f"{own.switched:.4f}",
            },
        )
