"""Types of the keys of a section, and what a key affects. The message about a wrong value follows from its type."""

from __future__ import annotations

import math
import re
import string
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from x_instruction.config.renamed import RENAMED_PROMPTS
from x_instruction.errors import UnknownLanguage
from x_instruction.languages import language

# Instructions in the language of their responses.
SAME = "same"
MAX_ROW_BYTES = 16_000_000
# End of a prompt that is asked in another language than it is answered in.
ANSWER_TAG = "Answer in {name}."


class Invalid(ValueError):
    """Raised by a section's validator for one of its keys.

    Args:
        key: the key within the section.
        problem: continues the sentence that begins with the key, such as ``is 3, expected at most 2``.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


def _known_tag(value: str) -> str:
    try:
        return language(value).tag
    except UnknownLanguage as error:
        # pydantic reports the key of a ValueError only.
        raise ValueError from error


def _known_or_same(value: str) -> str:
    return value if value == SAME else _known_tag(value)


def _current_prompt(value: str) -> str:
    if value in RENAMED_PROMPTS:
        raise ValueError(f"is {value!r}, which was renamed to {RENAMED_PROMPTS[value]!r}")
    return value


def _plain_name(value: str) -> str:
    if not re.fullmatch(r"\w[\w.-]{0,95}", value):
        raise ValueError(f"is {value!r}, expected letters, digits and . _ -, at most 96 and no path")
    return value


def _with_slots(text: str) -> str:
    try:
        # No attributes and indices of the two, which `format` would follow.
        slots = {slot for _, slot, _, _ in string.Formatter().parse(text) if slot is not None}
        text.format(tag="sw", name="Swahili")
    except (KeyError, IndexError, ValueError):
        slots = {""}
    if not slots <= {"tag", "name"}:
        raise ValueError(f"is {text!r}, expected text with no placeholders but {{tag}} and {{name}}")
    return text


def _not_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("is nan, expected a number")
    return value


Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
NotNegativeFloat = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
AnyFloat = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_not_nan)]
Tag = Annotated[str, AfterValidator(_known_tag)]
TagOrSame = Annotated[str, AfterValidator(_known_or_same)]
# The name of a prompt, or the path of its file.
Prompt = Annotated[str, AfterValidator(_current_prompt)]
# A name that is used as the name of a folder.
PlainName = Annotated[str, AfterValidator(_plain_name)]
# Text in which {tag} and {name} are those of a language.
Template = Annotated[str, AfterValidator(_with_slots)]
# TOML and JSON have lists; settings are hashable.
Strings = Annotated[tuple[str, ...], Field(strict=False)]
Tags = Annotated[tuple[Tag, ...], Field(strict=False), AfterValidator(lambda tags: tuple(dict.fromkeys(tags)))]
RowBytes = Annotated[Positive, Field(description="A longer row or line of a file is dropped unread.")]


def asked_in(instruction_language: str, tag: str) -> str:
    """The language of instructions to responses in the language of ``tag``."""
    return tag if instruction_language == SAME else instruction_language


# What a key affects, where that is not the records that a stage makes: ``engines.fingerprint`` reads it.

# Where, how fast or at what price something runs. Records differ by rounding at most, so moving a run to a larger
# machine makes nothing again. A data type is never declared so.
RUNTIME_ONLY = Field(json_schema_extra={"runtime_only": True})
# The model that a stage trains. Records know that model by its content.
TRAINING_ONLY = Field(json_schema_extra={"affects": ["model"]})
# Both.
ALSO_TRAINING = Field(json_schema_extra={"affects": ["records", "model"]})
# Which outputs a run makes, or from which inputs. Records know these inputs by their content.
INPUT_ONLY = Field(json_schema_extra={"affects": []})


def affects(kind: type[BaseModel], key: str) -> list[str]:
    """The outputs that a key is declared to affect: ``records``, ``model`` (which a stage trains), both or neither."""
    extra = kind.model_fields[key].json_schema_extra
    declared: Any = extra if isinstance(extra, dict) else {}
    return [] if declared.get("runtime_only") else declared.get("affects", ["records"])
