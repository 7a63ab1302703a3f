"""TRL's trainer, with less work for the vocabulary on a CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from x_instruction.errors import MissingExtra

try:
    import torch
    from trl import SFTTrainer
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "trl", "train") from error

# Logits in memory at once: 128 MiB as float32.
_LOGITS = 1 << 25


class HeadLoss(torch.autograd.Function):  # type: ignore[misc]
    """Cross entropy behind a linear head, summed over tokens; gradients are made on the way.

    Logits are made once, for some tokens at a time, and never kept: one product with the vocabulary less than making
    them anew on the way back, and none of the statistics that TRL logs.
    """

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss in nats.

        Args:
            states: tokens, width; float32.
            weight: vocabulary, width.
            targets: tokens.
        """
        loss = states.new_zeros(())
        states_grad = torch.empty_like(states)
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        size = max(1, _LOGITS // weight.shape[0])
        for part, wanted, grad in zip(
            states.split(size), targets[:, None].split(size), states_grad.split(size), strict=True
        ):
            logits = part @ weight.T
            total = torch.logsumexp(logits, dim=-1, keepdim=True)
            loss += (total - logits.gather(1, wanted)).sum()
            slope = logits.sub_(total).exp_()
            slope.scatter_add_(1, wanted, slope.new_full(wanted.shape, -1.0))
            torch.mm(slope, weight, out=grad)
            if weight_grad is not None:
                weight_grad.addmm_(slope.T, part)
        ctx.save_for_backward(states_grad, weight_grad)
        return loss

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Gradients of states and weight."""
        states_grad, weight_grad = ctx.saved_tensors
        return states_grad * slope, None if weight_grad is None else weight_grad * slope, None


class LikeLengths(torch.utils.data.Sampler):  # type: ignore[misc]
    """Rows of like lengths in one batch, in an order that seed and epoch alone decide.

    transformers draws it from torch's common generator, so that a tuning that goes on from a checkpoint reads some rows
    twice and others never, and by the rows that one process has in a step, so that several bring other ones together.

    Args:
        trainer: whose state says how far it is.
        drawn: transformers' sampler, which draws the order.
    """

    def __init__(self, trainer: Any, drawn: Any) -> None:
        self.trainer = trainer
        self.drawn = drawn

    def __len__(self) -> int:
        return len(self.drawn)

    def __iter__(self) -> Iterator[int]:
        args = self.trainer.args
        rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        epoch = self.trainer.state.global_step // math.ceil(len(self) / rows)
        self.drawn.generator = torch.Generator().manual_seed(args.seed + epoch)
        self.drawn.batch_size = rows
        return iter(self.drawn)


class OutputTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, whose vocabulary sees only tokens with a loss on a CPU, and each of them once.

    A generator reads a page and writes a line, and a rater a word: the projection to a large vocabulary is most of the
    work if it is made for every token. TRL spares that on GPUs alone. The loss is TRL's: the sum over output tokens, by
    their number in all batches of a step.
    """

    _plain = True

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        drawn = super()._get_train_sampler(train_dataset)
        return LikeLengths(self, drawn) if self.args.train_sampling_strategy == "group_by_length" else drawn

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one batch, as TRL reckons it."""
        labels = inputs.get("labels")
        head = self.accelerator.unwrap_model(model).get_output_embeddings()
        if (
            return_outputs
            or labels is None
            or labels.device.type != "cpu"
            or not model.training
            or not self._plain
            or self.aux_loss_enabled
            or type(head) is not torch.nn.Linear
            or head.bias is not None
            or head.weight.dtype != torch.float32
        ):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        wanted = labels[:, 1:] != -100
        least = int(wanted.sum())
        if not least:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        kept: list[torch.Tensor] = []

        def thin(module: torch.nn.Module, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            kept.append(given[0][:, :-1][wanted])
            return (kept[0][:1],)

        # The model's own forward stays in charge: what it does with logits is seen on those of one token.
        thinned = head.register_forward_pre_hook(thin)
        try:
            read = {name: value for name, value in inputs.items() if name != "labels"}
            seen = model(**read, use_cache=False).logits
        finally:
            thinned.remove()
        (states,) = kept
        with torch.no_grad():
            self._plain = torch.allclose(seen, head(states[:1]), atol=1e-4)
        if not self._plain:
            # It bends or scales them, as Gemma 2 and Cohere do.
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss: torch.Tensor = HeadLoss.apply(states, head.weight, labels[:, 1:][wanted])
        loss = loss / torch.as_tensor(least if num_items_in_batch is None else num_items_in_batch).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            # Gradients are averaged over processes, and the number counted the tokens of them all.
            loss = loss * self.accelerator.num_processes
        return loss
