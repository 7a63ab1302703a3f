"""A published model, loaded as a user would with an empty cache, and compared weight by weight with the folder's."""

from __future__ import annotations

import gc
import hashlib
import tempfile
from pathlib import Path
from typing import Any

from x_instruction.errors import HubError, MissingExtra
from x_instruction.hub.model_folder import Model


def same(model: Model, repo: str, revision: str) -> None:
    """Load what was published and compare. One model is in memory at a time.

    Raises:
        HubError: it does not load, or a weight, the vocabulary or the chat template differs.
        MissingExtra: transformers or peft is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="x-instruction-") as cache:
        wanted = _digests(model, model.folder, None, cache)
        try:
            came = _digests(model, repo, revision, cache)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise HubError(
                f"{repo} was published at {revision[:12]} and does not load ({error}): nobody should use that revision"
            ) from error
    if differing := sorted(name for name in wanted.keys() | came.keys() if wanted.get(name) != came.get(name)):
        raise HubError(
            f"{repo} was published at {revision[:12]} and {len(differing)} parts differ from {model.folder}, among "
            f"them {differing[0]}: run the same command again"
        )


def check_installed(adapter: bool) -> None:
    """What loading back needs is asked for before anything is sent.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import torch
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "transformers", "transformers") from error
    del torch
    if adapter:
        try:
            import peft  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingExtra("peft", "adapters") from error


def _digests(model: Model, source: Path | str, revision: str | None, cache: str) -> dict[str, str]:
    """Name to digest of every weight that the folder brings, of the vocabulary and of the chat template."""
    from transformers import AutoTokenizer

    place = {"revision": revision, "cache_dir": cache} if revision else {}
    tokenizer = AutoTokenizer.from_pretrained(str(source), **place)
    texts = {"vocabulary": repr(sorted(tokenizer.get_vocab().items())), "chat template": repr(tokenizer.chat_template)}
    found = {name: hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for name, text in texts.items()}
    state = _state(model, str(source), place, cache)
    for name, tensor in state.items():
        found[name] = _digest(tensor)
    del state
    gc.collect()
    return found


def _state(model: Model, source: str, place: dict[str, Any], cache: str) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM

    if not model.adapter:
        loaded = AutoModelForCausalLM.from_pretrained(source, dtype="auto", **place)
        return dict(loaded.state_dict())
    from peft import PeftModel

    training = model.facts.training
    where = {"revision": training.base_revision, "cache_dir": cache}
    base = AutoModelForCausalLM.from_pretrained(training.base_model, dtype="auto", **where)
    return dict(PeftModel.from_pretrained(base, source, **place).state_dict())


def _digest(tensor: Any) -> str:
    """Digest of kind, shape and bytes; bytes, because numpy has no bfloat16."""
    import torch

    flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode() + flat.numpy().tobytes()).hexdigest()
