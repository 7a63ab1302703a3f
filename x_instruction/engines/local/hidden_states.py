"""Hidden states of a language model: the states of one layer, and their pooling to one vector per sentence."""

from __future__ import annotations

from typing import Any, Literal

from x_instruction.errors import MissingExtra

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "torch", "train") from error

Pooling = Literal["last", "mean"]


class _LayerReached(Exception):
    """Ends the forward pass at the requested layer; carries the hidden state that the layer received."""

    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self.hidden = hidden


def hidden_states(network: Any, ids: torch.Tensor, mask: torch.Tensor, layer: int) -> torch.Tensor:
    """Hidden state ``layer`` of every token, ``(n, length, width)``, numbered as by ``output_hidden_states``.

    The layers above it are skipped where that is safe: hidden state n is the input of layer n, so a hook on that layer
    ends the forward pass. With gradient checkpointing or offloaded weights, which wrap the call of a layer, and in
    networks whose layers are not found, all layers run. The result is the same.

    Args:
        network: a causal language model of transformers, with or without an adapter; its output projection is not run.
        ids, mask: ``(n, length)``; the mask is 0 on padding.
        layer: 0 is the embeddings, 1 the output of the first layer; the last one is after the final norm.

    Raises:
        IndexError: the network has fewer layers.
    """
    if layer < 0:
        raise IndexError(f"layer is {layer}, expected 0 (embeddings) or more")
    decoder = network.get_decoder()
    next_layer = _layer(decoder, layer)
    if next_layer is None:
        out = decoder(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
        hidden: torch.Tensor = out.hidden_states[layer]
        return hidden

    def stop(module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _LayerReached(args[0] if args else kwargs["hidden_states"])

    handle = next_layer.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        decoder(input_ids=ids, attention_mask=mask, use_cache=False)
    except _LayerReached as reached:
        return reached.hidden
    finally:
        handle.remove()
    raise AssertionError("the decoder did not call one of its own layers")


def _layer(decoder: Any, number: int) -> Any:
    """The layer that receives hidden state ``number``, or None where the forward pass must not be cut short."""
    depth = decoder.config.get_text_config().num_hidden_layers
    stacks = [part for part in decoder.children() if isinstance(part, torch.nn.ModuleList) and len(part) == depth]
    if len(stacks) != 1 or not 0 <= number < depth:
        return None
    wrapped = any(
        getattr(part, "gradient_checkpointing", False) or hasattr(part, "_hf_hook") for part in decoder.modules()
    )
    return None if wrapped else stacks[0][number]


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """One vector per sentence, ``(n, width)``, in float32 or float64.

    Args:
        hidden: ``(n, length, width)``.
        mask: ``(n, length)``, 0 on padding, which may be on either side.
        pooling: ``last`` is the state of the last token, ``mean`` the mean over tokens.

    Raises:
        ValueError: shapes differ, or a sentence has no token.
    """
    if hidden.shape[:2] != mask.shape:
        raise ValueError(f"states are {tuple(hidden.shape)} and their mask is {tuple(mask.shape)}, expected one length")
    # With a network spread over several devices, the states are on the device of their layer.
    tokens = mask.bool().to(hidden.device)
    if not bool(tokens.any(dim=1).all()):
        raise ValueError("a sentence without tokens has no state")
    hidden = at_least_float32(hidden)
    if pooling == "mean":
        # Not a product with the mask: states on padding may be NaN, and 0 * NaN is NaN.
        return hidden.masked_fill(~tokens[..., None], 0).sum(dim=1) / tokens.sum(dim=1, keepdim=True)
    last = (tokens * torch.arange(1, mask.shape[1] + 1, device=hidden.device)).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, or unchanged if its precision is higher."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
