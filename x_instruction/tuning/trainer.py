"""TRL's trainer, with less work for the vocabulary on a CPU."""

from __future__ import annotations

from typing import Any

from x_instruction.errors import MissingExtra

try:
    import torch
    from trl import SFTTrainer
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "trl", "train") from error

# Outputs that are more than this share of the tokens are left to TRL, and so are logits beyond 2 GiB.
_SHORT = 0.5
_LOGITS = 1 << 29


class OutputTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, whose vocabulary sees only tokens with a loss on a CPU, too.

    A generator reads a page and writes a line, and a rater a word: the projection to a large vocabulary is most of the
    work if it is made for every token. TRL spares that on GPUs alone. The loss is TRL's: the sum over output tokens, by
    their number in all batches of a step.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one batch, as TRL reckons it."""
        labels = inputs.get("labels")
        if return_outputs or labels is None or labels.device.type != "cpu" or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        wanted = labels[:, 1:] != -100
        head = self.accelerator.unwrap_model(model).get_output_embeddings()
        least = int(wanted.sum())
        if not 0 < least <= min(_SHORT * wanted.numel(), _LOGITS // head.weight.shape[0]):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # The model's own forward stays in charge of what it does with logits; the hook only thins them out.
        thinned = head.register_forward_pre_hook(lambda module, given: (given[0][:, :-1][wanted],))
        try:
            read = {name: value for name, value in inputs.items() if name != "labels"}
            logits = model(**read, use_cache=False).logits.float()
        finally:
            thinned.remove()
        loss = torch.nn.functional.cross_entropy(logits, labels[:, 1:][wanted], reduction="sum")
        loss = loss / torch.as_tensor(least if num_items_in_batch is None else num_items_in_batch).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            # Gradients are averaged over processes, and the number counted the tokens of them all.
            loss = loss * self.accelerator.num_processes
        return loss
