"""Rewrite responses from their natural text (instruction back-and-forth, arXiv 2408.04614).

A page answers an instruction among other things. A model keeps what answers it, in the language and the words of the
page. The natural text stays in a column of its own. A rewrite is kept only if it is in its language, has a sensible
length, and brings neither numbers nor names that are new: a cheap check that it says nothing that the page does not.
"""

from __future__ import annotations

import dataclasses
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.config.rewrite import Rewriting
from x_instruction.config.section import flatten, without_folder
from x_instruction.corpus.characters import spaced
from x_instruction.corpus.files import digest
from x_instruction.corpus.identify import LanguageCheck
from x_instruction.corpus.segment import sentences
from x_instruction.engines import Ask, Completed, Completion, Engine, Failed, open_engine
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.form import CAPITAL_NOUNS, CASED
from x_instruction.hashing import derive_seed
from x_instruction.languages import Language, language
from x_instruction.prompts import template
from x_instruction.prompts.reading import without_thinking
from x_instruction.prompts.refusals import refuses
from x_instruction.records import Dropped, dropped, storable
from x_instruction.records import as_row as dropped_row
from x_instruction.seed.collect import write_dropped
from x_instruction.seed.pairs import Pair, as_row, read_pairs
from x_instruction.storage.atomic import atomic

SLOTS = frozenset({"passage", "language", "instruction", "instruction_language"})
# What became of a pair, beside the reasons to refuse a rewrite.
REWRITTEN, UNCHANGED = "rewritten", "unchanged"
# A number of a list at the start of a line is no fact.
_BULLET = re.compile(r"^\s*\d{1,2}[.)]\s", re.MULTILINE)
# A number with the signs that group its digits in one script or another.
_NUMBER = re.compile(r"\d(?:[\d.,'’٫٬\u00a0\u202f ]*\d)?")
_LETTERS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
# A name may be inflected: words are related if so many first characters, and this share of the shorter word, are equal.
_STEM, _STEM_SHARE = 4, 0.6
# Words with fewer characters are related to no other.
_LEAST = 3
_FENCE = re.compile(r"^```[\w-]*\n(.*)\n```$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What became of a pair.

    Args:
        pair: the pair, with the rewrite as its output if that is kept.
        natural: its natural text.
        outcome: ``rewritten``, ``unchanged``, or the reason why the natural text is kept.
        refused: the rewrite that was refused, or None.
    """

    pair: Pair
    natural: str
    outcome: str
    refused: Dropped | None = None


def rewrite(pairs: Sequence[Pair], settings: Rewriting, engine: Engine, ask: Ask) -> Iterator[Rewrite]:
    """Rewrite the responses of pairs, in order.

    Args:
        pairs: pairs in known languages.
        settings: the prompt and the checks.
        engine: provides the tokenizer and says whether the model has a chat template.
        ask: returns one result per request.

    Raises:
        RecipeError: a prompt without a slot or for another kind of model, or no identifier knows a language.
    """
    prompt = template(settings.prompt, SLOTS)
    if missing := sorted({"passage", "instruction"} - prompt.slots):
        raise RecipeError(
            f"prompt {settings.prompt} has no slot {{{missing[0]}}}, expected {{passage}} and {{instruction}}"
        )
    if prompt.chat and not engine.chat:
        raise RecipeError(
            f"prompt {settings.prompt} is a chat prompt, and {engine.model} has no chat template: name a plain prompt, "
            "or a chat model"
        )
    checks = _language_checks(pairs, settings)
    requests: dict[int, Completion] = {}
    for number, pair in enumerate(pairs):
        if engine.truncate(pair.output, settings.passage_tokens) != pair.output:
            continue
        filled = prompt.fill(
            passage=pair.output,
            language=language(pair.language).name,
            instruction=pair.asked,
            instruction_language=language(pair.instruction_language).name,
        )
        seed = derive_seed(settings.seed, "rewrite", pair.language, pair.id)
        requests[number] = Completion(filled, settings.max_tokens, temperature=settings.temperature, seed=seed)
    answers = dict(zip(requests, ask(list(requests.values())), strict=True))
    texts: dict[int, str] = {}
    faults: dict[int, tuple[str, str]] = {}
    for number, pair in enumerate(pairs):
        if number not in answers:
            faults[number] = "too_long", f"more than {settings.passage_tokens} tokens"
            continue
        result = answers[number]
        if isinstance(result, Failed):
            faults[number] = result.reason, result.message
            continue
        assert isinstance(result, Completed)
        texts[number] = _read(result.text)
        fault = find_fault(texts[number], pair, settings, result.finish_reason)
        if fault is not None:
            faults[number] = fault
    _check_languages(pairs, texts, faults, checks)
    for number, pair in enumerate(pairs):
        text = texts.get(number, "")
        if number in faults:
            reason, detail = faults[number]
            yield Rewrite(pair, pair.output, reason, dropped(pair.id, reason, detail, text))
        else:
            outcome = UNCHANGED if text.split() == pair.output.split() else REWRITTEN
            yield Rewrite(dataclasses.replace(pair, output=text), pair.output, outcome)


def find_fault(text: str, pair: Pair, settings: Rewriting, finish_reason: str = "stop") -> tuple[str, str] | None:
    """Why a rewrite is refused, as reason and detail, or None. Languages are checked elsewhere, many texts at a time.

    Args:
        text: the rewrite.
        pair: the pair with its natural text.
        settings: the checks.
        finish_reason: how the answer of the model ended.
    """
    into = language(pair.language)
    if not text:
        return "empty", ""
    if finish_reason != "stop":
        return "cut_off", text[-80:]
    if refuses(text, (into,)):
        return "refusal", text[:80]
    share = len(text) / max(1, len(pair.output))
    if share < settings.min_length:
        return "too_short", f"{share:.0%} of the natural text, at least {settings.min_length:.0%}"
    if share > settings.max_length:
        return "adds_text", f"{share:.0%} of the natural text, at most {settings.max_length:.0%}"
    known = f"{pair.output}\n{pair.asked}"
    if settings.check_numbers and (new := new_numbers(text, known)):
        return "new_number", ", ".join(new[:4])
    if settings.check_names and (new := new_names(text, known, into)):
        return "new_name", ", ".join(new[:4])
    return None


def new_numbers(text: str, known: str) -> list[str]:
    """Numbers of a text that another text does not have, whatever digits and separators they are written with."""
    have = {form for number in _NUMBER.findall(known) for form in _number_forms(number)}
    found = _NUMBER.findall(_BULLET.sub("", text))
    return [number for number in dict.fromkeys(found) if not _is_known(number, have)]


def _is_known(number: str, have: set[str]) -> bool:
    """Whether a number is known as a whole, or all of its parts are, as those of a date."""
    whole, *parts = _number_forms(number)
    return whole in have or (len(parts) > 1 and all(part in have for part in parts))


def _number_forms(number: str) -> list[str]:
    """All digits of a number in ASCII, then those of each part between separators."""
    plain = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else " " for c in number)
    return [plain.replace(" ", ""), *plain.split()]


def new_names(text: str, known: str, into: Language) -> list[str]:
    """Names of a text that another text does not have.

    In scripts with capitals, names are capitalized words within a sentence; German has capitals for all nouns and is
    not checked. In other scripts, they are words in Latin letters.
    """
    if into.tag in CAPITAL_NOUNS:
        return []
    have = {word.casefold() for word in _LETTERS.findall(known)}
    found = _capitalized(text, into) if into.script in CASED else re.findall(r"[A-Za-z]{2,}", text)
    return [name for name in dict.fromkeys(found) if not _occurs(name.casefold(), have)]


def _capitalized(text: str, into: Language) -> Iterator[str]:
    for start, end in sentences(text, spaced(into)):
        for number, word in enumerate(_LETTERS.finditer(text[start:end])):
            # Any word has a capital where a sentence or a quotation begins.
            begins = number == 0 or text[start + word.start() - 1] in "\"“„«‘'("
            if word[0][0].isupper() and not begins and len(word[0]) > 1:
                yield word[0]


def _occurs(name: str, have: set[str]) -> bool:
    """Whether a word is known, or one with the same beginning, as inflected names have."""
    return name in have or any(_related(name, word) for word in have)


def _related(name: str, word: str) -> bool:
    shorter = min(len(name), len(word))
    length = min(max(_STEM, round(_STEM_SHARE * shorter)), shorter)
    return shorter >= _LEAST and name[:length] == word[:length]


def _read(answer: str) -> str:
    """The text of an answer: without thinking, and without a code fence around all of it."""
    said = storable(without_thinking(answer)).strip()
    fenced = _FENCE.match(said)
    return fenced[1].strip() if fenced else said


def _language_checks(pairs: Iterable[Pair], settings: Rewriting) -> dict[str, LanguageCheck]:
    """The checks by language, created before any request, so that an unknown language is refused first."""
    if not settings.language_check:
        return {}
    return {tag: LanguageCheck(language(tag), settings) for tag in sorted({pair.language for pair in pairs})}


def _check_languages(
    pairs: Sequence[Pair],
    texts: dict[int, str],
    faults: dict[int, tuple[str, str]],
    checks: dict[str, LanguageCheck],
) -> None:
    """Add a fault for each rewrite that is not in its language."""
    for tag, check in checks.items():
        numbers = [number for number in texts if number not in faults and pairs[number].language == tag]
        verdicts = check.judge([texts[number] for number in numbers]) if numbers else []
        for number, verdict in zip(numbers, verdicts, strict=True):
            if verdict.reason is not None:
                faults[number] = "wrong_language", verdict.detail


def write(
    paths: Sequence[Path],
    settings: Rewriting,
    out: Path,
    seen: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Rewrite the responses of files into one file of JSON lines, and return the report.

    Also writes ``.report.json``, ``.dropped.parquet`` (rows that are no pair, and rewrites that were refused) and
    ``.requests.sqlite`` (every answer): if interrupted, rerun the same call, and only the missing requests are sent.

    Args:
        paths: files of pairs.
        settings: the model, the prompt and the checks.
        out: a ``.jsonl`` file. A row has the columns of a pair, and ``natural_output``, ``rewrite`` and ``rewriter``.
        seen: called with the number of answered requests and the number of known requests.

    Raises:
        RecipeError: another suffix, an unknown prompt, or no identifier knows a language.
        CorpusError: a file cannot be read, or no pair is left.
        EngineError: the model cannot be loaded or run.
    """
    if out.suffix != ".jsonl":
        raise RecipeError(f"cannot write {out}: expected a name that ends in .jsonl")
    if any(path.exists() and out.exists() and path.samefile(out) for path in paths):
        raise RecipeError(f"{out} is also an input: choose another file for --out")
    pairs, rejected = _pairs(paths, settings)
    _language_checks(pairs, settings)  # refuse an unknown language before a model is loaded
    cache = RequestCache(
        out.with_suffix(".requests.sqlite"), open_engine(settings.model), fingerprint(settings.model), seen
    )
    with cache:
        made = list(rewrite(pairs, settings, cache.engine, cache.ask))
        totals, rewriter = cache.totals(), cache.engine
    kept = [row for row in made if row.refused is None or settings.fallback == "natural"]
    if not kept:
        raise CorpusError(f"no rewrite is kept ({_counts(made)}): set fallback = natural, or name another model")
    report = {
        "rows_in": len(pairs) + len(rejected),
        "kept": len(kept),
        "outcomes": dict(sorted(Counter(row.outcome for row in made).items())),
        "dropped": dict(sorted(Counter(row.reason for row in rejected).items())),
        "inputs": {path.name: digest(path) for path in paths},
        "model": {"name": rewriter.model, "revision": rewriter.revision},
        "prompt": template(settings.prompt, SLOTS).digest,
        "settings": _report_settings(settings),
        **totals,
    }
    refused = [row.refused for row in made if row.refused is not None]
    with atomic(out.with_suffix(".dropped.parquet")) as stream:
        write_dropped(stream, [dropped_row(row) for row in (*rejected, *refused)])
    with atomic(out.with_suffix(".report.json")) as stream:
        stream.write(json.dumps(report, indent=1, ensure_ascii=False).encode())
    with atomic(out) as stream:
        for row in kept:
            line = as_row(row.pair) | {"natural_output": row.natural, "rewrite": row.outcome}
            line["rewriter"] = rewriter.model if row.refused is None else ""
            stream.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return report


def _pairs(paths: Sequence[Path], settings: Rewriting) -> tuple[list[Pair], list[Dropped]]:
    pairs: list[Pair] = []
    rejected: list[Dropped] = []
    for path in paths:
        for record in read_pairs(path, settings.max_row_bytes):
            if isinstance(record, Dropped):
                rejected.append(record)
                continue
            if not record.language:
                raise CorpusError(f"{path} names no language in the row {record.id}: add a column language")
            try:
                tags = language(record.language).tag, language(record.instruction_language).tag
            except RecipeError as error:
                raise CorpusError(f"{path}, row {record.id}: {error}") from None
            if not record.output.strip() or not record.instruction.strip():
                rejected.append(dropped(record.id, "empty", "no instruction or no response"))
                continue
            tag, asked_in = tags
            pairs.append(
                dataclasses.replace(record, language=tag, instruction_language=asked_in, output=record.output.strip())
            )
    if not pairs:
        raise CorpusError(f"no pair to rewrite in {', '.join(path.name for path in paths)}")
    return pairs, rejected


def _counts(made: Sequence[Rewrite]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(Counter(row.outcome for row in made).items()))


def _report_settings(settings: Rewriting) -> dict[str, Any]:
    """The settings without the model, which the report lists separately, and without the folders of this machine."""
    return {
        key: without_folder(value) if isinstance(value, str) else value
        for key, value in flatten(settings).items()
        if key.split(".")[0] != "model"
    }
