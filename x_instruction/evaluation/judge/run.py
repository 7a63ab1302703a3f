"""Judge the answers of a folder, and measure a judge: from files to records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from x_instruction.config.fields import MAX_ROW_BYTES
from x_instruction.config.model import Model
from x_instruction.engines import open_engine
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import CorpusError
from x_instruction.evaluation.answers import AnswerSet, Sampling, answer, read_folder
from x_instruction.evaluation.judge.files import read_judgements, write_judgements
from x_instruction.evaluation.judge.labels import Label, agreement_with_people, read_labels
from x_instruction.evaluation.judge.passport import Documents, Passport, items, measure, question_of
from x_instruction.evaluation.judge.protocols import CUT_OFF, Protocol, judge, prompt_digest, template
from x_instruction.evaluation.judge.records import (
    COMMON,
    PASSPORT,
    Verdicts,
    read_verdicts,
    write_passport,
    write_results,
)
from x_instruction.evaluation.judge.results import (
    PairResult,
    Pick,
    compare_systems,
    languages_of,
    pair_results,
    system_strengths,
)
from x_instruction.evaluation.judge.statistics import Strengths
from x_instruction.evaluation.judge.verdicts import Comparison, Judgement
from x_instruction.evaluation.metric import Data, Judging, ModelInfo
from x_instruction.evaluation.models import model_info, system_info
from x_instruction.evaluation.record import check_target, read_record
from x_instruction.evaluation.spending import budget_for, spent
from x_instruction.hashing import digest
from x_instruction.languages import language
from x_instruction.mixing.files import sources
from x_instruction.records import Dropped
from x_instruction.seed.pairs import Pair, read_pairs
from x_instruction.storage.atomic import file_digest

REQUESTS = "judge.requests.sqlite"
PASSPORT_REQUESTS = f"{PASSPORT}.requests.sqlite"
# An answer of the judge itself is compared with a response of about that length.
_OWN_TOKENS = 256

Seen = Callable[[int, int], None]


def _unseen(done: int, known: int) -> None:
    """No progress is shown."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What judging a folder gave.

    Args:
        results: of each pair of systems, language and aspect.
        strengths: of all systems, by language, where there are at least three.
        verdicts: where the judge gives verdicts; None without a passport.
        left_out: questions that a system could not be asked, by system.
        cut_off: answers of the judge that its limit of tokens cut off before it said anything.
        records: files of the results.
        spent: cost of all requests so far, at the prices of the model.
    """

    results: Sequence[PairResult]
    strengths: Mapping[str, Strengths]
    verdicts: Verdicts | None
    left_out: Mapping[str, int]
    cut_off: int
    records: Sequence[Path]
    spent: float


def judge_answers(
    model: Model,
    folder: Path,
    out: Path,
    protocol: Protocol,
    *,
    tags: Sequence[str] = (),
    limit: int | None = None,
    pick: Pick = "shortest",
    baseline: str | None = None,
    gate: bool = True,
    lid_model: str | None = None,
    passport: Path | None = None,
    judgements: Path | None = None,
    budget: float | None = None,
    overwrite: bool = False,
    seed: int = 0,
    seen: Seen = _unseen,
) -> Judged:
    """Compare the systems of a folder in both orders, and write judgements and records.

    Args:
        model: the judge.
        folder: questions and answers; see ``answers.read_folder``.
        out: folder of the results. It holds the answers of the judge, too: the same call continues.
        protocol: how to ask.
        tags: the languages; all by default.
        limit: at most this many questions of each language.
        pick: which of several samples is judged.
        baseline: compare each system with this one only.
        gate: only an answer in the right language wins.
        lid_model: path of a fastText model for the gate.
        passport: the judge's passport.
        judgements: a folder with judgements that exist, which are counted instead of asking.
        budget: stop when this much is spent.
        overwrite: replace results of other settings.
        seed: seed of the intervals.
        seen: called with the number of answered requests and the number of known requests.

    Raises:
        CorpusError: answers do not match the questions, or a file is damaged.
        RecipeError: an option does not fit.
        RunChanged: ``out`` has results of other settings.
        BudgetReached: the budget is spent. Answers so far are kept.
    """
    sets = [_limited(answers, limit) for answers in read_folder(folder, tags)]
    comparisons, left_out = compare_systems(sets, pick, baseline)
    languages = languages_of(comparisons, lid_model) if gate else {}
    cache = out / REQUESTS
    asker = _judgements(judgements, comparisons) if judgements else _asking(model, cache, protocol, budget, seen)
    with asker as (ask, settings, judging):
        settings |= {
            "pick": pick,
            "baseline": baseline,
            "gate": gate,
            "lid_model": file_digest(Path(lid_model)) if lid_model else None,
            "answers": digest(
                sorted([c.language, c.question_id, c.question, *c.systems, *c.answers] for c in comparisons)
            ),
        }
        judged_in = dict.fromkeys(comparison.language for comparison in comparisons)
        verdicts = read_verdicts(passport, settings, judged_in) if passport else None
        settings["passport"] = digest(sorted(verdicts.reasons.items())) if verdicts else None
        systems = {name: system_info(sets, name) for name in sorted(sets[0].systems)}
        for name, info in systems.items():
            check_target(out, f"judge-{name}", info, settings, overwrite)
        judged = ask(comparisons)
    if not judgements:
        write_judgements(out, judged)
    results = pair_results(judged, languages, seed)
    strengths = {
        tag: fitted
        for tag in dict.fromkeys(result.language for result in results)
        if (fitted := system_strengths(judged, languages, tag, seed)) is not None
    }
    records = write_results(
        out,
        systems,
        results,
        strengths,
        judged,
        languages,
        verdicts,
        data=Data(name=folder.resolve().name, revision=str(settings["answers"])),
        judging=judging,
        settings=settings,
        overwrite=overwrite,
    )
    asked = [j for judgements in judged for j in judgements if j.aspect in protocol.aspects]
    cut_off = sum(call.failure == CUT_OFF for j in asked for call in (j.forward, j.backward))
    return Judged(results, strengths, verdicts, left_out, cut_off, records, spent(model, [cache]))


def _limited(answers: AnswerSet, limit: int | None) -> AnswerSet:
    return dataclasses.replace(answers, questions=answers.questions[:limit])


_Ask = Callable[[Sequence[Comparison]], list[tuple[Judgement, ...]]]


@contextmanager
def _asking(
    model: Model, path: Path, protocol: Protocol, budget: float | None, seen: Seen
) -> Iterator[tuple[_Ask, dict[str, Any], Judging]]:
    """Asks a judge, with the settings that decide what it says."""
    left = budget_for(model, budget, [path])
    engine = open_engine(model)
    prompt = template(protocol, "en", engine.chat)
    settings = _judge_settings(model, protocol, engine.chat)
    judging = Judging(judge=model_info(model), prompt=prompt.text, temperature=0.0)
    with RequestCache(path, engine, fingerprint(model), seen, left) as cache:
        yield lambda comparisons: judge(comparisons, protocol, cache.engine, cache.ask), settings, judging


def _judge_settings(model: Model, protocol: Protocol, chat: bool) -> dict[str, Any]:
    """Who judges, and how it is asked."""
    return {
        "judge": fingerprint(model),
        "protocol": protocol.name,
        "aspects": list(protocol.aspects),
        "prompt": prompt_digest(protocol, chat),
        "max_tokens": protocol.max_tokens,
        "retries": protocol.retries,
    }


@contextmanager
def _judgements(folder: Path, comparisons: Sequence[Comparison]) -> Iterator[tuple[_Ask, dict[str, Any], Judging]]:
    """Counts judgements that exist. Records beside them say who judged, and how; published ones have none."""
    judged = read_judgements(folder, comparisons)
    calls = [[(j.aspect, astuple(j.forward), astuple(j.backward)) for j in judgements] for judgements in judged]
    settings: dict[str, Any] = {"judgements": digest(calls)}
    judging = Judging(judge=ModelInfo(name="unknown"), prompt="unknown: judgements were read from files")
    if records := [read_record(path) for path in sorted(folder.glob("judge-*.json")) if path.stem != PASSPORT]:
        settings |= {key: records[0].settings.get(key) for key in COMMON}
        judging = next((metric.judging for metric in records[0].metrics if metric.judging), judging)
    yield lambda _: judged, settings, judging


def measure_judge(
    model: Model,
    data: Sequence[str],
    out: Path,
    protocol: Protocol,
    *,
    tags: Sequence[str] = (),
    per_language: int = 40,
    own: bool = True,
    labels: Path | None = None,
    budget: float | None = None,
    overwrite: bool = False,
    seed: int = 0,
    seen: Seen = _unseen,
) -> dict[str, Passport]:
    """Measure a judge on pairs that are made from natural responses, and write its passport.

    Args:
        model: the judge.
        data: files of pairs, ``TAG=PATH``, or folders that ``build`` wrote.
        out: folder of the passport. It holds the answers of the judge, too: the same call continues.
        protocol: how to ask.
        tags: the languages; all by default.
        per_language: at most this many documents of each language.
        own: have the judge answer requests itself, to measure whether it prefers its own answers.
        labels: pairs that people judged; see ``labels.read_labels``.
        budget: stop when this much is spent.
        overwrite: replace a passport of other settings.
        seed: seed of the pairs and the intervals.
        seen: called with the number of answered requests and the number of known requests.

    Raises:
        CorpusError: a file cannot be read, or a language has fewer than three documents.
        RunChanged: ``out`` has a passport of other settings.
        BudgetReached: the budget is spent. Answers so far are kept.
    """
    chosen = {language(tag).tag for tag in tags}
    documents = Documents(_pairs(data, chosen), chosen, per_language, seed)
    labelled = _labels(labels, documents, chosen) if labels else []
    cache = out / PASSPORT_REQUESTS
    left = budget_for(model, budget, [cache])
    engine = open_engine(model)
    info = model_info(model)
    settings = _judge_settings(model, protocol, engine.chat) | {
        "documents": _digest(documents),
        "languages": sorted(documents.judged),
        "limit": per_language,
        "own": own,
        "labels": digest([[label.comparison.question, *label.comparison.answers, label.value] for label in labelled]),
        "seed": seed,
    }
    check_target(out, PASSPORT, info, settings, overwrite)
    with RequestCache(cache, engine, fingerprint(model), seen, left) as requests:
        answers = _own_answers(documents, requests) if own else {}
        measured = items(documents, answers)
        comparisons = [item.comparison for item in measured] + [label.comparison for label in labelled]
        judged = [judgements[0] for judgements in judge(comparisons, protocol, engine, requests.ask)]
    passports = measure(measured, judged[: len(measured)], seed)
    people = agreement_with_people(labelled, judged[len(measured) :], seed)
    passports = {tag: dataclasses.replace(own_, people=people.get(tag)) for tag, own_ in passports.items()}
    write_passport(
        out,
        info,
        passports,
        measured,
        judged[: len(measured)],
        data=Data(name=", ".join(Path(name.partition("=")[2] or name).name for name in data)),
        judging=Judging(judge=info, prompt=template(protocol, "en", engine.chat).text, temperature=0.0),
        settings=settings,
        overwrite=overwrite,
    )
    return passports


def _labels(path: Path, documents: Documents, chosen: set[str]) -> list[Label]:
    """The labels in the languages that are judged.

    Raises:
        CorpusError: there are none, or, unless languages were chosen, some in a language without documents.
    """
    labels = read_labels(path)
    other = sorted({label.comparison.language for label in labels} - documents.judged.keys())
    own = [label for label in labels if label.comparison.language in documents.judged]
    if other and not (chosen and own):
        raise CorpusError(
            f"{path} has pairs in {other[0]}, and there are no documents in {other[0]} to measure the judge on: add "
            f"some to DATA, or choose languages that both have with --languages"
        )
    return own


def _digest(documents: Documents) -> str:
    return digest(
        [[pair.language, pair.id, pair.asked, pair.output] for own in documents.by_language.values() for pair in own]
    )


def _pairs(data: Sequence[str], chosen: set[str]) -> list[Pair]:
    pairs: list[Pair] = []
    for source in (source for name in data for source in sources(name, "web")):
        for pair in read_pairs(source.path, MAX_ROW_BYTES, source.tag):
            if isinstance(pair, Dropped) or not pair.output.strip() or not pair.instruction.strip():
                continue
            if not pair.language:
                raise CorpusError(f"{source.path}, row {pair.id}, names no language: write TAG={source.path}")
            tag, asked_in = language(pair.language).tag, language(pair.instruction_language).tag
            pairs.append(
                dataclasses.replace(pair, language=tag, instruction_language=asked_in, output=pair.output.strip())
            )
    found = {pair.language for pair in pairs}
    if missing := sorted(chosen - found):
        raise CorpusError(f"there are no pairs in {missing[0]}, only in {', '.join(sorted(found)) or 'no language'}")
    if not pairs:
        raise CorpusError(f"there is no pair in {', '.join(data)}: expected instructions with responses")
    # Responses in other languages remain: flaws are made from them.
    return pairs


def _own_answers(documents: Documents, requests: RequestCache) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for tag, pairs in documents.judged.items():
        sampling = Sampling(max_tokens=_OWN_TOKENS, temperature=0.0)
        answers = answer([question_of(pair) for pair in pairs], language(tag), sampling, requests.engine, requests.ask)
        found |= {
            (tag, pair.id): given[0] for pair, given in zip(pairs, answers, strict=True) if isinstance(given, tuple)
        }
    return found
