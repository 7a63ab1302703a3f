"""The formats of exports: what a row becomes, and what their readers want to know of the files.

Written after the documentation of LLaMA-Factory (``data/README.md``), axolotl (``docs/dataset-formats``) and TRL
(``dataset_formats``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from x_instruction.builders.schema import COLUMNS
from x_instruction.builders.views import Row, alpaca, chat, prompt_completion
from x_instruction.errors import RecipeError
from x_instruction.storage.atomic import atomic

LLAMA_FACTORY = "dataset_info.json"
_AXOLOTL_HEAD = "# Part of an axolotl configuration; the paths are from this folder.\n"


def sharegpt(row: Row) -> dict[str, Any]:
    """``conversations``: a human's and a model's turn."""
    turns = (("human", row["instruction"]), ("gpt", row["output"]))
    return {"conversations": [{"from": who, "value": text} for who, text in turns]}


def whole(row: Row) -> dict[str, Any]:
    """Every column of the published schema, in its order."""
    return {column.name: row[column.name] for column in COLUMNS}


@dataclass(frozen=True, slots=True)
class Format:
    """What a file of an export looks like.

    Args:
        name: what it is asked for by.
        row: makes what stands in the file of a row.
        suffix: of its files; ``json`` is one list, ``jsonl`` a line per row.
        llama_factory: its entry in ``dataset_info.json``, but for the file's name; none where there is no such file.
        axolotl: its entry in ``datasets`` of an axolotl configuration, but for the path; likewise.
    """

    name: str
    row: Callable[[Row], dict[str, Any]]
    suffix: str = "jsonl"
    llama_factory: dict[str, Any] = field(default_factory=dict)
    axolotl: dict[str, Any] = field(default_factory=dict)


# Where tags are given LLaMA-Factory forgets its defaults, so all that it looks for are given.
_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}
FORMATS = {
    form.name: form
    for form in (
        Format("original", alpaca, suffix="json"),
        # LLaMA-Factory and axolotl take a row without ``input`` for one whose input is empty.
        Format(
            "jsonl",
            whole,
            llama_factory={"formatting": "alpaca", "columns": {"prompt": "instruction", "response": "output"}},
            axolotl={"type": "alpaca"},
        ),
        Format(
            "alpaca",
            alpaca,
            llama_factory={
                "formatting": "alpaca",
                "columns": {"prompt": "instruction", "query": "input", "response": "output"},
            },
            axolotl={"type": "alpaca"},
        ),
        Format(
            "sharegpt",
            sharegpt,
            llama_factory={"formatting": "sharegpt", "columns": {"messages": "conversations"}},
            axolotl={
                "type": "chat_template",
                "field_messages": "conversations",
                "message_property_mappings": {"role": "from", "content": "value"},
            },
        ),
        Format(
            "chat",
            chat,
            llama_factory={"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": _TAGS},
            axolotl={"type": "chat_template", "field_messages": "messages"},
        ),
        Format("prompt-completion", prompt_completion),
    )
}


def describe(out: Path, form: Format, files: dict[str, str], split: str) -> list[Path]:
    """Write what trainers want to know of the files.

    Args:
        out: folder of the files.
        form: their format.
        files: tag to name of the file.
        split: the split that they hold.

    Returns:
        What was written: nothing for a format that explains itself.

    Raises:
        RecipeError: there is a ``dataset_info.json`` already, and it is damaged. Entries of other files in it stay.
    """
    notes = []
    if form.llama_factory:
        path = out / LLAMA_FACTORY
        entries = _entries(path)
        for tag, name in files.items():
            key = f"x_instruction_{tag}" if split == "train" else f"x_instruction_{tag}_{split}"
            entries[key] = {"file_name": name} | form.llama_factory
        with atomic(path) as stream:
            stream.write(f"{json.dumps(entries, indent=2)}\n".encode())
        notes.append(path)
    if form.axolotl:
        train = split == "train"
        path = out / ("axolotl.yaml" if train else f"axolotl.{split}.yaml")
        table = {
            "datasets" if train else "test_datasets": [
                {"path": name, "ds_type": "json"} | form.axolotl for name in files.values()
            ]
        }
        with atomic(path) as stream:
            stream.write(f"{_AXOLOTL_HEAD}{yaml.safe_dump(table, sort_keys=False)}".encode())
        notes.append(path)
    return notes


def _entries(path: Path) -> dict[str, Any]:
    """What stands in ``dataset_info.json`` already: the folder may be LLaMA-Factory's own."""
    if not path.exists():
        return {}
    try:
        held = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read {path}: {error}; mend it or move it away") from error
    if not isinstance(held, dict):
        raise RecipeError(f"{path} holds {type(held).__name__}, wanted an object: mend it or move it away")
    return held
