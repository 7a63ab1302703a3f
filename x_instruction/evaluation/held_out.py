"""What a tuned model is worth on rows that it was not tuned on, language by language.

Two things are measured, both through an engine's verbs: how well the model predicts the response that a person wrote
(bits per byte, which does not depend on the tokenizer), and how often its own answer is in the language that was asked
for. Their product decides between learning rates: by rows of the target languages and not by the English
loss (Chirkova et al., arXiv 2402.14778; method.md 3.5 and, for the gate by language, 4.4).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from x_instruction.bootstrap import Interval, intervals
from x_instruction.config.corpus import LanguageThresholds
from x_instruction.config.fields import MAX_ROW_BYTES
from x_instruction.corpus.identify import LanguageCheck
from x_instruction.engines import Completed, Completion, Engine, Failed, Prompt, Request, Result, Scored, Scoring
from x_instruction.engines.request_cache import RequestCache
from x_instruction.engines.truncation import truncate_by_bytes
from x_instruction.errors import CorpusError, EngineError, NotCapable, RecipeError
from x_instruction.hashing import digest
from x_instruction.languages import language
from x_instruction.mixing.files import Source, sources
from x_instruction.mixing.tags import SEPARATOR
from x_instruction.records import Dropped, dropped
from x_instruction.seed.pairs import COLUMNS, Pair, pair_of, rows_as_pairs, string
from x_instruction.storage.atomic import atomic

# Bootstrap samples of the rows.
RESAMPLES = 2_000
# The name of all languages together.
ALL = "all"
# A server reads prompt and response as one text, which may cut it into a few tokens more than the response alone.
_SEAM = 4
# Fewer bytes of letters are a word or a name, which many languages share: two characters of Chinese, seven letters.
_EVIDENCE = 8

Render = Callable[[str], Prompt]
Columns = npt.NDArray[np.float64]
Given = TypeVar("Given", Scored, Completed)


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and the response that a person wrote.

    Args:
        id: of the row in its source, once per language.
        prompt: the instruction, its input below it.
        completion: the response.
        language: tag of the response's language.
        tag: what a mix puts after the prompt, its joint included, or empty.
    """

    id: str
    prompt: str
    completion: str
    language: str
    tag: str = ""

    @property
    def asked(self) -> str:
        """All that is asked."""
        return self.prompt + self.tag


class Likelihood(NamedTuple):
    """How well one response was predicted.

    Args:
        bits: ``-log2 p(response | prompt)``, of the part that was scored.
        bytes: of UTF-8, of the same part.
    """

    bits: float
    bytes: int


@dataclass(frozen=True, slots=True)
class RowResult:
    """All that was measured of one row.

    Args:
        id, language: of the row.
        text: digest of prompt and completion: rows are the same when this is, too.
        bits, bytes: as in ``Measured``.
        answer: what the model wrote.
        right: whether that is in the row's language.
    """

    id: str
    language: str
    text: str
    bits: float
    bytes: int
    answer: str
    right: bool


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a model is worth on some rows; intervals hold 95 % of the bootstrap's samples of the rows.

    Args:
        rows: how many.
        bits_per_byte: all bits by all bytes.
        right: share of answers in the right language, 0 to 1.
        quality: ``2 ** -bits_per_byte``: the probability of a byte, 0 to 1.
        score: ``right * quality``, by which learning rates are chosen.
    """

    rows: int
    bits_per_byte: float
    right: float
    quality: float
    score: float
    bits_per_byte_interval: Interval
    right_interval: Interval
    score_interval: Interval


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more one model has than another on the same rows; intervals as in ``Figures``, rows drawn in pairs.

    Args:
        rows: that both were measured on.
        bits_per_byte: fewer are better.
        right, score: more are better.
    """

    rows: int
    bits_per_byte: float
    right: float
    score: float
    bits_per_byte_interval: Interval
    right_interval: Interval
    score_interval: Interval


def measure(
    rows: Sequence[Row],
    engine: Engine,
    render: Render,
    max_tokens: int = 256,
    answer_tokens: int = 48,
    lid_model: str | None = None,
) -> list[RowResult]:
    """All that is measured, of every row in order.

    Args:
        rows: held out.
        engine: the model.
        render: how it is asked (``prompts.answer.frame``).
        max_tokens: the response is scored up to this many tokens.
        answer_tokens: length of the answers by which languages are told.
        lid_model: a fastText model, for languages that py3langid does not know.

    Raises:
        NotCapable: the engine cannot score, or cannot write.
        EngineError: it failed on a row.
        RecipeError: no identifier knows a language.
    """
    # Languages first: that one cannot be identified must not be found out after the model has worked.
    known = checks((row.language for row in rows), lid_model)
    measured = bits_per_byte(rows, engine, render, max_tokens)
    written = answers(rows, engine, render, answer_tokens)
    right = _judged(written, [row.language for row in rows], known)
    return [
        RowResult(row.id, row.language, digest([row.prompt, row.completion]), found.bits, found.bytes, answer, fits)
        for row, found, answer, fits in zip(rows, measured, written, right, strict=True)
    ]


def tagged(rows: Iterable[Row], tags: Mapping[str, str]) -> list[Row]:
    """Rows asked as a model was tuned to be asked; those of other languages stay as they are.

    Args:
        tags: what prompts end with, by language, in the place of what a mix gave them.
    """
    return [
        replace(row, tag="" if row.prompt.endswith(SEPARATOR + tags[row.language]) else SEPARATOR + tags[row.language])
        if tags.get(row.language)
        else row
        for row in rows
    ]


def own_tag(row: Mapping[str, Any], prompt: str) -> str:
    """What a mix put after the prompt of a row, its joint included; empty for any other row."""
    tag = string(row.get("tag"))
    return prompt[-len(tag) - 1 :] if tag and prompt.endswith((f" {tag}", f"\n{tag}")) else ""


def bits_per_byte(rows: Sequence[Row], engine: Engine, render: Render, max_tokens: int) -> list[Likelihood]:
    """How well each response is predicted after its prompt, without the token that ends it.

    Args:
        max_tokens: a longer response is cut before it is scored, so that bits and bytes are of one text.

    Raises:
        NotCapable: the engine cannot score.
        EngineError: it failed on a row.
        RecipeError: ``max_tokens`` holds no character of a response.
    """
    texts = [engine.truncate(row.completion, max_tokens) for row in rows]
    for row, text in zip(rows, texts, strict=True):
        if not text:
            raise RecipeError(f"{max_tokens} tokens hold no character of the response of {row.id}: raise max_tokens")
    # Where three bytes count as a token nobody knows how many there are: all of them are scored.
    limit = 0 if engine.truncate is truncate_by_bytes else max_tokens + _SEAM
    requests = [Scoring(render(row.asked), text, limit) for row, text in zip(rows, texts, strict=True)]
    found = []
    for row, text, answer in zip(rows, texts, _ask(engine, requests, "score"), strict=True):
        scored = _got(answer, row, Scored)
        if limit and scored.tokens >= limit:
            raise EngineError(
                f"{engine.model} reads {scored.tokens} tokens or more where its tokenizer here counts {max_tokens} "
                f"at most ({row.id}): name the model's own in server.tokenizer"
            )
        found.append(Likelihood(-scored.log_likelihood / math.log(2), len(text.encode())))
    return found


def answers(rows: Sequence[Row], engine: Engine, render: Render, answer_tokens: int) -> list[str]:
    """What the model answers to each prompt, the likeliest token at every step.

    Raises:
        NotCapable: the engine cannot write.
        EngineError: it failed on a row.
    """
    requests = [Completion(render(row.asked), answer_tokens) for row in rows]
    found = zip(rows, _ask(engine, requests, "complete"), strict=True)
    return [_got(answer, row, Completed).text for row, answer in found]


def in_language(answers: Sequence[str], languages: Sequence[str], lid_model: str | None = None) -> list[bool]:
    """Whether each answer is in its language, as passages of a corpus are judged.

    What is too short to be told, half in another language or empty, is not.

    Args:
        languages: tag for each answer.
        lid_model: as in ``measure``.

    Raises:
        RecipeError: no identifier knows a language.
    """
    return _judged(answers, languages, checks(languages, lid_model))


def checks(languages: Iterable[str], lid_model: str | None) -> dict[str, LanguageCheck]:
    """What tells whether an answer is in its language, for each of them.

    Raises:
        RecipeError: no identifier knows a language, or ``lid_model`` cannot be read.
        MissingExtra: ``lid_model`` is named and fastText is not installed.
    """
    limits = LanguageThresholds(lid_model=lid_model)
    return {tag: LanguageCheck(language(tag), limits) for tag in dict.fromkeys(languages)}


def _judged(answers: Sequence[str], languages: Sequence[str], checks: Mapping[str, LanguageCheck]) -> list[bool]:
    right = [False] * len(answers)
    for tag, check in checks.items():
        places = [place for place, own in enumerate(languages) if own == tag and _telling(answers[place])]
        verdicts = check.judge([answers[place] for place in places]) if places else []
        for place, verdict in zip(places, verdicts, strict=True):
            right[place] = verdict.reason is None
    return right


def _telling(answer: str) -> bool:
    return len("".join(filter(str.isalpha, answer)).encode("utf-8", "replace")) >= _EVIDENCE


def _ask(engine: Engine, requests: Sequence[Request], verb: str) -> list[Result]:
    if verb not in engine.capabilities:
        raise NotCapable(
            f"{engine.model} is to {verb} here and its engine cannot: use transformers, vllm or a server that can "
            "(see `x-instruction engine list`)"
        )
    # A ledger asks in the engine's own batches; in memory, because nothing is asked twice.
    with RequestCache(Path(":memory:"), engine, {}) as ledger:
        return ledger.ask(requests)


def _got(answer: Result, row: Row, kind: type[Given]) -> Given:
    if isinstance(answer, Failed):
        raise EngineError(f"no answer on {row.id} ({answer.reason}: {answer.message}): leave the row out, or mend it")
    assert isinstance(answer, kind)
    return answer


def summary(held: Sequence[RowResult], resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Metrics]:
    """Figures of each language, in the order of their tags, and of ``all`` rows.

    Languages weigh in ``all`` by their bytes and rows: take as many rows of each.

    Raises:
        CorpusError: no rows.
    """
    return {name: _figures(_columns(rows), resamples, seed) for name, rows in _by_language(held)}


def difference(
    a: Sequence[RowResult], b: Sequence[RowResult], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """What ``a`` has more than ``b``, for each language and for ``all``, on the rows that both were measured on.

    Raises:
        CorpusError: they have no row in common.
    """
    theirs = {(row.language, row.id, row.text): row for row in b}
    ours = [row for row in a if (row.language, row.id, row.text) in theirs]
    if not ours:
        raise CorpusError(
            f"no row in common: {len(a)} and {len(b)} rows were measured, wanted the same ones; measure on one file"
        )
    return {
        name: _difference(
            _columns(rows), _columns([theirs[row.language, row.id, row.text] for row in rows]), resamples, seed
        )
        for name, rows in _by_language(ours)
    }


def _by_language(held: Sequence[RowResult]) -> Iterator[tuple[str, Sequence[RowResult]]]:
    if not held:
        raise CorpusError("there are no rows to sum up")
    for tag in sorted({row.language for row in held}):
        yield tag, [row for row in held if row.language == tag]
    yield ALL, held


def _columns(rows: Sequence[RowResult]) -> Columns:
    """Bits, bytes and whether right of every row: (rows, 3)."""
    return np.array([(row.bits, row.bytes, row.right) for row in rows], dtype=np.float64)


def _worth(columns: Columns) -> Columns:
    """Bits per byte, share of right answers, and score: (3,)."""
    bits, size, right = columns.sum(axis=0)
    rate, share = bits / size, right / len(columns)
    return np.array((rate, share, share * 2.0**-rate))


def _figures(columns: Columns, resamples: int, seed: int) -> Metrics:
    rate, share, score = map(float, _worth(columns))
    rates, shares, scores = intervals(_worth, (columns,), resamples, seed)
    return Metrics(len(columns), rate, share, 2.0**-rate, score, rates, shares, scores)


def _difference(a: Columns, b: Columns, resamples: int, seed: int) -> Difference:
    rate, share, score = map(float, _worth(a) - _worth(b))
    rates, shares, scores = intervals(lambda left, right: _worth(left) - _worth(right), (a, b), resamples, seed)
    return Difference(len(a), rate, share, score, rates, shares, scores)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one model got on some rows, as a file keeps it.

    Args:
        model, revision: as engines name it.
        settings: what has to be equal for two to be compared: how many tokens were scored and written.
        prompt, tags: how it was asked, which may differ.
        held: every row.
    """

    model: str
    revision: str
    settings: dict[str, int]
    prompt: str
    held: tuple[RowResult, ...]
    tags: dict[str, str] = field(default_factory=dict)


def save(measurement: Measurement, path: Path) -> None:
    """Write a measurement as JSON, its figures included.

    Raises:
        ShardError: the file cannot be written.
    """
    figures = {name: asdict(found) for name, found in summary(measurement.held).items()}
    table = asdict(measurement)
    rows = table.pop("held")
    with atomic(path) as stream:
        stream.write(json.dumps(table | {"figures": figures, "held": rows}, indent=1, ensure_ascii=False).encode())


def load(path: Path) -> Measurement:
    """A measurement that ``save`` wrote.

    Raises:
        CorpusError: it is none.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
        del table["figures"]
        return Measurement(**table | {"held": tuple(RowResult(**row) for row in table["held"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorpusError(f"{path} is no measurement ({error}): name a file that `heldout --out` wrote") from None


def comparable(settings: Mapping[str, int], theirs: Measurement) -> None:
    """Refuse to compare what was measured in two ways.

    Raises:
        RecipeError: they had other settings.
    """
    for name, value in settings.items():
        other = theirs.settings.get(name)
        if other != value:
            raise RecipeError(f"{theirs.model} was measured with {name} {other}, wanted {value}: measure both alike")


def read(names: Iterable[str], per_language: int | None = None) -> tuple[list[Row], list[Dropped]]:
    """Rows of files and folders, and what could not be used of them.

    Args:
        names: ``PATH`` or ``TAG=PATH``, as ``x-instruction mix`` takes them; of a folder the ``test`` files are read,
            or else those of ``validation``.
        per_language: so many rows of each language at most; ids decide which, not their order.

    Raises:
        CorpusError: a file cannot be read, or no row is left.
        RecipeError: no such language.
    """
    rows: dict[tuple[str, str], Row] = {}
    gone: list[Dropped] = []
    tags: dict[Pair, str] = {}

    def make(found: Mapping[str, Any], id: str, source: Source) -> Pair:
        pair = pair_of(found, id, source.path.name, source.tag)
        if tag := own_tag(found, pair.asked):
            tags[pair] = tag
        return pair

    for source in (source for name in names for source in held_out(name)):
        for pair in rows_as_pairs(source.path, (*COLUMNS, "tag"), MAX_ROW_BYTES, partial(make, source=source)):
            row = pair if isinstance(pair, Dropped) else _row(pair, tags.get(pair, ""))
            if isinstance(row, Row) and (row.language, row.id) in rows:
                row = dropped(row.id, "same_id", f"another row of {row.language} has this id", row.prompt)
            if isinstance(row, Dropped):
                gone.append(row)
            else:
                rows[row.language, row.id] = row
    if not rows:
        seen = ", ".join(sorted({record.reason for record in gone})) or "they are empty"
        raise CorpusError(f"no row to measure on ({seen}): wanted instructions with responses whose language is known")
    return _first(rows, per_language), gone


def held_out(name: str) -> list[Source]:
    """The files of ``PATH`` or ``TAG=PATH`` that no model was tuned on, as far as their names tell.

    Raises:
        CorpusError: nothing there, or a folder whose rows were all there to be tuned on.
    """
    found = sources(name, "web")
    if name.endswith(found[0].path.name):
        return found
    folders = dict.fromkeys(source.path.parent for source in found)
    for split in ("test", "validation"):
        files = [file for folder in folders for file in sorted(folder.glob(f"{split}-*.parquet"))]
        if files:
            return [Source(file, "web", found[0].tag) for file in files]
    raise CorpusError(
        f"{name} holds training rows alone: keep some apart by publish.test in the run's recipe and build it anew, or, "
        f"if no model was tuned on these, name the file itself ({found[0].path})"
    )


def _row(pair: Pair, own: str) -> Row | Dropped:
    if not pair.instruction.strip():
        return dropped(pair.id, "no_instruction", "", pair.output)
    if not pair.output.strip():
        return dropped(pair.id, "no_output", "", pair.instruction)
    if not pair.language:
        detail = "the row does not say; write TAG=PATH for the file"
        return dropped(pair.id, "no_language", detail, pair.instruction)
    try:
        tag = language(pair.language).tag
    except RecipeError as error:
        return dropped(pair.id, "unknown_language", str(error), pair.instruction)
    return Row(pair.id, string(pair.asked.removesuffix(own)), string(pair.output), tag, own)


def _first(rows: Mapping[tuple[str, str], Row], number: int | None) -> list[Row]:
    """The rows in the order of languages and ids, so many of each language."""
    ordered = [rows[key] for key in sorted(rows)]
    if number is None:
        return ordered
    kept: set[tuple[str, str]] = set()
    for tag in {row.language for row in ordered}:
        ids = sorted((row.id for row in ordered if row.language == tag), key=lambda id: digest(["held out", id]))
        kept |= {(tag, id) for id in ids[:number]}
    return [row for row in ordered if (row.language, row.id) in kept]
