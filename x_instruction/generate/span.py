"""The part of a passage that is an answer by itself, chosen by a model and verified in the text.

The model quotes the first and the last words of the part. What is taken is the text between them, from the passage
itself, so a model cannot add or change a character.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Sequence

from x_instruction import hashing
from x_instruction.config.generate import Generate, Span
from x_instruction.engines import Ask, Completed, Completion, Engine, Failed, Result
from x_instruction.errors import RecipeError
from x_instruction.languages import language
from x_instruction.prompts import template
from x_instruction.prompts.reading import is_none, without_thinking
from x_instruction.records import Dropped, Passage, dropped, text_digest
from x_instruction.translate import Failure

SLOTS = frozenset({"passage", "language"})
# Reason of the row that counts a passage that is kept whole.
WHOLE = "whole_passage"
# The two lines, with markup and a number around the label.
_FIRST, _LAST = (
    re.compile(rf"^[\W\d_]*{label}\b[^:：\n]{{0,20}}[:：][*_`]*[^\S\n]*(.+)$", re.I | re.M)
    for label in ("first", "last")
)
_QUOTES = " \t\"'`*“”‘’«»„「」『』‹›"
_ELLIPSIS = re.compile(r"^\s*(?:…|\.{3,})\s*|\s*(?:…|\.{3,})\s*$")


def choose(
    passages: Sequence[Passage], settings: Generate, engine: Engine, ask: Ask
) -> tuple[list[Passage], list[Dropped]]:
    """Passages with the chosen part as their text, and a row with the reason for each that has none.

    A passage keeps its id: its part is found in the text of the passage with that id.

    Args:
        passages: passages of one language.
        settings: the section ``generate`` of the recipe. Without ``span``, passages stay as they are.
        engine: provides the tokenizer and says whether the model has a chat template.
        ask: returns one result per request.

    Raises:
        RecipeError: unknown prompt, or one without a required slot or for another kind of model.
    """
    span = settings.span
    if span is None:
        return list(passages), []
    prompt = template(span.prompt, SLOTS)
    if prompt.chat and not engine.chat:
        raise RecipeError(
            f"generate.span.prompt {span.prompt!r} is a chat prompt, and {engine.model} has no chat template: name a "
            "plain prompt or a chat model, or remove [generate.span]"
        )
    read = [engine.truncate(passage.text, settings.passage_tokens) for passage in passages]
    requests = [
        Completion(
            prompt.fill(passage=text, language=language(passage.language).name),
            span.max_tokens + settings.thinking_tokens,
            stop=() if prompt.chat else ("\n\n",),
        )
        for passage, text in zip(passages, read, strict=True)
    ]
    kept: list[Passage] = []
    refused: list[Dropped] = []
    for passage, text, result in zip(passages, read, ask(requests), strict=True):
        outcome = _outcome(passage, text, result, span)
        if isinstance(outcome, Passage):
            kept.append(outcome)
        elif span.fallback == "passage" and outcome.reason.startswith("span_"):
            kept.append(passage)
            refused.append(dropped(f"{passage.id}-span", WHOLE, f"{outcome.reason}: {outcome.detail}"))
        else:
            refused.append(dropped(passage.id, *outcome, passage.text))
    return kept, refused


def digest(settings: Generate, written: str) -> str:
    """Digest of all prompts of a candidate: that of its instruction, and that of the span if there is one."""
    return written if settings.span is None else hashing.digest([template(settings.span.prompt, SLOTS).digest, written])


def _outcome(passage: Passage, read: str, result: Result, span: Span) -> Passage | Failure:
    if isinstance(result, Failed):
        return Failure(result.reason, result.message)
    assert isinstance(result, Completed)
    found = find(read, without_thinking(result.text))
    if isinstance(found, Failure):
        return found
    part = read[slice(*found)]
    if len(part) < span.min_length * len(passage.text):
        detail = f"{len(part)} of {len(passage.text)} characters, at least {span.min_length:g} of them"
        return Failure("span_too_short", detail)
    return dataclasses.replace(passage, text=part, text_hash=text_digest(part))


def find(text: str, answer: str) -> tuple[int, int] | Failure:
    """Start and end, in characters, of the part of a text that an answer quotes.

    Space between words may differ. Every other character has to be as in the text.

    Args:
        text: what the model read.
        answer: what it wrote, without its thinking.
    """
    first, last = _FIRST.findall(answer), _LAST.findall(answer)
    if not first or not last:
        if is_none(answer):
            return Failure("not_answerable", "no part of the passage is a reply")
        return Failure("span_not_quoted", " ".join(answer.split())[-200:] or "no answer")
    start = _only(text, first[-1], 0)
    if isinstance(start, Failure):
        return start
    end = _only(text, last[-1], start[0])
    if isinstance(end, Failure):
        return end
    return _opened(text, start[0]), _closed(text, end[1])


def _only(text: str, quote: str, after: int) -> tuple[int, int] | Failure:
    """Start and end of the only occurrence of a quote from a position on."""
    quote = unicodedata.normalize("NFC", quote).strip(_QUOTES)
    words = _ELLIPSIS.sub("", quote).strip(_QUOTES).split()
    pattern = re.compile(r"(?=(" + r"\s+".join(map(re.escape, words)) + r"))")
    places = [match.span(1) for match in pattern.finditer(text, after)] if words else []
    if len(places) == 1:
        return places[0]
    return Failure("span_not_in_passage" if not places else "span_ambiguous", f"{len(places)} times: {quote[:200]}")


def _opened(text: str, start: int) -> int:
    """The start with the marks before it that belong to its first word, such as an opening quotation mark."""
    marks = start
    while marks and (text[marks - 1] in "\"'¿¡" or unicodedata.category(text[marks - 1]) in ("Ps", "Pi", "Pf")):
        marks -= 1
    return marks if not marks or text[marks - 1].isspace() else start


def _closed(text: str, end: int) -> int:
    """The end with what belongs to its last word, such as a vowel sign, a full stop and a closing quotation mark."""
    while end < len(text) and (kind := unicodedata.category(text[end]))[0] in "MP" and kind not in ("Ps", "Pd"):
        end += 1
    return end
