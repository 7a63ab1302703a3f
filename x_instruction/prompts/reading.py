"""Read an instruction out of a model's answer, or say why there is none.

Chat models write more than what they are asked for: they think aloud, announce, label, quote and explain. A base model
continues its prompt, and its first line is the instruction. Only text around the instruction is removed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from x_instruction.corpus.segment import ends, sentences
from x_instruction.languages import Language
from x_instruction.prompts.refusals import refuses


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read from an answer.

    Args:
        text: the instruction: one line with a final mark. Empty if there is none; text that is no instruction, such as
            a refusal, is kept for people to look at.
        reason: why it is no instruction (``refusal``, ``not_answerable``, ``cut_off``, ``empty``), or None.
    """

    text: str
    reason: str | None = None


# Thinking is marked with tags in models such as Qwen, DeepSeek, Magistral, Kimi, Gemma and Seed.
_TAGS = r"think|thinking|thought|thoughts|reasoning|reason|reflection|analysis|scratchpad|seed:think|unused94>thought"
_OPENS = re.compile(rf"<(?:{_TAGS})>|\[THINK\]|◁think▷|<\|channel>thought|<\|begin_of_thought\|>", re.I)
_CLOSES = re.compile(rf"</(?:{_TAGS})>|\[/THINK\]|◁/think▷|<unused95>|<channel\|>|<\|end_of_thought\|>", re.I)
# gpt-oss writes channels. Without its control tokens, their names run into the text.
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>", re.I)
_BARE_CHANNEL = re.compile(r"^\s*analysis(?=[A-Z\W])")
_BARE_FINAL = re.compile(r"assistant\s*final(?=\S|\s)")
_END_TOKEN = re.compile(r"<\|(?:end|return|im_end|eot_id|endoftext|end_of_text)\|>|</s>|<end_of_turn>|<eos>")
_ANSWER_TAG = re.compile(
    r"<(answer|request|instruction|question|query|output|response)>\s*(.*?)\s*(?:</\1>|$)", re.I | re.S
)
_FENCE = re.compile(r"^\s*(?:`{3,}|~{3,})[\w+-]*\s*$")

_LABELS = (
    r"(?:search\s+(?:query|request)|(?:user\s+)?(?:instruction|question|request|prompt|query|task|search|title|answer))"
)
_BEFORE_LABEL = r"(?:(?:the|your|my|final|user(?:['’]s)?|original|fitting|possible|suggested|english)\s+)*"
# A label at the start of a line, with markup, numbers and a note in brackets around it: "**Request (English):** ...".
_LABEL = re.compile(
    rf"^[\s>*_#`\-•\"'“]*(?:\d{{1,2}}[.)]\s+)?[\s*_`\"'“]*{_BEFORE_LABEL}{_LABELS}\s*(?:\([^)]{{0,30}}\)|\d{{1,2}})?"
    r"[*_`\"'”\s]*[:：][*_`]*\s*",
    re.I,
)
_NUMBER = re.compile(r"^(?:\(?\d{1,2}[.)]|[-*•–])\s+")
_WRAPS = "\"'`*_“”‘’«»「」『』‹›#>- \t"
# "Sure! Here's a question that fits:", with what follows on the same line or on the next.
_ASSENT = re.compile(
    r"^(?:sure(?: thing)?|certainly|of course|okay|ok|absolutely|alright|all right|great|understood|got it|yes"
    r"|no problem|gladly|happy to help)\b[^.!,:?\n]{0,40}[.!,:—–-]+\s*",
    re.I,
)
_ANNOUNCES = re.compile(
    r"^(?:(?:and |so )?here(?:['’]s| is| are| you go)\b|this is\b|below (?:is|are)\b|the following (?:is|are)\b"
    r"|based on\b|i (?:would|have|['’]d|['’]ve)\b|an? (?:\w+ ){0,4}(?:request|question|instruction|query|prompt)\b"
    r"|the (?:\w+ ){0,4}(?:request|question|instruction|query|prompt)\b)[^:\n]{0,200}[:：]\s*",
    re.I,
)
_NAMES_THE_TASK = re.compile(
    r"\b(?:requests?|questions?|instructions?|quer(?:y|ies)|prompts?|tasks?|one|you go|text)\b", re.I
)
_NONE = re.compile(
    r"^(?:NONE\b|(?i:none\W*$|none[.:;(—–-]|n/a\W*$|not answerable\b|unanswerable\b"
    r"|(?:there is )?no (?:\w+ ){0,2}(?:request|question|instruction|query)"
    r"(?: (?:is|can|could|would|fits|for)\b|\W*$)))"
)
_COLON_ENDS = (":", "：", "፡-", "፦", "׃")
_QUESTION_WORDS = frozenset(
    ("how", "what", "why", "who", "when", "where", "which", "is", "are", "do", "does", "did", "can")
)


def read(
    answer: str,
    style: str,
    into: Language,
    chat: bool,
    opening: str = "",
    cut_off: bool = False,
    source: Language | None = None,
) -> Reading:
    """The instruction in an answer.

    Args:
        answer: what the model wrote.
        style: style that was asked for; only ``search`` has no final mark.
        into: language of the instruction.
        chat: whether a chat model wrote it.
        opening: for base models, the beginning that the answer continues.
        cut_off: the answer reached its maximum length. A whole first sentence still counts.
        source: language of the passage, in which a model may refuse as well.
    """
    languages = (into,) if source is None else (into, source)
    if not chat:
        return _finish(f"{opening}{answer}" if opening else answer, style, languages, cut_off)
    said = without_thinking(answer)
    if not said.strip():
        # If cut off, the model was still thinking. Servers may return the thinking apart from the answer.
        return Reading("", "cut_off" if cut_off else "empty")
    line, whole = _request_line(said)
    return _finish(line, style, languages, cut_off and not whole)


def without_thinking(answer: str) -> str:
    """The answer after its thinking. Thinking that does not end leaves what was written before it.

    A template may open the thinking, so that the answer has only the closing tag.
    """
    channels = list(_CHANNEL.finditer(answer))
    if channels:
        final = [match for match in channels if match[1].lower() == "final"]
        return _END_TOKEN.split(answer[final[-1].end() :])[0] if final else ""
    if _BARE_CHANNEL.match(answer):
        parts = _BARE_FINAL.split(answer)
        return parts[-1] if len(parts) > 1 else ""
    closed = [match.end() for match in _CLOSES.finditer(answer)]
    rest = answer[closed[-1] :] if closed else answer
    opened = _OPENS.search(rest)
    return rest[: opened.start()] if opened else rest


def is_none(said: str) -> bool:
    """Whether an answer, without its thinking, says that there is nothing to write."""
    return _NONE.match(_without_announcement(_request_line(said)[0])) is not None


def _request_line(said: str) -> tuple[str, bool]:
    """The line with the instruction, and whether it ends with a line break, so that it is whole."""
    tagged = list(_ANSWER_TAG.finditer(said))
    said = tagged[-1][2] if tagged and tagged[-1][2] else said
    said = _END_TOKEN.split(said)[0]
    broken = said.rstrip(" \t").endswith("\n")
    lines = [line.strip() for line in said.splitlines() if not _FENCE.match(line)]
    lines = [line for line in lines if line.strip(_WRAPS)]
    if not lines:
        return "", True
    if (value := _json_value("\n".join(lines))) is not None:
        return value, True
    labelled = None
    for number, line in enumerate(lines):
        if (match := _LABEL.match(line)) is None:
            continue
        if line[match.end() :].strip(_WRAPS):
            labelled = line[match.end() :], broken or number < len(lines) - 1
        elif number + 1 < len(lines) and not _LABEL.match(lines[number + 1]):
            labelled = lines[number + 1], broken or number + 1 < len(lines) - 1
    if labelled:
        return labelled
    while len(lines) > 1 and _is_preamble(lines[0]):
        del lines[0]
    return _without_announcement(lines[0]), broken or len(lines) > 1


def _json_value(text: str) -> str | None:
    """The only text of a JSON object, or the one under a label; None for other answers."""
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    texts = {str(key): value for key, value in found.items() if isinstance(value, str)}
    labelled = [value for key, value in texts.items() if _LABEL.match(f"{key}:")]
    values = labelled or list(texts.values())
    return values[0] if len(values) == 1 or labelled else None


def _is_preamble(line: str) -> bool:
    bare = line.strip(_WRAPS)
    if _without_announcement(bare) == "" or (_ASSENT.match(bare) and not _ASSENT.sub("", bare)):
        return True
    # "Write a story with these words:" announces a list, in English. In other languages a line that ends in a colon is
    # taken for a preamble.
    return bare.endswith(_COLON_ENDS) and not bare.isascii()


def _without_announcement(line: str) -> str:
    bare = line.strip(_WRAPS)
    rest = _ASSENT.sub("", bare, count=1)
    announced = _ANNOUNCES.match(rest)
    if announced and _NAMES_THE_TASK.search(announced[0]):
        return rest[announced.end() :]
    # "Sure, how do tides work?" is left: "OK, ..." may be a part of the request.
    return bare


def _finish(text: str, style: str, languages: Sequence[Language], cut_off: bool) -> Reading:
    """The instruction as one line, without labels, quotation marks and markup, with a final mark."""
    text = " ".join(text.split()).strip(_WRAPS)
    while (label := _LABEL.match(text)) and label.end():
        text = text[label.end() :].strip(_WRAPS)
    text = _NUMBER.sub("", text).strip(_WRAPS)
    if not text:
        return Reading("", "empty")
    if _NONE.match(text):
        return Reading(text, "not_answerable")
    rest = _ASSENT.sub("", text, count=1)
    if refuses(text, languages) or (rest != text and refuses(rest, languages)):
        return Reading(text, "refusal")
    if cut_off:
        first = _first_sentence(text) if style != "search" else None
        if first is None:
            return Reading(_marked(text, style), "cut_off")
        text = first
    read = _marked(text, style)
    return Reading(read, None if read else "empty")


def _first_sentence(text: str) -> str | None:
    """The first sentence if it is whole: another one follows, or the text ends with it."""
    spans = sentences(text, True)
    if len(spans) == 1 and len(text) not in ends(f"{text} "):
        return None
    return text[slice(*spans[0])]


def _marked(text: str, style: str) -> str:
    text = text[0].upper() + text[1:]
    if text.count('"') % 2:
        text = " ".join(text.replace('"', "").split())
    body = text.rstrip(".…:;,!? *_`")
    if style == "search" or not body:
        return body
    mark = next((mark for mark in "?!" if mark in text[len(body) :]), None)
    return body + (mark or ("?" if _is_question(body) else "."))


def _is_question(text: str) -> bool:
    return re.split(r"[ '’]", text, maxsplit=1)[0].lower() in _QUESTION_WORDS
