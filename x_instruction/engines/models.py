"""Locate a model's files (embedded, local folder or Hub) and identify them by a revision."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from x_instruction.engines import embedded
from x_instruction.errors import EngineError, XInstructionError

# Only this many bytes at each end of a file are hashed: enough to tell two weight files of equal size apart without
# reading gigabytes at every start.
_HASHED_BYTES = 1 << 20
# Reports about a model do not identify it: the same weights with another training time are the same model.
_NOT_HASHED = frozenset(
    {
        "training.json",
        "evaluation",
        "evaluation.json",
        "train_result.json",
        "made.json",
        "learning_rates.json",
        "README.md",
    }
)
# Arguments of every ``from_pretrained``. Without them transformers asks on the terminal whether to run the code that
# comes with a model, and reads pickled weights, which can run code too.
PLAIN = {"trust_remote_code": False}
PLAIN_WEIGHTS = {**PLAIN, "use_safetensors": True}
# With mistral_common, which vLLM installs, transformers would read the tekken.json of a model in place of its
# tokenizer.json, and that tokenizer has no chat template.
PLAIN_TOKENIZER = {**PLAIN, "mistral_format": False}
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*/config.json"]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of a model on this machine.

    Args:
        name: the name in records and cards: Hub id, title of an embedded model, or name of a local folder.
        folder: the folder that holds the files.
        revision: commit on the Hub, recorded SHA-256 of an embedded model, or digest of a folder.
        license: the licence if it is known here, else empty.
    """

    name: str
    folder: Path
    revision: str
    license: str = ""


def locate(name: str, revision: str = "main") -> ModelFiles:
    """Find a model's files; download or convert them on first use.

    Args:
        name: ``embedded``, ``embedded-smollm2``, ``embedded-minilm``, ``embedded-generator`` and ``embedded-rater``
            (adapters), a local folder or a Hub id.
        revision: branch, tag or commit, for the Hub.

    Raises:
        EngineError: there is no such model; the message says what to do.
    """
    if name in embedded.MODELS:
        model = embedded.MODELS[name]
        return ModelFiles(model.title, model.folder(), model.revision, model.license)
    if name in embedded.ADAPTERS:
        folder = embedded.adapter_folder(name)
        return ModelFiles(f"x_instruction {embedded.ADAPTERS[name]}", folder, _digest(folder))
    folder = Path(name).expanduser()
    if folder.is_dir():
        # Records and cards are published, so they name the folder and the digest of its content, never its path.
        return ModelFiles(folder.resolve().name, folder, _digest(folder))
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise EngineError(
            f"model folder {name} does not exist; name an existing folder, a Hub id such as 'org/model', "
            f"or one of {', '.join(embedded.MODELS)}"
        )
    return _from_hub(name, revision)


@contextlib.contextmanager
def loading(what: str, kind: type[XInstructionError] = EngineError) -> Iterator[None]:
    """Say in one line why files of a model cannot be loaded.

    Args:
        what: what is loaded, for the message.
        kind: the error to raise.
    """
    try:
        yield
    # The files come from strangers, and libraries raise what they run into. That of tokenizers is a plain Exception.
    except Exception as error:
        raise kind(f"cannot load {what}: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Why a library cannot load files, in one line."""
    text = str(error).strip()
    if "trust_remote_code" in text:
        return "it needs code that comes with the model, which is never run; name a model that transformers supports"
    if "pytorch_model.bin" in text or ("safetensors" in text and "no file named" in text):
        return "it has no safetensors weights, and pickled weights can run code; convert them to safetensors"
    return text.splitlines()[0] if text else type(error).__name__


def _digest(folder: Path) -> str:
    if not any((folder / name).exists() for name in ("config.json", "adapter_config.json")):
        raise EngineError(
            f"{folder} is not a transformers model folder: expected a config.json or an adapter_config.json in it"
        )
    checksum = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and _decides(p.relative_to(folder))):
        size = path.stat().st_size
        checksum.update(f"{path.relative_to(folder)}:{size}:".encode())
        with open(path, "rb") as stream:
            checksum.update(stream.read(_HASHED_BYTES))
            if size > 2 * _HASHED_BYTES:
                stream.seek(-_HASHED_BYTES, os.SEEK_END)
            checksum.update(stream.read())
    return f"sha256:{checksum.hexdigest()[:32]}"


def _decides(path: Path) -> bool:
    return not path.name.startswith(".") and not {path.name, path.parts[0]} & _NOT_HASHED


def _from_hub(name: str, revision: str) -> ModelFiles:
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
    # The last part of a snapshot's path is the commit.
    return ModelFiles(name, folder, folder.name)
