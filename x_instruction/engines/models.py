"""Where a model's files are and what exactly they are: embedded, a local folder, or the Hub."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from x_instruction.engines import embedded
from x_instruction.errors import EngineError

# Enough of a weight file to tell two files of equal size apart without reading gigabytes at every start.
_ENDS = 1 << 20
# What is told about a model is not the model: how long it took must not make it another one.
_TOLD = frozenset({"training.json", "evaluation.json", "tuned.json", "made.json", "rates.json", "README.md"})
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*/config.json"]


@dataclass(frozen=True, slots=True)
class Files:
    """A model on this machine.

    Args:
        name: Hub id, an embedded model's own name, or the last part of a local folder: what records and cards say.
        folder: where its files are.
        revision: commit on the Hub, recorded SHA-256 of an embedded model, or digest of a folder.
        license: as far as it is known here, else empty.
    """

    name: str
    folder: Path
    revision: str
    license: str = ""


def locate(name: str, revision: str = "main") -> Files:
    """Find a model's files, fetching or converting them once if need be.

    Args:
        name: ``embedded``, ``embedded-smollm2``, ``embedded-minilm``, ``embedded-generator`` and ``embedded-rater``
            (adapters), a local folder or a Hub id.
        revision: branch, tag or commit, for the Hub.

    Raises:
        EngineError: nothing is there; the message says what was looked for and what to do.
    """
    if name in embedded.MODELS:
        model = embedded.MODELS[name]
        return Files(model.title, model.folder(), model.revision, model.license)
    if name in embedded.ADAPTERS:
        folder = embedded.adapter_folder(name)
        return Files(f"x_instruction {embedded.ADAPTERS[name]}", folder, _digest(folder))
    folder = Path(name).expanduser()
    if folder.is_dir():
        # Where a folder stands is nobody's business: records and cards carry its name and what is in it.
        return Files(folder.resolve().name, folder, _digest(folder))
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise EngineError(
            f"model folder {name} does not exist; name an existing folder, a Hub id such as 'org/model', "
            f"or one of {', '.join(embedded.MODELS)}"
        )
    return _from_hub(name, revision)


def _digest(folder: Path) -> str:
    if not any((folder / name).exists() for name in ("config.json", "adapter_config.json")):
        raise EngineError(
            f"{folder} holds no config.json and no adapter_config.json, so it is not a model folder of transformers"
        )
    hashed = hashlib.sha256()
    for path in sorted(
        p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".") and p.name not in _TOLD
    ):
        size = path.stat().st_size
        hashed.update(f"{path.relative_to(folder)}:{size}:".encode())
        with open(path, "rb") as stream:
            hashed.update(stream.read(_ENDS))
            if size > 2 * _ENDS:
                stream.seek(-_ENDS, os.SEEK_END)
            hashed.update(stream.read())
    return f"sha256:{hashed.hexdigest()[:32]}"


def _from_hub(name: str, revision: str) -> Files:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils import httpx

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, httpx.TransportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EngineError(
            f"cannot get model {name!r} at revision {revision!r}: {reason}; "
            "check the name, the connection and HF_TOKEN, or name a local folder"
        ) from error
    return Files(name, folder, folder.name)
