"""Seeds of one language made into seeds of another: responses are translated, instructions stay (method.md 2.8 U1).

A response is translated paragraph by paragraph, so that long ones fit and their lines stay where they are; code and
what has no letters is kept. Each translation is looked at twice: whether it is in its language, and whether it says
what the original says, which is told by translating it back (chrF) or by how much likelier it makes the original.
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
from x_instruction.corpus.characters import spaced
from x_instruction.corpus.files import digest
from x_instruction.corpus.identifiers import enough_letters
from x_instruction.corpus.identify import LanguageCheck
from x_instruction.corpus.segment import segment
from x_instruction.engines import Ask, Completed, Completion, Engine, Failed, Prompt, Scored, Scoring, open_engine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import CorpusError, NotCapable, RecipeError
from x_instruction.languages import Language, language
from x_instruction.prompts import template
from x_instruction.records import Dropped, dropped
from x_instruction.seed.chrf import chrf
from x_instruction.seed.collect import store
from x_instruction.seed.pairs import Pair, read_pairs, string

SLOTS = frozenset({"passage", "language", "into"})
# Tokens that even the shortest piece may have.
_FEW = 32
# A tokenizer that hardly knows a language has so many tokens where it has one in English.
_LONGER = 4
# Indentation, bullets, numbers and headings' signs at the start of a line, which are no language.
_MARK = re.compile(r"\s*(?:(?:[-*+•>]|#{1,6}|\d{1,3}[.)])\s+)*")
_FENCE = "```"


class Text(NamedTuple):
    """What is translated from where into what."""

    text: str
    source: Language
    into: Language


class Fault(NamedTuple):
    """Why there is no translation, as ``Dropped`` says it."""

    reason: str
    detail: str


class Outcome(NamedTuple):
    """A pair in the other language or what became of it, and its score if it came so far."""

    record: Pair | Dropped
    score: float | None = None


class Translator:
    """An engine that is asked for translations.

    Args:
        engine: for its tokenizer and its name.
        ask: gives a result per request.

    Raises:
        RecipeError: no such prompt.
    """

    def __init__(self, engine: Engine, ask: Ask, settings: Translation) -> None:
        self.engine, self.ask, self.settings = engine, ask, settings
        name = settings.prompt
        if name == "auto":
            name = "translate-chat" if engine.chat else "translate-base"
        self.template = template(name, SLOTS)
        if missing := sorted(SLOTS - self.template.slots):
            raise RecipeError(f"prompt {name} has no slot {{{missing[0]}}}: wanted the passage, its language and into")

    def translate(self, texts: Sequence[Text]) -> list[str | Fault]:
        """Every text in its other language, its lines as they were."""
        cut = [pieces(text.text, self.settings.piece_chars, " " if spaced(text.into) else "") for text in texts]
        requests = [
            self._completion(piece, text) for text, parts in zip(texts, cut, strict=True) for _, piece in parts if piece
        ]
        # Lines that repeat, as "Ingredients:", are asked for once.
        distinct = list(dict.fromkeys(requests))
        answers = dict(zip(distinct, self.ask(distinct), strict=True))
        in_turn = iter(requests)
        return [_joined(parts, lambda: answers[next(in_turn)]) for parts in cut]

    def gains(self, translated: Sequence[Text], originals: Sequence[str]) -> list[float | Fault]:
        """How much likelier each translation makes its original: nats per token of the original."""
        limit = self.settings.score_tokens
        requests: list[Scoring] = []
        for text, original in zip(translated, originals, strict=True):
            shown = self.engine.truncate(original if self.template.chat else f" {' '.join(original.split())}", limit)
            read = self.engine.truncate(text.text, _LONGER * limit)
            requests += [Scoring(self._asked(part, text), shown, limit) for part in (read, "")]
        distinct = list(dict.fromkeys(requests))
        answers = dict(zip(distinct, self.ask(distinct), strict=True))
        found: list[float | Fault] = []
        for given, alone in zip(requests[::2], requests[1::2], strict=True):
            left, right = answers[given], answers[alone]
            if isinstance(left, Scored) and isinstance(right, Scored):
                found.append((left.log_likelihood - right.log_likelihood) / left.tokens)
            else:
                failed = left if isinstance(left, Failed) else right
                assert isinstance(failed, Failed)
                found.append(Fault(failed.reason, failed.message))
        return found

    def _completion(self, piece: str, text: Text) -> Completion:
        room = max(_FEW, math.ceil(len(piece.encode("utf-8", "replace")) * self.settings.tokens_per_byte))
        stop = () if self.template.chat else ("\n",)
        return Completion(self._asked(piece, text), min(room, self.settings.max_tokens), stop=stop)

    def _asked(self, passage: str, text: Text) -> Prompt:
        shown = passage if self.template.chat else " ".join(passage.split())
        return self.template.fill(passage=shown, language=text.source.name, into=text.into.name)


def pieces(text: str, limit: int, joint: str) -> list[tuple[str, str]]:
    """A text as (what is kept, what is translated after it); one after the other they are the text.

    Args:
        limit: characters of a piece.
        joint: what stands between the pieces of one paragraph.
    """
    found: list[tuple[str, str]] = []
    code = False
    for number, line in enumerate(text.split("\n")):
        start = "\n" if number else ""
        fence = line.lstrip().startswith(_FENCE)
        code ^= fence
        mark = _MARK.match(line)
        assert mark is not None
        rest = line[mark.end() :].rstrip()
        if fence or code or not any(map(str.isalpha, rest)):
            found.append((start + line, ""))
            continue
        for part, piece in enumerate(segment(rest, 1, limit)):
            found.append((joint if part else start + mark[0], piece))
    return found


def _joined(parts: Sequence[tuple[str, str]], answer: Callable[[], Any]) -> str | Fault:
    """The parts put together again; an answer is taken for each, also when one before it failed."""
    text: list[str] = []
    fault: Fault | None = None
    for kept, piece in parts:
        text.append(kept)
        if not piece:
            continue
        given = answer()
        if isinstance(given, Failed):
            fault = fault or Fault(given.reason, given.message)
            continue
        assert isinstance(given, Completed)
        written = " ".join(given.text.split())
        if given.finish_reason != "stop":
            fault = fault or Fault("cut_off", f"{given.output_tokens} tokens: {written[-80:]}")
        elif not written:
            fault = fault or Fault("empty", piece)
        text.append(written)
    return fault or "".join(text)


def translate(
    seeds: Iterable[Pair | Dropped], settings: Translation, wanted: Language, there: Translator, back: Translator
) -> Iterator[Outcome]:
    """Every pair in the other language or dropped, in order; what was dropped before passes through.

    Args:
        seeds: pairs of any languages.
        settings: thresholds.
        wanted: language of the translations.
        there: translates.
        back: judges.

    Raises:
        NotCapable: likelihoods are wanted and the engine gives none.
        RecipeError: no identifier knows the language.
    """
    if settings.score == "likelihood" and "score" not in back.engine.capabilities:
        raise NotCapable(f'score is "likelihood" and {back.engine.model} gives none: take score = "chrf"')
    # Before anything is asked: that a language cannot be identified must not be found out afterwards.
    looks = _looks(settings, wanted)
    records = [record if isinstance(record, Dropped) else _fit(record, settings, wanted) for record in seeds]
    asked = [record for record in records if isinstance(record, Pair)]
    texts = [Text(pair.output, language(pair.language), wanted) for pair in asked]
    spoken = _spoken(there.translate(texts), looks)
    places = [place for place, found in enumerate(spoken) if isinstance(found, str)]
    turned = [Text(str(spoken[place]), wanted, texts[place].source) for place in places]
    scores = dict(zip(places, _scores(turned, [texts[place].text for place in places], settings, back), strict=True))
    finished = (
        _outcome(pair, spoken[place], scores.get(place), settings, wanted, there) for place, pair in enumerate(asked)
    )
    for record in records:
        yield Outcome(record) if isinstance(record, Dropped) else next(finished)


def _fit(pair: Pair, settings: Translation, wanted: Language) -> Pair | Dropped:
    """The pair with its language's tag, or why it cannot be translated."""
    if not pair.output.strip():
        return dropped(pair.id, "no_output", "", pair.instruction)
    try:
        tag = language(pair.language or settings.language).tag
    except RecipeError as error:
        return dropped(pair.id, "unknown_language", str(error), pair.output)
    if tag == wanted.tag:
        return dropped(pair.id, "same_language", f"it is in {wanted.name} already", pair.output)
    return dataclasses.replace(pair, language=tag, output=string(pair.output))


def _looks(settings: Translation, wanted: Language) -> LanguageCheck | None:
    return LanguageCheck(wanted, settings) if settings.language_check else None


def _spoken(translated: Sequence[str | Fault], looks: LanguageCheck | None) -> list[str | Fault]:
    """Translations without those that are in another language, or too short to tell."""
    found = list(translated)
    if looks is None:
        return found
    told = []
    for place, text in enumerate(translated):
        if isinstance(text, str) and not enough_letters(text):
            found[place] = Fault("wrong_language", f"too few letters to tell: {text}")
        elif isinstance(text, str):
            told.append((place, text))
    verdicts = looks.judge([text for _, text in told]) if told else []
    for (place, _), verdict in zip(told, verdicts, strict=True):
        if verdict.reason is not None:
            found[place] = Fault("wrong_language", verdict.detail)
    return found


def _scores(
    translated: Sequence[Text], originals: Sequence[str], settings: Translation, back: Translator
) -> Sequence[float | Fault]:
    if settings.score == "likelihood":
        return back.gains(translated, originals)
    returned = back.translate(translated)
    return [
        text if isinstance(text, Fault) else chrf(text, original)
        for text, original in zip(returned, originals, strict=True)
    ]


def _outcome(
    pair: Pair,
    text: str | Fault,
    score: float | Fault | None,
    settings: Translation,
    wanted: Language,
    there: Translator,
) -> Outcome:
    if isinstance(text, Fault):
        return Outcome(dropped(pair.id, *text, pair.output))
    assert score is not None
    if isinstance(score, Fault):
        return Outcome(dropped(pair.id, *score, text))
    # A score that is no number is no reason to keep anything.
    if not score >= settings.threshold:
        detail = f"{settings.score} {score:.3f}, at least {settings.threshold:g}"
        return Outcome(dropped(pair.id, "bad_translation", detail, text), score)
    source = f"{pair.source}; translated by {there.engine.model}"
    return Outcome(dataclasses.replace(pair, output=text, language=wanted.tag, source=source), score)


def write(
    paths: Sequence[Path],
    settings: Translation,
    wanted: Language,
    out: Path,
    identity: Callable[[Model], dict[str, Any]] = flatten,
    seen: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Translate files of seeds into one; its report is given back.

    Beside ``out`` stand its ``.report.json`` and ``.dropped.parquet``, and ``.requests.sqlite`` with every answer: who
    was killed runs the same command again and is asked for the rest only.

    Args:
        paths: files of pairs.
        settings: how.
        wanted: language of the translations.
        out: a ``.jsonl`` or ``.parquet`` file.
        identity: what of a model's settings decides its answers.
        seen: requests answered so far, and those known so far.

    Raises:
        RecipeError: another suffix, no such prompt, or no identifier knows the language.
        CorpusError: a file cannot be read, or no translation is left.
        EngineError: a model cannot be loaded or asked.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise RecipeError(f"{out} is neither .jsonl nor .parquet")
    if any(path.exists() and out.exists() and path.samefile(out) for path in paths):
        raise RecipeError(f"{out} is what is to be translated: name another file for --out")
    _looks(settings, wanted)
    seeds = [record for path in paths for record in read_pairs(path, settings.max_row_bytes, settings.language)]

    def ledger(model: Model) -> RequestCache:
        # Of both models in one file: a request's key holds the name of who answered it.
        return RequestCache(out.with_suffix(".requests.sqlite"), open_engine(model), identity(model), seen)

    with ExitStack() as opened:
        asked = opened.enter_context(ledger(settings.model))
        there = back = Translator(asked.engine, asked.ask, settings)
        if settings.back not in (None, settings.model):
            other = opened.enter_context(ledger(settings.back or settings.model))
            back = Translator(other.engine, other.ask, settings)
        outcomes = list(translate(seeds, settings, wanted, there, back))
        totals = asked.totals()
    kept = [outcome.record for outcome in outcomes if isinstance(outcome.record, Pair)]
    gone = [outcome.record for outcome in outcomes if isinstance(outcome.record, Dropped)]
    reasons = dict(sorted(Counter(record.reason for record in gone).items()))
    if not kept:
        shown = ", ".join(f"{reason} {number}" for reason, number in reasons.items()) or "they are empty"
        raise CorpusError(f"no translation into {wanted.name} of {', '.join(p.name for p in paths)} is left ({shown})")
    told = {
        "scores": _deciles([outcome.score for outcome in outcomes if outcome.score is not None]),
        "inputs": {path.name: digest(path) for path in paths},
        "models": {"model": _named(there.engine), "back": _named(back.engine)},
        "prompt": there.template.digest,
        "settings": _told(settings),
        **totals,
    }
    return store(out, wanted, kept, gone, told)


def _deciles(scores: Sequence[float]) -> dict[str, float]:
    """The score that each tenth of the translations reaches, to choose a threshold by."""
    finite = [score for score in scores if math.isfinite(score)]
    shares = range(10, 100, 10) if finite else ()
    return {f"p{share}": round(float(np.percentile(finite, share)), 4) for share in shares}


def _named(engine: Engine) -> dict[str, str]:
    return {"name": engine.model, "revision": engine.revision}


def _told(settings: Translation) -> dict[str, Any]:
    """Settings without the models, which are named apart, and without the folders of this machine."""
    told = {
        key: without_folder(value) if isinstance(value, str) else value
        for key, value in flatten(settings).items()
        if key.split(".")[0] not in ("model", "back")
    }
    return told | {"min_score": settings.threshold}
