"""Judgements and passports as records of Every Eval Ever."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.errors import CorpusError, RecipeError
from x_instruction.evaluation.judge.passport import FLAWS, Item, Passport
from x_instruction.evaluation.judge.results import ALL, Languages, PairResult, gated_value
from x_instruction.evaluation.judge.statistics import Estimate, Strengths
from x_instruction.evaluation.judge.verdicts import OVERALL, Call, Judgement
from x_instruction.evaluation.metric import Data, Instance, Judging, Metric, ModelInfo
from x_instruction.evaluation.record import read_record, write_record

METHOD = "bootstrap by question"
PASSPORT = "judge-passport"
TASK = "judge"
_SCORE = "score"
_ANSWERED = "answered"
_WITHOUT_GATE, _LENGTH_CONTROLLED = "score_without_gate", "length_controlled_win_rate"
_UNGATED = "both orders agree, without a gate by language"
# What a passport and the judgements that rest on it must have in common.
COMMON = ("judge", "protocol", "aspects", "prompt")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """For each language that is judged, why the judge gives no verdict there; empty if it gives one."""

    path: Path
    reasons: Mapping[str, str]

    def reason(self, tag: str) -> str:
        """Why a verdict in a language, or over ``all``, does not count; empty if it does."""
        if tag == ALL:
            return "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items() if reason)
        return self.reasons[tag]


def write_passport(
    folder: Path,
    judge: ModelInfo,
    passports: Mapping[str, Passport],
    items: Sequence[Item],
    judged: Sequence[Judgement],
    *,
    data: Data,
    judging: Judging,
    settings: Mapping[str, Any],
    overwrite: bool = False,
) -> Path:
    """Write the passport of a judge as a record.

    Raises:
        RunChanged: the folder has a passport of other settings, and ``overwrite`` is not set.
    """
    metrics = [metric for passport in passports.values() for metric in _passport_metrics(passport, data, judging)]
    known = {metric.id for metric in metrics}
    instances = (
        instance
        for item, judgement in zip(items, judged, strict=True)
        if (instance := _item_instance(item, judgement)).metric in known
    )
    return write_record(folder, PASSPORT, judge, metrics, instances, settings=settings, overwrite=overwrite)


def _passport_metrics(passport: Passport, data: Data, judging: Judging) -> Iterator[Metric]:
    def metric(name: str, estimate: Estimate, low: float = 0.0, **more: Any) -> Iterator[Metric]:
        if not math.isnan(estimate.value):
            yield Metric(
                task=PASSPORT,
                name=name,
                value=estimate.value,
                low=estimate.low,
                high=estimate.high,
                n=estimate.n,
                data=data,
                language=passport.language,
                minimum=low,
                interval_method="bootstrap by document",
                judging=judging,
                **more,
            )

    reason = passport.no_verdict
    verdict = Estimate(float(not reason), math.nan, math.nan, passport.documents)
    yield from metric("verdict", verdict, notes=reason, unit="1 if the verdicts of this judge count, else 0")
    yield from metric("accuracy", passport.accuracy, notes="mean over flaws")
    yield from metric("balanced_accuracy", passport.balanced, notes="mean over longer and shorter better answers")
    for flaw, estimate in passport.by_flaw.items():
        yield from metric("accuracy", estimate, parameters={"flaw": flaw})
    yield from metric("answered", Estimate(passport.answered, math.nan, math.nan, passport.documents))
    yield from metric("position_consistency", passport.consistency)
    for name in ("position", "length", "own", "language"):
        bias = passport.language_bias if name == "language" else getattr(passport, name)
        yield from metric(f"{name}_bias", bias, -1.0, unit="difference of win rates", higher_is_better=False)
    if passport.people is not None:
        yield from metric("kappa_with_people", passport.people, -1.0, unit="Cohen's kappa")


def _item_instance(item: Item, judgement: Judgement) -> Instance:
    name = Metric(
        task=PASSPORT,
        name="accuracy",
        value=0,
        n=0,
        data=Data(name=""),
        language=item.comparison.language,
        parameters={"flaw": item.kind},
    ).id
    # The comparison of one document in one kind; of pairs of equal quality there is no accuracy.
    return _instance(name, judgement, judgement.value if item.kind in FLAWS else None, item.kind)


def _instance(metric: str, judgement: Judgement, value: float | None, kind: str = "") -> Instance:
    comparison = judgement.comparison
    details = {
        "language": comparison.language,
        "systems": " against ".join(comparison.systems),
        "forward": _said(judgement.forward),
        "backward": _said(judgement.backward),
    }
    return Instance(
        metric=metric,
        id="/".join([comparison.question_id, *([kind] if kind else [])]),
        input=comparison.question,
        outputs=comparison.answers,
        score=0.5 if value is None else value,
        correct=value == 1.0,
        error=judgement.forward.failure or judgement.backward.failure,
        details=details | ({"category": comparison.category} if comparison.category else {}),
    )


def _said(call: Call) -> str:
    if call.failure:
        return f"{call.failure}: {call.text}"
    if call.scores:
        return f"{call.scores[0]} to {call.scores[1]}"
    return f"{call.preference:.4f}"


def read_verdicts(path: Path, settings: Mapping[str, Any], tags: Iterable[str]) -> Verdicts:
    """Where a judge gives verdicts, according to its passport.

    Args:
        path: the record, or its folder.
        settings: of the judgements that rest on it.
        tags: the languages that are judged.

    Raises:
        CorpusError: the record is not a passport.
        RecipeError: it is of another judge, protocol or prompt.
    """
    file = path / f"{PASSPORT}.json" if path.is_dir() else path
    record = read_record(file)
    found = {
        metric.language: metric for metric in record.metrics if (metric.task, metric.name) == (PASSPORT, "verdict")
    }
    if not found:
        raise CorpusError(f"{file} is not a passport: expected a record that `x-instruction eval judge-passport` wrote")
    now = json.loads(json.dumps(settings))
    if "judge" not in now:
        raise RecipeError(
            "--passport needs the judge of --judgements, and no record (judge-SYSTEM.json) beside them names it: leave "
            "out --passport, or judge again"
        )
    for key in COMMON:
        if record.settings.get(key) != now.get(key):
            raise RecipeError(
                f"{file} was made with another {key} ({_short(record.settings.get(key))}), here it is "
                f"{_short(now.get(key))}: make a passport with the judge, the protocol and the prompt of the judgements"
            )
    reasons = {tag: "" if metric.value else metric.notes for tag, metric in found.items()}
    return Verdicts(file, {tag: reasons.get(tag, f"{file.name} has not measured this language") for tag in tags})


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]


def write_results(
    folder: Path,
    systems: Mapping[str, ModelInfo],
    results: Sequence[PairResult],
    strengths: Mapping[str, Strengths],
    judged: Sequence[tuple[Judgement, ...]],
    languages: Languages,
    verdicts: Verdicts | None,
    *,
    data: Data,
    judging: Judging,
    settings: Mapping[str, Any],
    overwrite: bool = False,
) -> list[Path]:
    """Write a record for each system: its results against each other one.

    Raises:
        RunChanged: the folder has results of other settings, and ``overwrite`` is not set.
    """
    paths = []
    for name, model in systems.items():
        metrics = [
            metric
            for result in results
            if name in result.systems
            for metric in _result_metrics(result, name, verdicts, bool(languages), data, judging)
        ]
        for tag, fitted in strengths.items():
            if name in fitted.systems:
                estimate = fitted.strengths[fitted.systems.index(name)]
                notes = _notes(verdicts, tag, _gated(bool(languages)))
                metrics.append(
                    _metric("bradley_terry", estimate, tag, data, judging, {}, None, None, "log-odds", notes)
                )
        known = {metric.id for metric in metrics}
        instances = [instance for instance in _instances(name, judged, languages) if instance.metric in known]
        paths.append(
            write_record(folder, f"judge-{name}", model, metrics, instances, settings=settings, overwrite=overwrite)
        )
    return paths


def _notes(verdicts: Verdicts | None, tag: str, what: str) -> str:
    """Why a figure does not count, or else what it is."""
    reason = verdicts.reason(tag) if verdicts else "the judge has no passport"
    return f"no verdict: {reason}" if reason else what


def _gated(is_gated: bool) -> str:
    return "both orders agree; only an answer in the right language wins" if is_gated else _UNGATED


def _result_metrics(
    result: PairResult, name: str, verdicts: Verdicts | None, is_gated: bool, data: Data, judging: Judging
) -> Iterator[Metric]:
    is_first = result.systems[0] == name
    other = result.systems[1] if is_first else result.systems[0]
    parameters: dict[str, str | float | bool | None] = {"against": other}
    if result.aspect != OVERALL:
        parameters["aspect"] = result.aspect
    others = {_WITHOUT_GATE: _UNGATED, _LENGTH_CONTROLLED: "mean preference of both orders, without a gate by language"}
    sides = result.gated
    figures = {
        "win_rate": sides.win if is_first else sides.loss,
        "tie_rate": sides.tie,
        "loss_rate": sides.loss if is_first else sides.win,
        _SCORE: sides.score if is_first else _complement(sides.score),
        _WITHOUT_GATE: result.ungated.score if is_first else _complement(result.ungated.score),
        _LENGTH_CONTROLLED: result.length_controlled if is_first else _complement(result.length_controlled),
    }
    for metric, estimate in figures.items():
        if not math.isnan(estimate.value):
            better = metric not in ("loss_rate",)
            notes = _notes(verdicts, result.language, others.get(metric, _gated(is_gated)))
            yield _metric(
                metric, estimate, result.language, data, judging, parameters, 0.0, 1.0, "proportion", notes, better
            )
    answered = Estimate(result.n / (result.n + result.no_answer), math.nan, math.nan, result.n + result.no_answer)
    yield _metric(_ANSWERED, answered, result.language, data, judging, parameters, 0.0, 1.0, "proportion", "")


def _complement(estimate: Estimate) -> Estimate:
    return Estimate(1 - estimate.value, 1 - estimate.high, 1 - estimate.low, estimate.n)


def _metric(
    name: str,
    estimate: Estimate,
    tag: str,
    data: Data,
    judging: Judging,
    parameters: Mapping[str, str | float | bool | None],
    minimum: float | None,
    maximum: float | None,
    unit: str,
    notes: str,
    higher_is_better: bool = True,
) -> Metric:
    return Metric(
        task=TASK,
        name=name,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        data=data,
        language="" if tag == ALL else tag,
        higher_is_better=higher_is_better,
        minimum=minimum,
        maximum=maximum,
        unit=unit,
        interval_method=METHOD,
        parameters=parameters,
        notes=notes,
        judging=judging,
    )


def _instances(name: str, judged: Sequence[tuple[Judgement, ...]], languages: Languages) -> Iterator[Instance]:
    """The judgements of a system: whether each has an answer, and its score against the other system if it has."""
    for judgement in (judgement for judgements in judged for judgement in judgements):
        comparison = judgement.comparison
        if name not in comparison.systems:
            continue
        own = judgement if comparison.systems[0] == name else judgement.swapped()
        value = gated_value(own, languages)
        parameters = {"against": own.comparison.systems[1]}
        if judgement.aspect != OVERALL:
            parameters["aspect"] = judgement.aspect
        scores = {_ANSWERED: float(value is not None)} | ({} if value is None else {_SCORE: value})
        for metric, score in scores.items():
            id = Metric(
                task=TASK,
                name=metric,
                value=0,
                n=0,
                data=Data(name=""),
                language=comparison.language,
                parameters=parameters,
            ).id
            yield _instance(id, own, score)
