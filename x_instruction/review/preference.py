"""Blind comparison of two systems by people: which of two answers is better, overall and in some aspects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from x_instruction.bootstrap import Interval, interval
from x_instruction.config.fields import MAX_ROW_BYTES
from x_instruction.corpus.cells import text_of
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.evaluation.answers import read_folder
from x_instruction.evaluation.metric import Data, Instance, Metric
from x_instruction.hashing import digest
from x_instruction.languages import language
from x_instruction.records import storable
from x_instruction.refine.labels import JUDGED, Example
from x_instruction.review.agreement import RESAMPLES
from x_instruction.review.answers import Rater
from x_instruction.review.sheet import Choice, Item, Question, Sheet
from x_instruction.seed.files import read_rows

OVERALL = "overall"
ASPECTS = {
    "language": "Which is in better language: the right one, natural, without errors?",
    "helpfulness": "Which helps more with the request?",
    "factuality": "Which is more correct?",
    "coherence": "Which is better organized?",
    "harmlessness": "Which is safer?",
    "culture": "Which fits the culture of its readers better?",
}
# Names of columns by meaning; the first that a row has is read.
_ID = ("id", "question_id")
_QUESTION = ("instruction", "question", "prompt", "text")
_ANSWER = ("output", "answer", "response")
_PAIR = (("output_a", "answer_a", "a"), ("output_b", "answer_b", "b"))
_SYSTEMS = ("system_a", "system_b")
_OTHERS = ("language", "instruction_language")
_COLUMNS = (*_ID, *_QUESTION, *_ANSWER, *_PAIR[0], *_PAIR[1], *_SYSTEMS, *_OTHERS)
# Score of the first system for each choice, in the order of the key.
_SCORES = {"first": 1.0, "second": 0.0, "tie": 0.5, "bad": 0.5}
_GUIDE = """Two answers to the same request. Say which one is better, for a reader of {names}.
Do not reward length. If both are good or both are bad, say so. The order of the answers is random.
Your answers stay in this browser until you save or share the file."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How often the first system is better, in one aspect and language.

    Args:
        aspect: ``overall``, or a name of ``ASPECTS``.
        language: tag; empty for all languages.
        pairs: judged pairs.
        wins, ties, losses: of the first system, by the mean of the raters' answers.
        rate: score of the first system: share of wins, ties counted as half.
        interval: its 95 % interval, by a bootstrap over the pairs.
    """

    aspect: str
    language: str
    pairs: int
    wins: int
    ties: int
    losses: int
    rate: float
    interval: Interval


def make(files: Sequence[Path], systems: Sequence[str], aspects: Sequence[str], seed: int) -> Sheet:
    """A sheet of pairs of answers.

    Args:
        files: one file of pairs (``instruction``, ``language``, ``output_a``, ``output_b``), the answers of two systems
            (``id``, ``instruction``, ``language``, ``output``), joined by id, or a folder that ``eval answers`` wrote.
        systems: names of the two systems; empty for those in the columns ``system_a`` and ``system_b``, for the names
            of the two files, or for the two systems of the folder.
        aspects: names of ``ASPECTS`` that are asked beside the overall choice.
        seed: decides all orders.

    Raises:
        CorpusError: a file cannot be read, a row misses something, an id occurs twice, or the answers of the two files
            do not match.
        RecipeError: there are other than one or two files, or other than two names.
    """
    if len(files) not in (1, 2):
        raise RecipeError(f"got {len(files)} files, expected 1 file of pairs, or the answers of 2 systems")
    if systems and len(systems) != 2:
        raise RecipeError(f"--names has {len(systems)} names, expected 2, such as base,tuned")
    if files[0].is_dir():
        rows = list(_folder(files[0], systems))
    else:
        rows = list(_pairs(files[0]) if len(files) == 1 else _joined(*files))
    if not rows:
        raise CorpusError(f"{files[0]} has no pairs")
    names = tuple(systems) or (rows[0].systems if len(files) == 1 else (files[0].stem, files[1].stem))
    if names[0] == names[1]:
        raise RecipeError(f"both systems are {names[0]!r}: tell them apart with --names")
    items = [_item(row, seed) for row in rows]
    tags = dict.fromkeys(item.language for item in items)
    return Sheet(
        kind="rate",
        title="Which answer is better?",
        guide=_GUIDE.format(names=", ".join(language(tag).name for tag in tags)),
        labels=("Answer A", "Answer B"),
        questions=tuple(_questions(aspects)),
        items=tuple(sorted(items, key=lambda item: item.id)),
        editable=False,
        seed=seed,
        hidden={"systems": list(names), "files": [path.name for path in files]},
    )


def _questions(aspects: Sequence[str]) -> Iterator[Question]:
    choices = Choice("first", "A is better"), Choice("tie", "Equal"), Choice("second", "B is better")
    yield Question(
        OVERALL,
        "Which answer is better?",
        (choices[0], Choice("tie", "Both good"), Choice("bad", "Both bad"), choices[2]),
    )
    for aspect in aspects:
        yield Question(aspect, ASPECTS[aspect], choices)


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    language: str
    instruction_language: str
    instruction: str
    answers: tuple[str, ...]
    systems: tuple[str, str] = ("A", "B")


def _item(row: _Row, seed: int) -> Item:
    return Item(
        digest([seed, row.id])[:12],
        row.language,
        row.instruction_language,
        row.instruction,
        row.answers,
        {"row": row.id},
    )


def _pairs(path: Path) -> Iterator[_Row]:
    return _rows(path, _PAIR)


def _joined(one: Path, other: Path) -> Iterator[_Row]:
    left, right = ({row.id: row for row in _rows(path, (_ANSWER,))} for path in (one, other))
    if missing := sorted(left.keys() ^ right.keys()):
        raise CorpusError(
            f"{len(missing)} ids, such as {missing[0]!r}, are only in one of {one} and {other}: expected answers of "
            "both systems to the same questions"
        )
    for id, row in left.items():
        if row.instruction != right[id].instruction:
            raise CorpusError(f"{id!r} is another question in {one} than in {other}: expected answers to the same ones")
        yield _Row(id, row.language, row.instruction_language, row.instruction, (*row.answers, *right[id].answers))


def _folder(folder: Path, systems: Sequence[str]) -> Iterator[_Row]:
    """The first samples of two systems in every language of a folder, where both answered."""
    for answers in read_folder(folder):
        names = systems or tuple(answers.systems)
        if len(names) != 2 or not set(names) <= answers.systems.keys():
            shown = ", ".join(answers.systems) or "none"
            raise RecipeError(f"{folder} has the systems {shown} in {answers.tag}: name 2 of them with --names")
        first, second = (answers.systems[name].answers for name in names)
        for question in answers.questions:
            id = str(question.id)
            if id in first and id in second:
                yield _Row(
                    f"{answers.tag}/{id}",
                    answers.tag,
                    question.language,
                    question.text,
                    (first[id][0], second[id][0]),
                    (names[0], names[1]),
                )


def _rows(path: Path, answers: Sequence[tuple[str, ...]]) -> Iterator[_Row]:
    seen: set[str] = set()
    for position, row in read_rows(path, _COLUMNS, MAX_ROW_BYTES):
        where = f"{path}, row {position}"
        if isinstance(row, RowError):
            raise CorpusError(f"{where}: {row.reason}, {row.detail}; correct the file")
        id = _text(row, _ID, "", f"{path.stem}-{position}")
        if id in seen:
            raise CorpusError(f"{where}: the id {id!r} occurs twice, expected it once")
        seen.add(id)
        tag = language(_text(row, ("language",), where)).tag
        yield _Row(
            id,
            tag,
            language(_text(row, ("instruction_language",), where, "en")).tag,
            _text(row, _QUESTION, where),
            tuple(_text(row, names, where) for names in answers),
            (_text(row, _SYSTEMS[:1], where, "A"), _text(row, _SYSTEMS[1:], where, "B")),
        )


def _text(row: Mapping[str, object], names: Sequence[str], where: str, default: str = "") -> str:
    found = next((text for name in names if (text := storable(text_of(row.get(name))).strip())), default)
    if not found:
        raise CorpusError(
            f"{where}: {' or '.join(names)} is missing or empty; got {', '.join(map(repr, row)) or 'none'}"
        )
    return found


def scores(sheet: Sheet, raters: Sequence[Rater], question: str) -> dict[str, dict[str, float]]:
    """Rater to item to the score of the first system: 1 if it is better, 0 if the other one is, else 0.5."""
    return {
        rater.name: {id: _SCORES[choice] for id, choice in choices(sheet, rater, question).items()} for rater in raters
    }


def choices(sheet: Sheet, rater: Rater, question: str) -> dict[str, str]:
    """The choices of a rater by item, in the order of the key whatever order the rater saw."""
    turned = {"first": "second", "second": "first"}
    found = {}
    for item in sheet.items:
        answer = rater.answers.get(item.id)
        if answer and question in answer.choices:
            choice = answer.choices[question]
            found[item.id] = turned.get(choice, choice) if sheet.swapped(rater.number, item) else choice
    return found


def verdicts(sheet: Sheet, raters: Sequence[Rater]) -> list[Verdict]:
    """Scores of the first system, by aspect and language, those over all languages last.

    Raises:
        CorpusError: the sheet is of another kind, or nothing was judged.
    """
    if sheet.kind != "rate":
        raise CorpusError(
            "the sheet is a review of single pairs, expected one of `eval rate make`: use `review collect`"
        )
    found = []
    for question in sheet.questions:
        means = _means(sheet, raters, question.id)
        tags = dict.fromkeys(item.language for item in sheet.items)
        for tag in (*tags, "") if len(tags) > 1 else tags:
            values = [means[item.id] for item in sheet.items if item.id in means and tag in ("", item.language)]
            if values:
                found.append(_verdict(question.id, tag, values, sheet.seed))
    if not found:
        raise CorpusError("the files have no answers: expected files that raters saved after they answered")
    return found


def _means(sheet: Sheet, raters: Sequence[Rater], question: str) -> dict[str, float]:
    by_rater = scores(sheet, raters, question).values()
    return {
        item.id: mean(answers[item.id] for answers in by_rater if item.id in answers)
        for item in sheet.items
        if any(item.id in answers for answers in by_rater)
    }


def _verdict(aspect: str, tag: str, values: Sequence[float], seed: int) -> Verdict:
    wins, losses = sum(value > 0.5 for value in values), sum(value < 0.5 for value in values)
    return Verdict(
        aspect=aspect,
        language=tag,
        pairs=len(values),
        wins=wins,
        ties=len(values) - wins - losses,
        losses=losses,
        rate=mean(values),
        interval=interval(np.mean, [list(values)], RESAMPLES, seed),
    )


def labels(sheet: Sheet, raters: Sequence[Rater]) -> list[Example]:
    """Labelled pairs for the rater, of pairs about which all raters agree.

    Of two answers the better one is ``best`` and the other ``flawed``; two good ones are ``best``, two bad ones
    ``worst``.
    """
    levels = {
        "first": ("best", "flawed"),
        "second": ("flawed", "best"),
        "tie": ("best", "best"),
        "bad": ("worst", "worst"),
    }
    by_rater = [choices(sheet, rater, OVERALL) for rater in raters]
    found = []
    for item in sheet.items:
        said = {answers[item.id] for answers in by_rater if item.id in answers}
        if len(said) != 1:
            continue
        for text, level, system in zip(item.texts, levels[said.pop()], sheet.hidden["systems"], strict=True):
            found.append(
                Example(
                    id=f"{item.hidden['row']}/{system}",
                    document=item.hidden["row"],
                    language=item.language,
                    instruction_language=item.instruction_language,
                    instruction=item.instruction,
                    text=text,
                    level=level,
                    strategy=JUDGED,
                )
            )
    return found


def metrics(sheet: Sheet, found: Sequence[Verdict], raters: int) -> list[Metric]:
    """The verdicts as metrics of a record of the first system."""
    return [
        Metric(
            task="human-rating",
            # As in records of a judge: win_rate would be the share of wins alone.
            name="score" if verdict.aspect == OVERALL else f"{verdict.aspect}_score",
            value=verdict.rate,
            low=verdict.interval[0],
            high=verdict.interval[1],
            n=verdict.pairs,
            data=Data(name=", ".join(sheet.hidden["files"]), revision=sheet.id),
            language=verdict.language,
            parameters={"baseline": sheet.hidden["systems"][1]},
            interval_method="bootstrap by pair",
            notes=f"blind comparison by {raters} {'person' if raters == 1 else 'people'}; ties count half",
        )
        for verdict in found
    ]


def instances(
    sheet: Sheet, raters: Sequence[Rater], of: Sequence[Metric], found: Sequence[Verdict]
) -> Iterator[Instance]:
    """The judged pairs behind the metrics."""
    for metric, verdict in zip(of, found, strict=True):
        means = _means(sheet, raters, verdict.aspect)
        for item in sheet.items:
            if item.id in means and verdict.language in ("", item.language):
                yield Instance(
                    metric=metric.id,
                    id=item.hidden["row"],
                    input=item.instruction,
                    outputs=item.texts[:1],
                    references=item.texts[1:],
                    score=means[item.id],
                    correct=means[item.id] > 0.5,
                    details={"language": item.language},
                )
