"""Evaluate a model on held-out rows, per language.

There are two metrics, both measured through an engine: how well the model predicts the reference response (bits per
byte, which does not depend on the tokenizer), and how often its own answer is in the language of that response. The
product of the accuracy and ``2 ** -bits_per_byte`` selects learning rates. It is computed on rows of the target
languages, since the English loss does not predict transfer (Chirkova et al., arXiv 2402.14778; docs/method.md 3.5, and
4.4 for the check of the language).
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
from x_instruction.config.fields import ANSWER_TAG, MAX_ROW_BYTES
from x_instruction.corpus.cells import text_of
from x_instruction.engines import Completed, Completion, Engine, Failed, Prompt, Request, Result, Scored, Scoring
from x_instruction.engines.request_cache import RequestCache
from x_instruction.engines.truncation import truncate_by_bytes
from x_instruction.errors import CorpusError, EngineError, NotCapable, RecipeError, UnknownLanguage
from x_instruction.evaluation.language import answer_languages, language_checks
from x_instruction.hashing import digest
from x_instruction.languages import language
from x_instruction.mixing.files import Source, sources
from x_instruction.mixing.tags import SEPARATOR, format_tag
from x_instruction.records import Dropped, dropped
from x_instruction.seed.pairs import COLUMNS, Pair, pair_of, rows_as_pairs
from x_instruction.storage.atomic import atomic

# Bootstrap samples of the rows.
RESAMPLES = 2_000
# Key of the metrics over all languages.
ALL = "all"
# A server tokenizes prompt and response as one text, in which the response may have a few tokens more than alone.
_EXTRA_TOKENS = 4

Render = Callable[[str], Prompt]
Columns = npt.NDArray[np.float64]
ResultType = TypeVar("ResultType", Scored, Completed)


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt with its reference response.

    Args:
        id: id of the row in its source, unique per language.
        prompt: the instruction with its input below it.
        completion: the reference response.
        language: tag of the response's language.
        tag: text that a mix adds to the prompt, with its separator; or empty.
        asked_in: tag of the instruction's language; empty if it is not known.
    """

    id: str
    prompt: str
    completion: str
    language: str
    tag: str = ""
    asked_in: str = ""

    @property
    def tagged_prompt(self) -> str:
        """The prompt with its tag."""
        return self.prompt + self.tag


class Likelihood(NamedTuple):
    """How well one response is predicted.

    Args:
        bits: ``-log2 p(response | prompt)`` of the scored part.
        bytes: UTF-8 bytes of the scored part.
    """

    bits: float
    bytes: int


@dataclass(frozen=True, slots=True)
class RowResult:
    """The measurements of one row.

    Args:
        id, language: id and language of the row.
        text: digest of prompt and completion. Two results are of the same row if id, language and this are equal.
        bits, bytes: as in ``Likelihood``.
        answer: the model's answer.
        in_language: whether the answer is in the row's language.
        gain, found: as in ``intrinsic.Conditional``; None if they were not measured.
    """

    id: str
    language: str
    text: str
    bits: float
    bytes: int
    answer: str
    in_language: bool
    gain: float | None = None
    found: bool | None = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of a model over rows, with 95 % bootstrap intervals over the rows.

    Args:
        rows: number of rows.
        bits_per_byte: sum of bits over sum of bytes.
        language_accuracy: share of answers in the right language, 0 to 1.
        quality: ``2 ** -bits_per_byte``, the mean probability per byte, 0 to 1.
        score: ``language_accuracy * quality``. Selects learning rates.
    """

    rows: int
    bits_per_byte: float
    language_accuracy: float
    quality: float
    score: float
    bits_per_byte_interval: Interval
    language_accuracy_interval: Interval
    score_interval: Interval


@dataclass(frozen=True, slots=True)
class Difference:
    """Metrics of one model minus those of another on the same rows, with paired bootstrap intervals.

    Args:
        rows: number of rows that both models have results for.
        bits_per_byte: lower is better.
        language_accuracy, score: higher is better.
    """

    rows: int
    bits_per_byte: float
    language_accuracy: float
    score: float
    bits_per_byte_interval: Interval
    language_accuracy_interval: Interval
    score_interval: Interval


def measure(
    rows: Sequence[Row],
    engine: Engine,
    render: Render,
    max_tokens: int = 256,
    answer_tokens: int = 48,
    lid_model: str | None = None,
) -> list[RowResult]:
    """Evaluate the model on every row; results are in the order of the rows.

    Args:
        rows: the held-out rows.
        engine: the model.
        render: builds a prompt from an instruction (``prompts.answer.frame``).
        max_tokens: number of tokens of the response to score.
        answer_tokens: maximum length of the model's answers, whose language is identified.
        lid_model: path of a fastText model, for languages that py3langid does not know.

    Raises:
        NotCapable: the engine cannot score, or cannot complete.
        EngineError: the engine failed on a row.
        RecipeError: the language of a row cannot be identified.
    """
    # Languages first: that one cannot be identified must not turn up after the model has run.
    checks = language_checks((row.language for row in rows), lid_model)
    likelihoods = bits_per_byte(rows, engine, render, max_tokens)
    texts = answers(rows, engine, render, answer_tokens)
    found = answer_languages(texts, [row.language for row in rows], checks)
    return [
        RowResult(row.id, row.language, digest([row.prompt, row.completion]), *likelihood, text, own.right)
        for row, likelihood, text, own in zip(rows, likelihoods, texts, found, strict=True)
    ]


def with_tags(rows: Iterable[Row], tags: Mapping[str, str], everywhere: bool = False) -> list[Row]:
    """Rows with the tags that a model was trained with. Rows of other languages are unchanged.

    Args:
        rows: the rows.
        tags: end of the prompt, by language; replaces the tag of a mix.
        everywhere: rows without a tag that are asked in the language of their answer end so, too.
    """
    return [
        replace(row, tag="" if row.prompt.endswith(SEPARATOR + tags[row.language]) else SEPARATOR + tags[row.language])
        if tags.get(row.language) and (everywhere or row.tag or is_cross_lingual(row.asked_in, row.language))
        else row
        for row in rows
    ]


def with_cue(rows: Iterable[Row]) -> list[Row]:
    """Rows whose prompt names the language of the answer, unless they have a tag or the instruction is in it.

    Without the name, a model can only guess the language, and bits per byte measure its guess.
    """
    return [
        row
        if row.tag
        or not is_cross_lingual(row.asked_in, row.language)
        or row.prompt.endswith(format_tag(ANSWER_TAG, row.language))
        else replace(row, tag=SEPARATOR + format_tag(ANSWER_TAG, row.language))
        for row in rows
    ]


def is_cross_lingual(asked_in: str, answered_in: str) -> bool:
    """Whether a row is asked in another language than it is answered in, or in one that is not known."""
    try:
        return language(asked_in).tag != language(answered_in).tag
    except UnknownLanguage:
        return True


def own_tag(row: Mapping[str, Any], prompt: str) -> str:
    """The tag that a mix added to the prompt of a row, with its separator; empty for other rows."""
    tag = text_of(row.get("tag"))
    return prompt[-len(tag) - 1 :] if tag and prompt.endswith((f" {tag}", f"\n{tag}")) else ""


def bits_per_byte(rows: Sequence[Row], engine: Engine, render: Render, max_tokens: int) -> list[Likelihood]:
    """The likelihood of each response after its prompt, without an end token.

    Args:
        rows: the rows.
        engine: the model.
        render: builds a prompt from an instruction.
        max_tokens: a longer response is truncated before scoring, so that bits and bytes are of the same text.

    Raises:
        NotCapable: the engine cannot score.
        EngineError: the engine failed on a row.
        RecipeError: ``max_tokens`` is less than the first character of a response.
    """
    texts = [engine.truncate(row.completion, max_tokens) for row in rows]
    for row, text in zip(rows, texts, strict=True):
        if not text:
            raise RecipeError(
                f"max_tokens is {max_tokens}, less than one character of the response of row {row.id}: raise it"
            )
    # If three bytes are counted as a token, the real number of tokens is unknown: score all of them.
    limit = 0 if engine.truncate is truncate_by_bytes else max_tokens + _EXTRA_TOKENS
    requests = [Scoring(render(row.tagged_prompt), text, limit) for row, text in zip(rows, texts, strict=True)]
    likelihoods = []
    for row, text, answer in zip(rows, texts, _ask(engine, requests, "score"), strict=True):
        scored = _unwrap(answer, row, Scored)
        # Then the engine stopped at the limit, so bits and bytes would be of different texts.
        if limit and scored.tokens >= limit:
            raise EngineError(
                f"{engine.model} scored at least {scored.tokens} tokens of row {row.id}, expected at most {max_tokens} "
                "by its tokenizer: set server.tokenizer to the model's own"
            )
        likelihoods.append(Likelihood(-scored.log_likelihood / math.log(2), len(text.encode())))
    return likelihoods


def answers(rows: Sequence[Row], engine: Engine, render: Render, answer_tokens: int) -> list[str]:
    """The model's answer to each prompt, by greedy decoding.

    Raises:
        NotCapable: the engine cannot complete.
        EngineError: the engine failed on a row.
    """
    requests = [Completion(render(row.tagged_prompt), answer_tokens) for row in rows]
    results = zip(rows, _ask(engine, requests, "complete"), strict=True)
    return [_unwrap(result, row, Completed).text for row, result in results]


def _ask(engine: Engine, requests: Sequence[Request], capability: str) -> list[Result]:
    if capability not in engine.capabilities:
        raise NotCapable(
            f"{engine.model} must {capability} to be evaluated, and its engine cannot: use transformers, vllm or a "
            "server that can (see `x-instruction engine list`)"
        )
    # The cache runs the engine's own batches. It is in memory, since no request is sent twice.
    with RequestCache(Path(":memory:"), engine, {}) as cache:
        return cache.ask(requests)


def _unwrap(result: Result, row: Row, expected: type[ResultType]) -> ResultType:
    if isinstance(result, Failed):
        raise EngineError(
            f"the model did not answer row {row.id} ({result.reason}: {result.message}): fix the row or leave it out"
        )
    assert isinstance(result, expected)
    return result


def summary(results: Sequence[RowResult], resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Metrics]:
    """Metrics of each language, sorted by tag, and of ``all`` rows.

    Languages have a weight in ``all`` by their bytes and rows: evaluate the same number of rows of each.

    Raises:
        CorpusError: no rows.
    """
    return {name: _metrics(_columns(rows), resamples, seed) for name, rows in _by_language(results)}


def difference(
    a: Sequence[RowResult], b: Sequence[RowResult], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """Metrics of ``a`` minus those of ``b``, for each language and for ``all``, over the rows that both have.

    Raises:
        CorpusError: they have no row in common.
    """
    others = {(row.language, row.id, row.text): row for row in b}
    common = [row for row in a if (row.language, row.id, row.text) in others]
    if not common:
        raise CorpusError(
            f"the two results ({len(a)} and {len(b)} rows) have no row in common: evaluate both models on the same file"
        )
    return {
        name: _difference(
            _columns(rows), _columns([others[row.language, row.id, row.text] for row in rows]), resamples, seed
        )
        for name, rows in _by_language(common)
    }


def _by_language(results: Sequence[RowResult]) -> Iterator[tuple[str, Sequence[RowResult]]]:
    if not results:
        raise CorpusError("there are no rows to evaluate")
    for tag in sorted({row.language for row in results}):
        yield tag, [row for row in results if row.language == tag]
    yield ALL, results


def _columns(rows: Sequence[RowResult]) -> Columns:
    """Bits, bytes, and whether the answer is in the right language, of every row: (rows, 3)."""
    return np.array([(row.bits, row.bytes, row.in_language) for row in rows], dtype=np.float64)


def _statistics(columns: Columns) -> Columns:
    """Bits per byte, language accuracy and score: (3,)."""
    bits, size, correct = columns.sum(axis=0)
    rate, accuracy = bits / size, correct / len(columns)
    return np.array((rate, accuracy, accuracy * 2.0**-rate))


def _metrics(columns: Columns, resamples: int, seed: int) -> Metrics:
    rate, accuracy, score = map(float, _statistics(columns))
    rates, accuracies, scores = intervals(_statistics, (columns,), resamples, seed)
    return Metrics(len(columns), rate, accuracy, 2.0**-rate, score, rates, accuracies, scores)


def _difference(a: Columns, b: Columns, resamples: int, seed: int) -> Difference:
    def statistics(left: Columns, right: Columns) -> Columns:
        return _statistics(left) - _statistics(right)

    rate, accuracy, score = map(float, statistics(a, b))
    rates, accuracies, scores = intervals(statistics, (a, b), resamples, seed)
    return Difference(len(a), rate, accuracy, score, rates, accuracies, scores)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The results of one model, as they are saved.

    Args:
        model, revision: name and revision of the model.
        settings: numbers of tokens that were scored and generated. They must be equal for a comparison.
        prompt, tags: the prompt template and the tags, which may differ in a comparison.
        results: the results of all rows.
    """

    model: str
    revision: str
    settings: dict[str, int]
    prompt: str
    results: tuple[RowResult, ...]
    tags: dict[str, str] = field(default_factory=dict)


def save(measurement: Measurement, path: Path) -> None:
    """Write a measurement and its metrics as JSON.

    Raises:
        ShardError: the file cannot be written.
    """
    metrics = {name: asdict(value) for name, value in summary(measurement.results).items()}
    table = asdict(measurement)
    # The metrics come before the rows, so that they are at the start of the file.
    rows = table.pop("results")
    with atomic(path) as stream:
        stream.write(json.dumps(table | {"metrics": metrics, "results": rows}, indent=1, ensure_ascii=False).encode())


def load(path: Path) -> Measurement:
    """Read a measurement that ``save`` wrote.

    Raises:
        CorpusError: the file is not a measurement.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
        del table["metrics"]
        return Measurement(**table | {"results": tuple(RowResult(**row) for row in table["results"])})
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorpusError(
            f"{path} is not a file of results ({error}): name one that `x-instruction eval held-out --out` wrote"
        ) from None


def check_same_settings(settings: Mapping[str, int], baseline: Measurement) -> None:
    """Reject a comparison of measurements with different settings.

    Raises:
        RecipeError: the baseline has other settings.
    """
    for name, value in settings.items():
        other = baseline.settings.get(name)
        if other != value:
            raise RecipeError(
                f"{baseline.model} was evaluated with {name} = {other}, expected {value}: use equal settings for both"
            )


def read(names: Iterable[str], per_language: int | None = None) -> tuple[list[Row], list[Dropped]]:
    """The rows of files and folders, and the rows that could not be used.

    Args:
        names: ``PATH`` or ``TAG=PATH``, as for ``x-instruction mix``. Of a folder, the ``test`` files are read, or
            those of ``validation`` if there are none.
        per_language: maximum number of rows per language. The selection depends on ids, not on the order of rows.

    Raises:
        CorpusError: a file cannot be read, or no row is left.
        RecipeError: no such language.
    """
    rows: dict[tuple[str, str], Row] = {}
    unused: list[Dropped] = []
    tags: dict[Pair, str] = {}

    def make(row: Mapping[str, Any], id: str, source: Source) -> Pair:
        pair = pair_of(row, id, source.path.name, source.tag)
        if tag := own_tag(row, pair.asked):
            tags[pair] = tag
        return pair

    for source in (source for name in names for source in held_out_files(name)):
        for pair in rows_as_pairs(source.path, (*COLUMNS, "tag"), MAX_ROW_BYTES, partial(make, source=source)):
            row = pair if isinstance(pair, Dropped) else _row(pair, tags.get(pair, ""))
            if isinstance(row, Row) and (row.language, row.id) in rows:
                row = dropped(row.id, "same_id", f"another row of {row.language} has this id", row.prompt)
            if isinstance(row, Dropped):
                unused.append(row)
            else:
                rows[row.language, row.id] = row
    if not rows:
        reasons = ", ".join(sorted({record.reason for record in unused})) or "the files are empty"
        raise CorpusError(f"no row to evaluate on ({reasons}): expected instructions with responses in known languages")
    return _limit(rows, per_language), unused


def held_out_files(name: str) -> list[Source]:
    """The files of ``PATH`` or ``TAG=PATH`` that models were not trained on, judged by their names.

    Raises:
        CorpusError: the path does not exist, or the folder has only training rows.
    """
    training = sources(name, "web")
    # A file that is named itself is used whatever its name is.
    if name.endswith(training[0].path.name):
        return training
    folders = dict.fromkeys(source.path.parent for source in training)
    for split in ("test", "validation"):
        files = [file for folder in folders for file in sorted(folder.glob(f"{split}-*.parquet"))]
        if files:
            return [Source(file, "web", training[0].tag) for file in files]
    raise CorpusError(
        f"{name} has only training rows: set publish.test in the run's recipe and build the data set again, or, if no "
        f"model was trained on these rows, name the file itself ({training[0].path})"
    )


def _row(pair: Pair, own: str) -> Row | Dropped:
    if not pair.instruction.strip():
        return dropped(pair.id, "no_instruction", "", pair.output)
    if not pair.output.strip():
        return dropped(pair.id, "no_output", "", pair.instruction)
    if not pair.language:
        detail = "the row names no language; write TAG=PATH for the file"
        return dropped(pair.id, "no_language", detail, pair.instruction)
    try:
        tag = language(pair.language).tag
    except RecipeError as error:
        return dropped(pair.id, "unknown_language", str(error), pair.instruction)
    asked = text_of(pair.asked.removesuffix(own))
    return Row(pair.id, asked, text_of(pair.output), tag, own, pair.instruction_language)


def _limit(rows: Mapping[tuple[str, str], Row], number: int | None) -> list[Row]:
    """At most this many rows of each language, sorted by language and id."""
    ordered = [rows[key] for key in sorted(rows)]
    if number is None:
        return ordered
    kept: set[tuple[str, str]] = set()
    for tag in {row.language for row in ordered}:
        ids = sorted((row.id for row in ordered if row.language == tag), key=lambda id: digest(["held out", id]))
        kept |= {(tag, id) for id in ids[:number]}
    return [row for row in ordered if (row.language, row.id) in kept]
