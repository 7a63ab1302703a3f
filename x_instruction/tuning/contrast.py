"""Contrast of translations: states of a layer, one state per sentence, InfoNCE over all devices (method.md 4.7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from x_instruction.errors import MissingExtra

try:
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
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
    hidden = _fine(hidden)
    if how == "mean":
        # Not a product with the mask: what stands on padding may be no number.
        return hidden.masked_fill(~seen[..., None], 0).sum(dim=1) / seen.sum(dim=1, keepdim=True)
    last = (seen * torch.arange(1, mask.shape[1] + 1, device=hidden.device)).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def info_nce(left: torch.Tensor, right: torch.Tensor, temperature: float, symmetric: bool = False) -> torch.Tensor:
    """``-(1/N) sum_i log( exp(cos(l_i, r_i)/t) / sum_j exp(cos(l_i, r_j)/t) )``, a scalar (method.md 4.7).

    Computed as ``log(1 + exp(..))`` of what the others exceed the translation by: a loss of 2e-9 is not lost in
    float32, as it would be in a difference of numbers near 20.

    Args:
        left, right: ``(n, width)``, translations in the same place; not of unit length.
        temperature: ``t``.
        symmetric: mean of this and of ``right`` over ``left``.

    Raises:
        ValueError: shapes differ, fewer than two pairs, or a temperature that is not above 0.
    """
    if left.shape != right.shape or left.ndim != 2 or len(left) < 2:
        raise ValueError(
            f"states are {tuple(left.shape)} and {tuple(right.shape)}, wanted the same number of rows, two at least"
        )
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, wanted a number above 0")
    scores = F.normalize(_fine(left), dim=1) @ F.normalize(_fine(right), dim=1).T / temperature
    one_way = _missed(scores)
    return (one_way + _missed(scores.T)) / 2 if symmetric else one_way


def _missed(scores: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood of the diagonal among its row."""
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    ahead = (scores - scores.diagonal()[:, None]).masked_fill(own, -torch.inf)
    return F.softplus(torch.logsumexp(ahead, dim=1)).mean()


def _fine(tensor: torch.Tensor) -> torch.Tensor:
    """In float32, or as fine as it was."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """Rows of all processes, ``(n of all, width)``, in the order of their ranks; the tensor itself in one process.

    Processes may have different numbers of rows, none too; every one of them must call. Where each computes the same
    loss of all rows, the value is the loss of the joint batch in each, and the *mean* of the processes' gradients,
    which is what DistributedDataParallel makes, is the joint batch's gradient: a process passes on the gradient of its
    own rows only, times the number of processes. (``torch.distributed.nn.functional.all_gather`` adds up the same
    number from all processes in a second exchange, and is deprecated.)

    Args:
        tensor: ``(n, width)``, of one width and type in all processes.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return tensor
    found: torch.Tensor = _Gathered.apply(tensor)
    return found


class _Gathered(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        counts = _counts(len(tensor), tensor.device)
        ctx.before, ctx.own = sum(counts[: dist.get_rank()]), len(tensor)
        if not any(counts):
            return tensor.clone()
        padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        own: torch.Tensor = gradient[ctx.before : ctx.before + ctx.own] * dist.get_world_size()
        return own


def _counts(own: int, device: torch.device) -> Sequence[int]:
    """Rows of each process."""
    counts = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([own], device=device))
    return [int(count) for count in counts]
