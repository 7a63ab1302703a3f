"""A published model, read with an empty cache as a user would: the folder's files, weight by weight, and it loads."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from x_instruction.cards.records import Training
from x_instruction.errors import HubError, MissingExtra
from x_instruction.hub.model_folder import TOKENIZER, Model
from x_instruction.hub.retry import is_temporary, reason, status_of


def read_back(model: Model, repo: str, revision: str) -> str:
    """Fetch what was published, compare it with the folder, and load it. One model is in memory at a time.

    Returns:
        What holds of it now, for a person.

    Raises:
        HubError: it cannot be fetched, a part differs, or it does not load.
    """
    published = f"{repo} was published at {revision[:12]}"
    with tempfile.TemporaryDirectory(prefix="x-instruction-") as cache:
        with _reading(f"{published}, and reading it back failed"):
            folder = _fetched(model, repo, revision, cache)
            wanted, came = _parts(model.folder, model.files), _parts(folder, model.files)
        if differing := sorted(name for name in wanted.keys() | came.keys() if wanted.get(name) != came.get(name)):
            raise HubError(
                f"{published} and {len(differing)} parts differ from {model.folder}, among them {differing[0]}: run "
                "the same command again"
            )
        training = model.facts.training
        where = f" on {training.base_model} at {training.base_revision[:12]}" if model.adapter else ""
        with _reading(f"{published}: its files are the folder's, and loading it{where} failed"):
            if TOKENIZER in model.files:
                _check_tokenizer(model, repo, revision, cache)
            if model.adapter and not _base_is_on_hub(training):
                return (
                    f"has the same files and weights; it was not loaded, because {training.base_revision} is no "
                    f"revision of {training.base_model} on the Hub"
                )
            _load(model, folder, repo, revision, cache)
    return "loads with the same weights"


def check_installed(model: Model) -> None:
    """What reading back needs is asked for before anything is sent.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import torch
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "transformers", "transformers") from error
    del torch
    if model.adapter and _base_is_on_hub(model.facts.training):
        try:
            import peft  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingExtra("peft", "adapters") from error


def _base_is_on_hub(training: Training) -> bool:
    """Whether the base's revision is a commit, and no digest of a file; git takes no name with a colon."""
    return ":" not in training.base_revision


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Say what was published when anything is raised: whatever a library trips over, the commit is made."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        answered = status_of(error) is not None or is_temporary(error)
        said = reason(error) if answered else (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HubError(f"{what} ({said}): nobody should use that revision before it is known to load") from error


def _fetched(model: Model, repo: str, revision: str, cache: str) -> Path:
    """The folder with the published files."""
    from huggingface_hub import hf_hub_download

    paths = [Path(hf_hub_download(repo, name, revision=revision, cache_dir=cache)) for name in model.files]
    return paths[0].parent


def _parts(folder: Path, files: tuple[str, ...]) -> dict[str, str]:
    """Name to digest of every file, and in files of weights of every weight."""
    from safetensors import safe_open

    found = {}
    for name in files:
        if name.endswith(".safetensors"):
            with safe_open(folder / name, "pt") as weights:
                for key in weights.keys():  # noqa: SIM118
                    found[f"{key} of {name}"] = _digest(weights.get_tensor(key))
        else:
            found[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return found


def _digest(tensor: Any) -> str:
    """Digest of kind, shape and bytes; bytes, because numpy has no bfloat16."""
    import torch

    flat = tensor.contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode() + flat.numpy().tobytes()).hexdigest()


def _check_tokenizer(model: Model, repo: str, revision: str, cache: str) -> None:
    """The folder may hold more than was sent, so equal files are not all of it."""
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(str(model.folder))
    came = AutoTokenizer.from_pretrained(repo, revision=revision, cache_dir=cache)
    if (own.get_vocab(), own.chat_template) != (came.get_vocab(), came.chat_template):
        raise HubError(
            f"{repo} was published at {revision[:12]} and its tokenizer has another vocabulary or chat template than "
            f"that of {model.folder}: nobody should use that revision; save the tokenizer anew"
        )


def _load(model: Model, folder: Path, repo: str, revision: str, cache: str) -> None:
    from transformers import AutoModelForCausalLM

    options = {"dtype": "auto", "cache_dir": cache}
    if not model.adapter:
        AutoModelForCausalLM.from_pretrained(repo, revision=revision, **options)
        return
    from x_instruction.engines.local.transformers import with_adapter

    training = model.facts.training
    base = AutoModelForCausalLM.from_pretrained(training.base_model, revision=training.base_revision, **options)
    # peft itself loads what fits and goes on.
    with_adapter(base, str(folder), training.base_model)
