"""TRL's trainer with a faster loss on CPUs: the output projection runs on output tokens only."""

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

# Logits in memory at once: 128 MiB in float32.
_LOGITS = 1 << 25


class HeadLoss(torch.autograd.Function):  # type: ignore[misc]
    """Cross-entropy of a linear head, summed over tokens. The gradients are computed in the forward pass.

    Logits are computed once, in blocks of tokens, and not stored. That saves one product with the vocabulary compared
    with recomputing them in the backward pass, and all the statistics that TRL logs.
    """

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss in nats.

        Args:
            states: ``(tokens, width)``, float32.
            weight: ``(vocabulary, width)``.
            targets: ``(tokens,)``.
        """
        loss = states.new_zeros(())
        states_grad = torch.empty_like(states)
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        size = max(1, _LOGITS // weight.shape[0])
        for block, target, grad in zip(
            states.split(size), targets[:, None].split(size), states_grad.split(size), strict=True
        ):
            logits = block @ weight.T
            total = torch.logsumexp(logits, dim=-1, keepdim=True)
            loss += (total - logits.gather(1, target)).sum()
            # The gradient of the loss by the logits: softmax minus one-hot, computed in place.
            logits_grad = logits.sub_(total).exp_()
            logits_grad.scatter_add_(1, target, logits_grad.new_full(target.shape, -1.0))
            torch.mm(logits_grad, weight, out=grad)
            if weight_grad is not None:
                weight_grad.addmm_(logits_grad.T, block)
        ctx.save_for_backward(states_grad, weight_grad)
        return loss

    @staticmethod
    def backward(ctx: Any, loss_grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Gradients of states and weight."""
        states_grad, weight_grad = ctx.saved_tensors
        return states_grad * loss_grad, None if weight_grad is None else weight_grad * loss_grad, None


class LengthGroupedSampler(torch.utils.data.Sampler):  # type: ignore[misc]
    """Groups rows of similar length into batches, in an order that depends on seed and epoch only.

    The sampler of transformers draws from torch's global generator, so training that resumes from a checkpoint would
    see some rows twice and others never. It also groups by the batch of one process, so several processes would form
    other batches than one.

    Args:
        trainer: the trainer, whose state has the current step.
        sampler: transformers' sampler, which computes the order.
    """

    def __init__(self, trainer: Any, sampler: Any) -> None:
        self.trainer = trainer
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        args = self.trainer.args
        rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        epoch = self.trainer.state.global_step // math.ceil(len(self) / rows)
        self.sampler.generator = torch.Generator().manual_seed(args.seed + epoch)
        self.sampler.batch_size = rows
        return iter(self.sampler)


class OutputTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, which on a CPU applies the output projection only to tokens with a loss, and only once.

    A generator reads a page and writes a line, and a rater writes a word, so projecting every token to a large
    vocabulary would be most of the work. TRL avoids that on GPUs only. The loss is the same as TRL's: the sum over
    output tokens, divided by their number in all batches of a step.
    """

    # False once the model is found to change its logits after the output projection.
    _plain = True

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(train_dataset)
        grouped = self.args.train_sampling_strategy == "group_by_length"
        return LengthGroupedSampler(self, sampler) if grouped else sampler

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one batch, equal to TRL's."""
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
            or head.weight.dtype not in (torch.float32, torch.bfloat16)
        ):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        has_loss = labels[:, 1:] != -100
        count = int(has_loss.sum())
        if not count:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        captured: list[torch.Tensor] = []

        def keep_one(module: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            captured.append(args[0][:, :-1][has_loss])
            return (captured[0][:1],)

        # The model's own forward pass runs, with an output projection of a single token. The logits of this token show
        # whether the model changes them after the projection.
        hook = head.register_forward_pre_hook(keep_one)
        try:
            model_inputs = {name: value for name, value in inputs.items() if name != "labels"}
            logits = model(**model_inputs, use_cache=False).logits
        finally:
            hook.remove()
        (states,) = captured
        with torch.no_grad():
            self._plain = torch.allclose(logits, head(states[:1]), atol=1e-4)
        if not self._plain:
            # It caps or scales its logits, such as Gemma 2 and Cohere.
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # Logits in bfloat16 would have two to three digits.
        loss: torch.Tensor = HeadLoss.apply(states.float(), head.weight.float(), labels[:, 1:][has_loss])
        loss = loss / torch.as_tensor(count if num_items_in_batch is None else num_items_in_batch).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            # num_items_in_batch counts the tokens of all processes, and gradients are averaged over processes.
            loss = loss * self.accelerator.num_processes
        return loss
