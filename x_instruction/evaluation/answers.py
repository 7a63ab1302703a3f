"""Answers of a model to a set of questions, in the file layout of the paper's evaluation.

    FOLDER/<language>/question.jsonl                          question_id, text, category, language
    FOLDER/<language>/answer.<language>.<system>.eval.jsonl   question_id, category, output or output-1, output-2, ...

Files of the paper's own evaluation are read as they are. What is read is joined by ``question_id``, never by position.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from x_instruction.config.fields import ANSWER_TAG, MAX_ROW_BYTES
from x_instruction.config.model import Model
from x_instruction.config.section import flatten
from x_instruction.corpus.files import fill
from x_instruction.corpus.rows import Row, RowError
from x_instruction.engines import Completed, Completion, Engine, Failed, Result, open_engine
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import CorpusError, Difference, RecipeError, RunChanged, UnknownLanguage, differences
from x_instruction.evaluation.spending import budget_for
from x_instruction.hashing import derive_seed, digest, unsealed
from x_instruction.languages import Language, language
from x_instruction.mixing.tags import SEPARATOR, format_tag
from x_instruction.prompts.answer import frame
from x_instruction.prompts.reading import without_thinking
from x_instruction.records import storable
from x_instruction.seed.files import read_rows
from x_instruction.storage.atomic import atomic

CROSS, SAME = "cross", "same"
PIVOT = "en"
QUESTIONS = "question.jsonl"
_ANSWERS = re.compile(r"answer\.(?P<tag>[^.]+)\.(?P<system>.+)\.eval\.jsonl")
_SYSTEM = re.compile(r"[A-Za-z0-9][\w.-]*")
# Columns of question sets by meaning: of the paper, Vicuna, the Aya evaluation suite and WizardLM's test set.
_ID = ("question_id", "id", "idx")
_TEXT = ("text", "turns", "inputs", "question", "prompt", "instruction", "Instruction")
_CATEGORY = ("category", "Skill")
_LANGUAGE = ("language", "lang")
_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[^:]*))?(?::(?P<split>[^:]+))?")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Args:
        id: as it is in its file, a number or text.
        text: the first turn.
        language: tag of its language.
        category: from the file, or empty.
    """

    id: int | str
    text: str
    language: str
    category: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are generated. The defaults are those of the paper's evaluation.

    Args:
        samples: answers to each question.
        max_tokens: most tokens of an answer.
        temperature, top_p: sampling; temperature 0 is greedy decoding.
        seed: seed of the sampling.
        prompt: template of the prompt: ``auto``, ``chat``, ``answer`` or a file.
        tag: text that asks for the language of the answer, with ``{name}`` or ``{tag}``; for cross-lingual questions.
    """

    samples: int = 1
    max_tokens: int = 2048
    temperature: float = 0.7
    top_p: float = 0.9
    seed: int = 2405_19744
    prompt: str = "auto"
    tag: str = ANSWER_TAG

    def check(self) -> None:
        """Refuse samples that would all be the same.

        Raises:
            RecipeError: several samples at temperature 0.
        """
        if self.samples > 1 and not self.temperature:
            raise RecipeError(f"{self.samples} samples at temperature 0 are equal: pass --temperature, or 1 sample")


@dataclass(frozen=True, slots=True)
class System:
    """The answers of one system in one language.

    Args:
        name: the system.
        path: the file.
        answers: the samples for each question id, as text; without those that failed.
        failed: ids of questions that the system could not be asked, as text.
    """

    name: str
    path: Path
    answers: Mapping[str, tuple[str, ...]]
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AnswerSet:
    """Questions of one language with the answers of several systems."""

    tag: str
    questions: tuple[Question, ...]
    systems: Mapping[str, System] = field(default_factory=dict)


# Reading questions


def read_questions(name: str, asked_in: Language, limit: int | None = None) -> list[Question]:
    """The questions of a file or of a data set of the Hub, in one language.

    Args:
        name: a path, in which ``{tag}`` is replaced by the language, or ``org/name``, ``org/name:config`` or
            ``org/name:config:split`` for the Hub.
        asked_in: the language of the questions. If rows name their language, the others are left out.
        limit: at most this many.

    Raises:
        CorpusError: it cannot be read, has no questions in this language, or two with one id.
    """
    questions: dict[str, Question] = {}
    other: set[str] = set()
    filled = fill(name, asked_in)
    for position, row in _rows(filled):
        if isinstance(row, RowError):
            raise CorpusError(f"{filled}, row {position}: {row.reason} {row.detail}: correct the row")
        question = _question(row, f"{filled}, row {position}", position, asked_in)
        if question.language != asked_in.tag:
            other.add(question.language)
            continue
        if str(question.id) in questions:
            raise CorpusError(
                f"{filled}, row {position}: question_id {question.id!r} occurs twice, expected unique ids"
            )
        questions[str(question.id)] = question
        if limit is not None and len(questions) == limit:
            break
    if not questions:
        found = f"only questions in {', '.join(sorted(other))}" if other else "no rows"
        raise CorpusError(f"{filled} has {found}, expected some in {asked_in.name} ({asked_in.tag})")
    return list(questions.values())


def _rows(name: str) -> Iterator[Row]:
    hub = _HUB.fullmatch(name)
    if hub and not Path(name).exists() and not name.endswith((".jsonl", ".json", ".csv", ".tsv", ".parquet")):
        from x_instruction.corpus.streamed import stream

        return stream(hub["name"], hub["config"] or None, hub["split"] or "test", "main")
    return read_rows(Path(name), (*_TEXT, *_ID, *_CATEGORY, *_LANGUAGE), MAX_ROW_BYTES)


def _question(row: Json, where: str, position: int, asked_in: Language) -> Question:
    value = next((row[key] for key in _TEXT if row.get(key)), None)
    text = value[0] if isinstance(value, list) and value else value
    if not isinstance(text, str) or not text.strip():
        raise CorpusError(f"{where} has no question: expected text in one of {', '.join(_TEXT)}")
    id = next((row[key] for key in _ID if row.get(key) is not None), position)
    if not isinstance(id, int | str) or isinstance(id, bool):
        raise CorpusError(f"{where}: question_id is {id!r}, expected a number or text")
    named = next((str(row[key]) for key in _LANGUAGE if row.get(key)), asked_in.tag)
    try:
        tag = language(named).tag
    except UnknownLanguage:
        # A data set may hold languages that are not known here, which are not asked about either.
        tag = named
    category = next((str(row[key]) for key in _CATEGORY if row.get(key)), "")
    return Question(id, storable(text).strip(), tag, category)


# Asking


def answer(
    questions: Sequence[Question], into: Language, sampling: Sampling, engine: Engine, ask: Callable[..., list[Result]]
) -> list[tuple[str, ...] | Failed]:
    """The samples for each question, in order, or why there is none.

    Args:
        questions: questions in any language. One that is not in ``into`` is asked with ``sampling.tag``.
        into: language of the answers.
        sampling: how to generate.
        engine: says whether the model has a chat template.
        ask: returns one result per request.
    """
    render = frame(sampling.prompt, engine.chat)
    requests = [
        Completion(
            render(asked(question, into, sampling.tag)),
            sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=derive_seed(sampling.seed, "answer", into.tag, question.id, number),
        )
        for question in questions
        for number in range(sampling.samples)
    ]
    results = ask(requests)
    groups = [results[start : start + sampling.samples] for start in range(0, len(results), sampling.samples)]
    return [_samples(group) for group in groups]


def _samples(results: Sequence[Result]) -> tuple[str, ...] | Failed:
    failed = next((result for result in results if isinstance(result, Failed)), None)
    if failed is not None:
        return failed
    texts = [result.text for result in results if isinstance(result, Completed)]
    return tuple(without_thinking(text).strip() for text in texts)


def asked(question: Question, into: Language, tag: str = ANSWER_TAG) -> str:
    """The question as a model is asked: with a request for the language, unless it is in that language."""
    if question.language == into.tag or not tag:
        return question.text
    return f"{question.text}{SEPARATOR}{format_tag(tag, into.tag)}"


# The folder


def question_path(folder: Path, tag: str) -> Path:
    """The file of the questions in a language."""
    return folder / tag / QUESTIONS


def answer_path(folder: Path, tag: str, system: str) -> Path:
    """The file of the answers of a system."""
    return folder / tag / f"answer.{tag}.{system}.eval.jsonl"


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name.removesuffix(".eval.jsonl") + suffix)


def system_name(name: str) -> str:
    """A name for the files of a model: letters, digits, points, dashes.

    Raises:
        RecipeError: nothing is left of it.
    """
    made = re.sub(r"[^\w.-]+", "-", name.rstrip("/").rpartition("/")[2]).strip("-.")
    if not _SYSTEM.fullmatch(made):
        raise RecipeError(f"cannot name a system after {name!r}: pass --system NAME, letters, digits and dashes")
    return made


def write_answers(
    settings: Model,
    questions: Mapping[str, Sequence[Question]],
    sampling: Sampling,
    folder: Path,
    system: str,
    *,
    budget: float | None = None,
    overwrite: bool = False,
    seen: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Json]:
    """Ask a model, and write its answers. Languages that are complete are not asked again; what failed is.

    Args:
        settings: the model.
        questions: by tag of the language of the answers.
        sampling: how to generate.
        folder: the folder; several systems can share it.
        system: name of the system.
        budget: stop when this much is spent.
        overwrite: replace answers of other settings.
        seen: called with the number of answered requests and the number of known requests.

    Returns:
        The report of each language: ``questions``, ``failed`` by reason, ``tokens`` and the settings.

    Raises:
        RunChanged: the folder has other questions, or other answers of this system, and ``overwrite`` is not set.
        BudgetReached: the budget is spent. Answers so far are kept: the same call continues.
    """
    sampling.check()
    base = {**flatten({"model": fingerprint(settings)}), **flatten({name: getattr(sampling, name) for name in _FIELDS})}
    paths = {tag: answer_path(folder, tag, system) for tag in questions}
    caches = [_beside(path, ".requests.sqlite") for path in paths.values()]
    left = budget_for(settings, budget, caches)
    decisive = {tag: base | {"questions": _digest(questions[tag])} for tag in questions}
    reports: dict[str, Json] = {}
    for tag, path in paths.items():
        _check_questions(question_path(folder, tag), questions[tag], overwrite)
        found = system_report(path)
        if found is None:
            continue
        changed = differences(found.get("settings", {}), decisive[tag], str)
        if changed and not overwrite:
            raise RunChanged(str(path), changed)
        # What failed is asked again; the cache has all other answers.
        if not changed and not found.get("failed"):
            reports[tag] = found
    if len(reports) == len(questions):
        return reports
    engine = open_engine(settings)
    for tag in questions.keys() - reports.keys():
        cache = RequestCache(_beside(paths[tag], ".requests.sqlite"), engine, fingerprint(settings), seen, left)
        with cache:
            answers = answer(questions[tag], language(tag), sampling, engine, cache.ask)
            totals = cache.totals()
        reports[tag] = {
            "system": system,
            "model": engine.model,
            "revision": engine.revision,
            "engine": settings.engine,
            "questions": len(answers),
            "failed": _failures(answers),
            **totals,
            "settings": decisive[tag],
        }
        _write_jsonl(question_path(folder, tag), map(_question_row, questions[tag]))
        _write_jsonl(paths[tag], map(_answer_row, questions[tag], answers))
        with atomic(_beside(paths[tag], ".report.json")) as stream:
            stream.write(json.dumps(reports[tag], indent=1, ensure_ascii=False).encode())
    return {tag: reports[tag] for tag in questions}


_FIELDS = ("samples", "max_tokens", "temperature", "top_p", "seed", "prompt", "tag")


def _digest(questions: Sequence[Question]) -> str:
    return digest([[question.id, question.text, question.language] for question in questions])


def _check_questions(path: Path, questions: Sequence[Question], overwrite: bool) -> None:
    """Refuse to put answers to other questions into a folder: systems there could not be compared."""
    if not path.exists() or overwrite:
        return
    known = _read_question_file(path, path.parent.name)
    if known[0].language != questions[0].language:
        change = Difference("language of the questions", known[0].language, questions[0].language)
        raise RunChanged(str(path), [change])
    if _digest(known) != _digest(questions):
        raise RunChanged(str(path), [Difference("questions", f"{len(known)} questions", f"{len(questions)} others")])


def system_report(path: Path) -> Json | None:
    """The report beside a file of answers; None without one, as in folders of the paper.

    Raises:
        CorpusError: it is damaged.
    """
    try:
        return unsealed(json.loads(_beside(path, ".report.json").read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise CorpusError(f"{_beside(path, '.report.json')} is damaged ({error}): remove it") from None


def _failures(answers: Iterable[tuple[str, ...] | Failed]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for given in answers:
        if isinstance(given, Failed):
            counts[given.reason] = counts.get(given.reason, 0) + 1
    return counts


def _question_row(question: Question) -> Json:
    return {
        "question_id": question.id,
        "text": question.text,
        "category": question.category,
        "language": question.language,
    }


def _answer_row(question: Question, answers: tuple[str, ...] | Failed) -> Json:
    row: dict[str, Any] = {"question_id": question.id, "category": question.category}
    if isinstance(answers, Failed):
        return row | {"output": "", "error": f"{answers.reason}: {answers.message}"}
    if len(answers) == 1:
        return row | {"output": answers[0]}
    return row | {f"output-{number}": text for number, text in enumerate(answers, start=1)}


def _write_jsonl(path: Path, rows: Iterable[Json]) -> None:
    with atomic(path) as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


# Reading answers


def read_folder(folder: Path, tags: Sequence[str] = ()) -> list[AnswerSet]:
    """Questions and answers of a folder that ``eval answers`` wrote, or of the paper's layout.

    Args:
        folder: the folder, with one folder per language.
        tags: the languages; all by default.

    Raises:
        CorpusError: a language or the answers of a system are missing, answers do not match the questions, or an id
            occurs twice.
    """
    available = sorted(path.parent.name for path in folder.glob(f"*/{QUESTIONS}"))
    if not available:
        raise CorpusError(
            f"{folder} has no <language>/{QUESTIONS}: name a folder that `x-instruction eval answers` wrote"
        )
    chosen = [language(tag).tag for tag in tags] or available
    for tag in chosen:
        if tag not in available:
            raise CorpusError(f"{folder} has no questions in {tag}, only in {', '.join(available)}")
    sets = [_read_set(folder, tag) for tag in chosen]
    names = sorted({name for answers in sets for name in answers.systems})
    for answers in sets:
        if missing := [name for name in names if name not in answers.systems]:
            raise CorpusError(
                f"{missing[0]} has no answers in {answers.tag} ({answer_path(folder, answers.tag, missing[0])}): add "
                "them, or choose other languages with --languages"
            )
    return sets


def _read_set(folder: Path, tag: str) -> AnswerSet:
    path = question_path(folder, tag)
    questions = _read_question_file(path, tag)
    known = {str(question.id) for question in questions}
    systems: dict[str, System] = {}
    for file in sorted(path.parent.glob("answer.*.eval.jsonl")):
        name = _ANSWERS.fullmatch(file.name)
        if name is None or name["tag"] != tag:
            raise CorpusError(f"{file}: expected a name such as answer.{tag}.SYSTEM.eval.jsonl")
        systems[name["system"]] = _read_system(file, name["system"], known)
    return AnswerSet(tag, tuple(questions), systems)


def _read_question_file(path: Path, tag: str) -> list[Question]:
    """Questions that all have one language: that of their rows, or else the folder's."""
    first = next((row for _, row in _rows(str(path)) if isinstance(row, Mapping)), {})
    named = next((str(first[key]) for key in _LANGUAGE if first.get(key)), tag)
    return read_questions(str(path), language(named))


def _read_system(path: Path, name: str, known: set[str]) -> System:
    answers: dict[str, tuple[str, ...]] = {}
    failed: set[str] = set()
    for position, row in read_jsonl(path):
        where = f"{path}, row {position}"
        if row.get("question_id") is None:
            raise CorpusError(f"{where} has no question_id, expected that of a question in {QUESTIONS}")
        id = str(row["question_id"])
        if id in answers or id in failed:
            raise CorpusError(f"{where}: question_id {id} occurs twice, expected one row for each question")
        if id not in known:
            raise CorpusError(f"{where}: {QUESTIONS} has no question_id {id}: these answers are to other questions")
        if row.get("error"):
            failed.add(id)
        else:
            answers[id] = _outputs(row, where)
    missing = sorted(known - answers.keys() - failed)
    if missing:
        raise CorpusError(
            f"{path} has answers to {len(answers) + len(failed)} of {len(known)} questions (none to question_id "
            f"{missing[0]}): finish it with the command that wrote it"
        )
    if len({len(samples) for samples in answers.values()}) > 1:
        raise CorpusError(
            f"{path} has different numbers of samples, expected output or output-1 to output-N in all rows"
        )
    return System(name, path, answers, frozenset(failed))


def _outputs(row: Json, where: str) -> tuple[str, ...]:
    names = ["output"] if "output" in row else sorted((key for key in row if _SAMPLE.fullmatch(key)), key=_sample)
    texts = [row[name] for name in names]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise CorpusError(f"{where} has no answer: expected text in output, or in output-1, output-2 and so on")
    return tuple(map(storable, texts))


_SAMPLE = re.compile(r"output-\d+")


def _sample(name: str) -> int:
    return int(name.removeprefix("output-"))


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a file of the paper's evaluation with their line numbers.

    Lines of text before the first row are skipped: with ``--debug``, the published code wrote two.

    Raises:
        CorpusError: it cannot be read, or a row is not an object.
    """
    begun = False
    try:
        # Not splitlines: JSON may hold other line breaks, such as U+2028.
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"cannot read {path}: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (not begun and not line.lstrip().startswith("{")):
            continue
        begun = True
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{path}, row {number} is not JSON ({error}): the file is cut off or damaged") from None
        if not isinstance(row, dict):
            raise CorpusError(f"{path}, row {number} is {row!r}, expected an object")
        yield number, row
