"""Hidden states of a network: the states of one layer, and one state per sentence."""

from __future__ import annotations

from typing import Any, Literal

from x_instruction.errors import MissingExtra

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "torch", "train") from error

Pooling = Literal["last", "mean"]


class _Reached(Exception):
    """The wanted layer was reached; what it was about to read."""

    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self.hidden = hidden


def states(network: Any, ids: torch.Tensor, mask: torch.Tensor, layer: int) -> torch.Tensor:
    """Hidden state ``layer`` of every token, ``(n, length, width)``, as ``output_hidden_states`` numbers them.

    The layers above are not run where that is safe: the state is what the next layer is called with, so the call is
    left there. With gradient checkpointing or offloaded weights, whose own bookkeeping wraps a layer's call, and in
    networks whose layers are not found, all layers are run; the numbers are the same.

    Args:
        network: a causal language model of transformers, also one with an adapter; its vocabulary is not asked.
        ids, mask: ``(n, length)``; the mask is 0 on padding.
        layer: 0 is the embeddings, 1 what leaves the first layer, the last one after the final norm.

    Raises:
        IndexError: the network has fewer layers.
    """
    if layer < 0:
        raise IndexError(f"layer is {layer}, wanted 0 (embeddings) or more")
    decoder = network.get_decoder()
    following = _layer(decoder, layer)
    if following is None:
        out = decoder(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
        found: torch.Tensor = out.hidden_states[layer]
        return found

    def stop(module: object, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        raise _Reached(given[0] if given else named["hidden_states"])

    handle = following.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        decoder(input_ids=ids, attention_mask=mask, use_cache=False)
    except _Reached as reached:
        return reached.hidden
    finally:
        handle.remove()
    raise AssertionError("a decoder did not call one of its own layers")


def _layer(decoder: Any, number: int) -> Any:
    """The layer that reads hidden state ``number``, or None where its call must not be left."""
    depth = decoder.config.get_text_config().num_hidden_layers
    stacks = [part for part in decoder.children() if isinstance(part, torch.nn.ModuleList) and len(part) == depth]
    if len(stacks) != 1 or not 0 <= number < depth:
        return None
    wrapped = any(
        getattr(part, "gradient_checkpointing", False) or hasattr(part, "_hf_hook") for part in decoder.modules()
    )
    return None if wrapped else stacks[0][number]


def pool(hidden: torch.Tensor, mask: torch.Tensor, how: Pooling) -> torch.Tensor:
    """One state per sentence, ``(n, width)``, in float32 or finer.

    Args:
        hidden: ``(n, length, width)``.
        mask: ``(n, length)``, 0 on padding, whichever side it stands on.
        how: state of the ``last`` token, or the ``mean`` over tokens.

    Raises:
        ValueError: shapes differ, or a sentence has no token.
    """
    if hidden.shape[:2] != mask.shape:
        raise ValueError(f"states are {tuple(hidden.shape)} and their mask is {tuple(mask.shape)}")
    # A network that is spread over devices leaves its states where the layer is.
    seen = mask.bool().to(hidden.device)
    if not bool(seen.any(dim=1).all()):
        raise ValueError("a sentence without tokens has no state")
    hidden = at_least_float32(hidden)
    if how == "mean":
        # Not a product with the mask: what stands on padding may be no number.
        return hidden.masked_fill(~seen[..., None], 0).sum(dim=1) / seen.sum(dim=1, keepdim=True)
    last = (seen * torch.arange(1, mask.shape[1] + 1, device=hidden.device)).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """In float32, or as fine as it was."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
