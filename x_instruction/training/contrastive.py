"""Contrastive loss between translations: InfoNCE over all devices (method.md 4.7)."""

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
    scores = F.normalize(at_least_float32(left), dim=1) @ F.normalize(at_least_float32(right), dim=1).T / temperature
    one_way = _missed(scores)
    return (one_way + _missed(scores.T)) / 2 if symmetric else one_way


def _missed(scores: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood of the diagonal among its row."""
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    ahead = (scores - scores.diagonal()[:, None]).masked_fill(own, -torch.inf)
    return F.softplus(torch.logsumexp(ahead, dim=1)).mean()


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
