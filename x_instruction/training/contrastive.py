"""Contrastive loss between translations: InfoNCE with negatives from all devices (docs/method.md 4.7, AFP's loss)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from x_instruction.engines.local.hidden_states import at_least_float32
from x_instruction.errors import MissingExtra

try:
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "torch", "train") from error


def info_nce(left: torch.Tensor, right: torch.Tensor, temperature: float, symmetric: bool = False) -> torch.Tensor:
    """InfoNCE, a scalar: ``-(1/N) sum_i log( exp(cos(l_i, r_i)/t) / sum_j exp(cos(l_i, r_j)/t) )``.

    Computed as ``log(1 + exp(..))`` of the difference to the translation's score, which keeps a loss as small as 2e-9
    in float32. The difference of two numbers near 20 would lose it.

    Args:
        left, right: ``(n, width)``, translations at equal index; need not be of unit length.
        temperature: ``t``.
        symmetric: use the mean of this loss and that with left and right exchanged.

    Raises:
        ValueError: shapes differ, there are fewer than two pairs, or the temperature is not above 0.
    """
    if left.shape != right.shape or left.ndim != 2 or len(left) < 2:
        raise ValueError(
            f"states are {tuple(left.shape)} and {tuple(right.shape)}, expected the same number of rows, at least 2"
        )
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, expected a number above 0")
    scores = F.normalize(at_least_float32(left), dim=1) @ F.normalize(at_least_float32(right), dim=1).T / temperature
    one_way = _cross_entropy(scores)
    return (one_way + _cross_entropy(scores.T)) / 2 if symmetric else one_way


def _cross_entropy(scores: torch.Tensor) -> torch.Tensor:
    """Mean over rows of the negative log-softmax at the diagonal."""
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    margins = (scores - scores.diagonal()[:, None]).masked_fill(own, -torch.inf)
    return F.softplus(torch.logsumexp(margins, dim=1)).mean()


def gather_rows(tensor: torch.Tensor) -> torch.Tensor:
    """Rows of all processes, ``(n of all, width)``, in the order of ranks. In a single process the tensor itself.

    Processes may have different numbers of rows, also none, but all must call. If each process computes the same loss
    over all rows, its value is the loss of the joint batch. The gradient of a process is that of its own rows times the
    number of processes, so the *mean* over processes, which DistributedDataParallel computes, is the gradient of the
    joint batch. (``torch.distributed.nn.functional.all_gather`` sums equal gradients in a second exchange, and is
    deprecated.)

    Args:
        tensor: ``(n, width)``, with equal width and dtype in all processes.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return tensor
    rows: torch.Tensor = _GatherRows.apply(tensor)
    return rows


class _GatherRows(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        counts = _counts(len(tensor), tensor.device)
        ctx.before, ctx.own = sum(counts[: dist.get_rank()]), len(tensor)
        if not any(counts):
            return tensor.clone()
        # all_gather needs equal shapes.
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
    """The number of rows of each process."""
    counts = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([own], device=device))
    return [int(count) for count in counts]
