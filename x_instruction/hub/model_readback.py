"""A published model, downloaded into an empty cache, compared weight by weight, and loaded, as a user would."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from x_instruction.cards.records import Training
from x_instruction.engines.models import PLAIN, PLAIN_WEIGHTS
from x_instruction.errors import HubError, MissingExtra
from x_instruction.hub.model_folder import TOKENIZER, Model
from x_instruction.hub.retry import is_temporary, reason, status_of


def read_back(model: Model, repo: str, revision: str) -> str:
    """Download a published model, compare it with the folder, and load it. One model is in memory at a time.

    Returns:
        What was verified, in words.

    Raises:
        HubError: It cannot be downloaded, a part differs, or it does not load.
    """
    published = f"{repo} was published at {revision[:12]}"
    with tempfile.TemporaryDirectory(prefix="x-instruction-") as cache:
        with _reading(f"{published}, and reading it back failed"):
            folder = _download(model, repo, revision, cache)
            local, remote = _part_digests(model.folder, model.files), _part_digests(folder, model.files)
        if differing := sorted(part for part in local.keys() | remote.keys() if local.get(part) != remote.get(part)):
            raise HubError(
                f"{published}, and {len(differing)} parts differ from {model.folder}, such as {differing[0]}: rerun "
                "the same command"
            )
        training = model.records.training
        base = f" on {training.base_model} at {training.base_revision[:12]}" if model.adapter else ""
        with _reading(f"{published}: its files equal the folder's, and loading it{base} failed"):
            if TOKENIZER in model.files:
                _check_tokenizer(model, repo, revision, cache)
            if model.adapter and not _base_is_on_hub(training):
                return (
                    f"has the same files and weights; it was not loaded, because {training.base_revision} is not a "
                    f"revision of {training.base_model} on the Hub"
                )
            _load(model, folder, repo, revision, cache)
    return "loads with the same weights"


def check_installed(model: Model) -> None:
    """Check that the packages for reading back are installed, before anything is sent.

    Raises:
        MissingExtra: One is not.
    """
    try:
        import torch
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "transformers", "transformers") from error
    del torch
    if model.adapter and _base_is_on_hub(model.records.training):
        try:
            import peft  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingExtra("peft", "adapters") from error


def _base_is_on_hub(training: Training) -> bool:
    """True if the base's revision is a commit and not the digest of a file, which has a colon as no git name has."""
    return ":" not in training.base_revision


@contextmanager
def _reading(context: str) -> Iterator[None]:
    """Add the published revision to any error: the commit is made, whatever a library raises afterwards."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        from_server = status_of(error) is not None or is_temporary(error)
        message = reason(error) if from_server else (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HubError(f"{context} ({message}): do not use that revision until it loads") from error


def _download(model: Model, repo: str, revision: str, cache: str) -> Path:
    """Download the files. Returns their folder."""
    from huggingface_hub import hf_hub_download

    paths = [Path(hf_hub_download(repo, name, revision=revision, cache_dir=cache)) for name in model.files]
    return paths[0].parent


def _part_digests(folder: Path, files: tuple[str, ...]) -> dict[str, str]:
    """Digest of every file, and of every tensor in files of weights."""
    from safetensors import safe_open

    digests = {}
    for name in files:
        if name.endswith(".safetensors"):
            with safe_open(folder / name, "pt") as weights:
                for key in weights.keys():  # noqa: SIM118
                    digests[f"{key} of {name}"] = _tensor_digest(weights.get_tensor(key))
        else:
            digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return digests


def _tensor_digest(tensor: Any) -> str:
    """Digest of type, shape and bytes. Bytes, because numpy has no bfloat16."""
    import torch

    flat = tensor.contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode() + flat.numpy().tobytes()).hexdigest()


def _check_tokenizer(model: Model, repo: str, revision: str, cache: str) -> None:
    """Compare the tokenizers as they load: the folder may hold files that were not sent."""
    from transformers import AutoTokenizer

    local = AutoTokenizer.from_pretrained(str(model.folder), **PLAIN)
    remote = AutoTokenizer.from_pretrained(repo, revision=revision, cache_dir=cache, **PLAIN)
    if (local.get_vocab(), local.chat_template) != (remote.get_vocab(), remote.chat_template):
        raise HubError(
            f"{repo} was published at {revision[:12]}, and its tokenizer has another vocabulary or chat template than "
            f"that of {model.folder}: do not use that revision, and save the tokenizer again"
        )


def _load(model: Model, folder: Path, repo: str, revision: str, cache: str) -> None:
    from transformers import AutoModelForCausalLM

    options = {"dtype": "auto", "cache_dir": cache, **PLAIN_WEIGHTS}
    if not model.adapter:
        AutoModelForCausalLM.from_pretrained(repo, revision=revision, **options)
        return
    from x_instruction.engines.local.transformers import with_adapter

    training = model.records.training
    base = AutoModelForCausalLM.from_pretrained(training.base_model, revision=training.base_revision, **options)
    # peft itself loads the weights that fit and ignores the others without an error.
    with_adapter(base, str(folder), training.base_model)
