"""The formats of exports: how a row is written, and the files that describe the rest to trainers.

They follow the documentation of LLaMA-Factory (``data/README.md``), axolotl (``docs/dataset-formats``) and TRL
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
_AXOLOTL_HEADER = "# Part of an axolotl configuration. Paths are relative to this folder.\n"


def sharegpt(row: Row) -> dict[str, Any]:
    """``conversations``: a turn of the human and one of the model."""
    turns = (("human", row["instruction"]), ("gpt", row["output"]))
    return {"conversations": [{"from": speaker, "value": text} for speaker, text in turns]}


def all_columns(row: Row) -> dict[str, Any]:
    """Every column of the published schema, in its order."""
    return {column.name: row[column.name] for column in COLUMNS}


@dataclass(frozen=True, slots=True)
class Format:
    """The format of an exported file.

    Args:
        name: Its name.
        row: Converts a row to the object in the file.
        suffix: ``json`` for one list, ``jsonl`` for one row per line.
        llama_factory: Entry in ``dataset_info.json`` without the file name. Empty if LLaMA-Factory cannot read it.
        axolotl: Entry in ``datasets`` of an axolotl configuration without the path. Empty if axolotl cannot read it.
    """

    name: str
    row: Callable[[Row], dict[str, Any]]
    suffix: str = "jsonl"
    llama_factory: dict[str, Any] = field(default_factory=dict)
    axolotl: dict[str, Any] = field(default_factory=dict)


# With any tag set, LLaMA-Factory drops its defaults for the others, so all of them are set.
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
        # LLaMA-Factory and axolotl read a row without ``input`` as one with an empty input.
        Format(
            "jsonl",
            all_columns,
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
    """Write the files that describe exported files to trainers.

    Args:
        out: Folder of the files.
        form: Their format.
        files: Tag to name of the file.
        split: The split that they hold.

    Returns:
        The files that were written.

    Raises:
        RecipeError: The existing ``dataset_info.json`` is damaged. Its entries for other files are kept.
    """
    written = []
    if form.llama_factory:
        path = out / LLAMA_FACTORY
        entries = _entries(path)
        for tag, name in files.items():
            key = f"x_instruction_{tag}" if split == "train" else f"x_instruction_{tag}_{split}"
            entries[key] = {"file_name": name} | form.llama_factory
        with atomic(path) as stream:
            stream.write(f"{json.dumps(entries, indent=2)}\n".encode())
        written.append(path)
    if form.axolotl:
        train = split == "train"
        path = out / ("axolotl.yaml" if train else f"axolotl.{split}.yaml")
        table = {
            "datasets" if train else "test_datasets": [
                {"path": name, "ds_type": "json"} | form.axolotl for name in files.values()
            ]
        }
        with atomic(path) as stream:
            stream.write(f"{_AXOLOTL_HEADER}{yaml.safe_dump(table, sort_keys=False)}".encode())
        written.append(path)
    return written


def _entries(path: Path) -> dict[str, Any]:
    """The existing entries of ``dataset_info.json``: the folder may be LLaMA-Factory's own."""
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"cannot read {path}: {error}; fix it or move it away") from error
    if not isinstance(entries, dict):
        raise RecipeError(f"{path} is a {type(entries).__name__}, expected an object: fix it or move it away")
    return entries
