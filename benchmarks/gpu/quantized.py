"""The embedded model in a form that is small to transfer: its GGUF file with a vocabulary cut to given texts.

The four-bit blocks are copied as they are, so that the model that is restored is the one that was cut, bit by bit.

    FOLDER/model.gguf        what to transfer, with the tokenizer; ``restore`` makes the other files of a model folder

    python quantized.py FOLDER
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

FILE = "model.gguf"
_VOCABULARY = ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type")


def texts(pool: Path) -> list[str]:
    """What a model reads and writes with a pool of documents: every text in it, names of languages, and all prompts.

    Args:
        pool: JSON Lines, which may be compressed (``.gz``), with ``language`` or ``lang``.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is not a JSON object.
    """
    from importlib import resources

    from x_instruction.languages import language

    with gzip.open(pool, "rt", encoding="utf-8") if pool.suffix == ".gz" else open(pool, encoding="utf-8") as stream:
        rows = [_row(number, line) for number, line in enumerate(stream, 1) if line.strip()]
    found = [value for row in rows for value in row.values() if isinstance(value, str)]
    found += sorted(
        {f"Answer in {language(tag).name}." for row in rows if (tag := row.get("language", row.get("lang")))}
    )
    prompts = sorted(
        path.name for path in resources.files("x_instruction.prompts").iterdir() if path.name[-4:] == ".txt"
    )
    return [*found, *(resources.files("x_instruction.prompts").joinpath(name).read_text("utf-8") for name in prompts)]


def _row(number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is not a JSON object")
    return row


def cut(pool: Path, target: Path) -> Path:
    """Write the embedded model for a pool; returns its folder, in ``target``."""
    from x_instruction.engines.embedded import gemma_parts, join
    from x_instruction.experiments.pruned import prune

    with tempfile.TemporaryDirectory() as scratch:
        made = prune("embedded", texts(pool), Path(scratch), print, "bfloat16")
        whole = Path(scratch) / "whole.gguf"
        join(gemma_parts(), whole)
        folder = target / made.folder.name
        folder.mkdir()
        for path in made.folder.iterdir():
            if path.suffix != ".safetensors":
                shutil.copy(path, folder)
        vocabulary = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
        _copy(whole, folder / FILE, sorted(vocabulary, key=lambda name: vocabulary[name]))
    return folder


def _copy(source: Path, target: Path, names: list[str]) -> None:
    """A GGUF file with these tokens only."""
    import gguf

    reader = gguf.GGUFReader(source)
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    rows = {name: row for row, name in enumerate(fields["tokenizer.ggml.tokens"].contents())}
    kept = [rows[name] for name in names]
    writer = gguf.GGUFWriter(target, fields["general.architecture"].contents())
    for name, field in fields.items():
        value = field.contents()
        if name in _VOCABULARY:
            value = [value[row] for row in kept]
        if name != "general.architecture":
            writer.add_key_value(name, value, field.types[0], field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        data = tensor.data[kept] if tensor.name == "token_embd.weight" else tensor.data
        writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def restore(folder: Path) -> None:
    """Make the safetensors of a folder that ``cut`` wrote."""
    from x_instruction.engines.embedded import write_weights

    write_weights(folder / FILE, folder)
    (folder / FILE).unlink()


if __name__ == "__main__":
    restore(Path(sys.argv[1]))
