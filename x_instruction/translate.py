"""Translate seeds: responses are translated into another language, instructions are kept.

The paper needs seeds with responses in every language and does not say how they were made; translating English seeds is
our choice. Responses are translated by paragraph, so that long ones fit and lines are preserved; code and lines without
letters are copied. Two checks follow: the translation must be in its language, and it must have the meaning of the
original, measured by translating it back (chrF) or by how much more likely it makes the original.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from x_instruction.config.model import Model
from x_instruction.config.section import flatten, without_folder
from x_instruction.config.seeds import Translation
from x_instruction.corpus.cells import text_of
from x_instruction.corpus.characters import spaced
from x_instruction.corpus.files import digest
from x_instruction.corpus.identifiers import enough_letters
from x_instruction.corpus.identify import LanguageCheck
from x_instruction.corpus.segment import segment
from x_instruction.engines import Ask, Completed, Completion, Engine, Failed, Prompt, Scored, Scoring, open_engine
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import CorpusError, NotCapable, RecipeError
from x_instruction.languages import Language, language
from x_instruction.prompts import template
from x_instruction.prompts.reading import without_thinking
from x_instruction.records import Dropped, dropped
from x_instruction.seed.chrf import chrf
from x_instruction.seed.collect import store
from x_instruction.seed.pairs import Pair, read_pairs

SLOTS = frozenset({"passage", "language", "into"})
# Maximum new tokens of even the shortest piece.
_FEW = 32
# Tokens per English token of a tokenizer that hardly supports a language.
_LONGER = 4
# Indentation, bullets, numbers and heading marks at the start of a line, which are not translated.
_MARK = re.compile(r"\s*(?:(?:[-*+•>]|#{1,6}|\d{1,3}[.)])\s+)*")
_FENCE = "```"


class SourceText(NamedTuple):
    """A text to translate, its language and the target language."""

    text: str
    source: Language
    into: Language


class Failure(NamedTuple):
    """Why there is no translation: reason and detail as in ``Dropped``."""

    reason: str
    detail: str


class Outcome(NamedTuple):
    """The translated or dropped pair, and the score of its translation if there is one."""

    record: Pair | Dropped
    score: float | None = None


class Translator:
    """Translates texts with an engine.

    Args:
        engine: provides the tokenizer and the name of the model.
        ask: returns one result per request.
        settings: the prompt and the limits.

    Raises:
        RecipeError: unknown prompt, or one without a required slot.
    """

    def __init__(self, engine: Engine, ask: Ask, settings: Translation) -> None:
        self.engine, self.ask, self.settings = engine, ask, settings
        name = settings.prompt
        if name == "auto":
            name = "translate-chat" if engine.chat else "translate-base"
        self.template = template(name, SLOTS)
        if missing := sorted(SLOTS - self.template.slots):
            raise RecipeError(
                f"prompt {name} has no slot {{{missing[0]}}}; expected {{passage}}, {{language}} and {{into}}"
            )

    def translate(self, texts: Sequence[SourceText]) -> list[str | Failure]:
        """Translate every text, line by line."""
        text_pieces = [pieces(text.text, self.settings.piece_chars, " " if spaced(text.into) else "") for text in texts]
        requests = [
            self._completion(piece, text)
            for text, parts in zip(texts, text_pieces, strict=True)
            for _, piece in parts
            if piece
        ]
        # Repeated lines, such as "Ingredients:", are translated once.
        distinct = list(dict.fromkeys(requests))
        answers = dict(zip(distinct, self.ask(distinct), strict=True))
        remaining = iter(requests)
        return [_joined(parts, lambda: answers[next(remaining)]) for parts in text_pieces]

    def gains(self, translated: Sequence[SourceText], originals: Sequence[str]) -> list[float | Failure]:
        """Increase in the log-likelihood of each original, given its translation, in nats per token of the original."""
        limit = self.settings.score_tokens
        requests: list[Scoring] = []
        for text, original in zip(translated, originals, strict=True):
            target = self.engine.truncate(original if self.template.chat else f" {' '.join(original.split())}", limit)
            shown = self.engine.truncate(text.text, _LONGER * limit)
            requests += [Scoring(self._asked(part, text), target, limit) for part in (shown, "")]
        distinct = list(dict.fromkeys(requests))
        answers = dict(zip(distinct, self.ask(distinct), strict=True))
        results: list[float | Failure] = []
        for conditional, unconditional in zip(requests[::2], requests[1::2], strict=True):
            with_translation, without = answers[conditional], answers[unconditional]
            if isinstance(with_translation, Scored) and isinstance(without, Scored):
                results.append((with_translation.log_likelihood - without.log_likelihood) / with_translation.tokens)
            else:
                failed = with_translation if isinstance(with_translation, Failed) else without
                assert isinstance(failed, Failed)
                results.append(Failure(failed.reason, failed.message))
        return results

    def _completion(self, piece: str, text: SourceText) -> Completion:
        room = max(_FEW, math.ceil(len(piece.encode("utf-8", "replace")) * self.settings.tokens_per_byte))
        stop = () if self.template.chat else ("\n",)
        return Completion(self._asked(piece, text), min(room, self.settings.max_tokens), stop=stop)

    def _asked(self, passage: str, text: SourceText) -> Prompt:
        shown = passage if self.template.chat else " ".join(passage.split())
        return self.template.fill(passage=shown, language=text.source.name, into=text.into.name)


def pieces(text: str, limit: int, joint: str) -> list[tuple[str, str]]:
    """Split a text into pairs of (text to copy, text to translate after it). Concatenated, they are the whole text.

    Args:
        text: the text.
        limit: maximum length of a piece to translate, in characters.
        joint: separator between two pieces of one paragraph.
    """
    parts: list[tuple[str, str]] = []
    code = False
    for number, line in enumerate(text.split("\n")):
        start = "\n" if number else ""
        fence = line.lstrip().startswith(_FENCE)
        code ^= fence
        mark = _MARK.match(line)
        assert mark is not None
        rest = line[mark.end() :].rstrip()
        if fence or code or not any(map(str.isalpha, rest)):
            parts.append((start + line, ""))
            continue
        for number_in_line, piece in enumerate(segment(rest, 1, limit)):
            parts.append((joint if number_in_line else start + mark[0], piece))
    return parts


def _joined(parts: Sequence[tuple[str, str]], answer: Callable[[], Any]) -> str | Failure:
    """Join the parts of a text. ``answer`` is called for every piece, even after one has failed, to stay in order."""
    text: list[str] = []
    failure: Failure | None = None
    for kept, piece in parts:
        text.append(kept)
        if not piece:
            continue
        result = answer()
        if isinstance(result, Failed):
            failure = failure or Failure(result.reason, result.message)
            continue
        assert isinstance(result, Completed)
        translation = " ".join(without_thinking(result.text).split())
        if result.finish_reason != "stop":
            failure = failure or Failure("cut_off", f"{result.output_tokens} tokens: {translation[-80:]}")
        elif not translation:
            failure = failure or Failure("empty", piece)
        text.append(translation)
    return failure or "".join(text)


def translate(
    seeds: Iterable[Pair | Dropped],
    settings: Translation,
    target: Language,
    translator: Translator,
    back_translator: Translator,
) -> Iterator[Outcome]:
    """Translate pairs, in order. Dropped records are passed on.

    Args:
        seeds: pairs in any languages.
        settings: the score and its threshold, and the language check.
        target: language of the translations.
        translator: translates.
        back_translator: translates back, or scores.

    Raises:
        NotCapable: the score is ``likelihood`` and the engine cannot score.
        RecipeError: no identifier knows the language.
    """
    if settings.score == "likelihood" and "score" not in back_translator.engine.capabilities:
        raise NotCapable(
            f'score = "likelihood", but the engine of {back_translator.engine.model} cannot score: set score = "chrf"'
        )
    # Created before any request, so that an unknown language is refused before money is spent.
    language_check = _language_check(settings, target)
    records = [record if isinstance(record, Dropped) else _fit(record, settings, target) for record in seeds]
    pairs = [record for record in records if isinstance(record, Pair)]
    texts = [SourceText(pair.output, language(pair.language), target) for pair in pairs]
    checked = _in_language(translator.translate(texts), language_check)
    indices = [index for index, translation in enumerate(checked) if isinstance(translation, str)]
    translations = [SourceText(str(checked[index]), target, texts[index].source) for index in indices]
    scores = dict(
        zip(
            indices,
            _scores(translations, [texts[index].text for index in indices], settings, back_translator),
            strict=True,
        )
    )
    finished = (
        _outcome(pair, checked[index], scores.get(index), settings, target, translator)
        for index, pair in enumerate(pairs)
    )
    for record in records:
        yield Outcome(record) if isinstance(record, Dropped) else next(finished)


def _fit(pair: Pair, settings: Translation, target: Language) -> Pair | Dropped:
    """The pair with a canonical language tag, or why it cannot be translated."""
    if not pair.output.strip():
        return dropped(pair.id, "no_output", "", pair.instruction)
    try:
        tag = language(pair.language or settings.language).tag
    except RecipeError as error:
        return dropped(pair.id, "unknown_language", str(error), pair.output)
    if tag == target.tag:
        return dropped(pair.id, "same_language", f"already in {target.name}", pair.output)
    return dataclasses.replace(pair, language=tag, output=text_of(pair.output))


def _language_check(settings: Translation, target: Language) -> LanguageCheck | None:
    return LanguageCheck(target, settings) if settings.language_check else None


def _in_language(translated: Sequence[str | Failure], language_check: LanguageCheck | None) -> list[str | Failure]:
    """Replace translations that are in another language, or too short to identify, by a failure."""
    results = list(translated)
    if language_check is None:
        return results
    identifiable = []
    for index, text in enumerate(translated):
        if isinstance(text, str) and not enough_letters(text):
            results[index] = Failure("wrong_language", f"too few letters to identify the language: {text}")
        elif isinstance(text, str):
            identifiable.append((index, text))
    verdicts = language_check.judge([text for _, text in identifiable]) if identifiable else []
    for (index, _), verdict in zip(identifiable, verdicts, strict=True):
        if verdict.reason is not None:
            results[index] = Failure("wrong_language", verdict.detail)
    return results


def _scores(
    translated: Sequence[SourceText], originals: Sequence[str], settings: Translation, back_translator: Translator
) -> Sequence[float | Failure]:
    if settings.score == "likelihood":
        return back_translator.gains(translated, originals)
    returned = back_translator.translate(translated)
    return [
        text if isinstance(text, Failure) else chrf(text, original)
        for text, original in zip(returned, originals, strict=True)
    ]


def _outcome(
    pair: Pair,
    text: str | Failure,
    score: float | Failure | None,
    settings: Translation,
    target: Language,
    translator: Translator,
) -> Outcome:
    if isinstance(text, Failure):
        return Outcome(dropped(pair.id, *text, pair.output))
    assert score is not None
    if isinstance(score, Failure):
        return Outcome(dropped(pair.id, *score, text))
    # Not "<": a score that is not a number must not pass.
    if not score >= settings.threshold:
        detail = f"{settings.score} {score:.3f}, at least {settings.threshold:g}"
        return Outcome(dropped(pair.id, "bad_translation", detail, text), score)
    source = f"{pair.source}; translated by {translator.engine.model}"
    return Outcome(dataclasses.replace(pair, output=text, language=target.tag, source=source), score)


def write(
    paths: Sequence[Path],
    settings: Translation,
    target: Language,
    out: Path,
    seen: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Translate files of seeds into one file and return the report.

    Also writes ``.report.json`` and ``.dropped.parquet`` beside ``out``, and ``.requests.sqlite`` with every answer: if
    interrupted, rerun the same call, and only the missing requests are sent.

    Args:
        paths: files of pairs.
        settings: the models, the prompt and the checks.
        target: language of the translations.
        out: a ``.jsonl`` or ``.parquet`` file.
        seen: called with the number of answered requests and the number of known requests.

    Raises:
        RecipeError: another suffix, an unknown prompt, or no identifier knows the language.
        CorpusError: a file cannot be read, or no translation is kept.
        EngineError: a model cannot be loaded or run.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise RecipeError(f"cannot write {out}: expected a name that ends in .jsonl or .parquet")
    if any(path.exists() and out.exists() and path.samefile(out) for path in paths):
        raise RecipeError(f"{out} is also an input: choose another file for --out")
    _language_check(settings, target)  # refuse an unknown language before a model is loaded
    seeds = [record for path in paths for record in read_pairs(path, settings.max_row_bytes, settings.language)]

    def open_cache(model: Model) -> RequestCache:
        # Both models share one file: the key of a request includes the identity of its model.
        return RequestCache(out.with_suffix(".requests.sqlite"), open_engine(model), fingerprint(model), seen)

    with ExitStack() as opened:
        cache = opened.enter_context(open_cache(settings.model))
        translator = back_translator = Translator(cache.engine, cache.ask, settings)
        if settings.back not in (None, settings.model):
            back_cache = opened.enter_context(open_cache(settings.back or settings.model))
            back_translator = Translator(back_cache.engine, back_cache.ask, settings)
        outcomes = list(translate(seeds, settings, target, translator, back_translator))
        totals = cache.totals()
    kept = [outcome.record for outcome in outcomes if isinstance(outcome.record, Pair)]
    rejected = [outcome.record for outcome in outcomes if isinstance(outcome.record, Dropped)]
    reasons = dict(sorted(Counter(record.reason for record in rejected).items()))
    if not kept:
        shown = ", ".join(f"{reason} {number}" for reason, number in reasons.items()) or "no rows"
        raise CorpusError(f"no usable translation into {target.name} of {', '.join(p.name for p in paths)} ({shown})")
    extra = {
        "scores": _deciles([outcome.score for outcome in outcomes if outcome.score is not None]),
        "inputs": {path.name: digest(path) for path in paths},
        "models": {"model": _named(translator.engine), "back": _named(back_translator.engine)},
        "prompt": translator.template.digest,
        "settings": _report_settings(settings),
        **totals,
    }
    return store(out, target, kept, rejected, extra)


def _deciles(scores: Sequence[float]) -> dict[str, float]:
    """Deciles of the scores, for choosing a threshold."""
    finite = [score for score in scores if math.isfinite(score)]
    shares = range(10, 100, 10) if finite else ()
    return {f"p{share}": round(float(np.percentile(finite, share)), 4) for share in shares}


def _named(engine: Engine) -> dict[str, str]:
    return {"name": engine.model, "revision": engine.revision}


def _report_settings(settings: Translation) -> dict[str, Any]:
    """The settings without the models, which the report lists separately, and without the folders of this machine."""
    shown = {
        key: without_folder(value) if isinstance(value, str) else value
        for key, value in flatten(settings).items()
        if key.split(".")[0] not in ("model", "back")
    }
    return shown | {"min_score": settings.threshold}
