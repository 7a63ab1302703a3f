"""AFP's training: TRL's loss on outputs, plus a contrastive loss between the states of parallel sentences.

AFP is arXiv 2311.08089; docs/method.md describes its data in 3.2 and its loss in 4.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from x_instruction.config.training import Align
from x_instruction.engines.local.hidden_states import hidden_states, pool
from x_instruction.errors import MissingExtra, RecipeError
from x_instruction.training.contrastive import gather_rows, info_nce
from x_instruction.training.trainer import OutputTrainer

try:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "trl", "train") from error

# Columns of a row with its parallel sentences.
COLUMNS = ("sentence_ids", "parallel_ids")
# Keys of a batch with its parallel sentences: token ids and attention mask of 2n sentences.
PAIRS = ("pair_ids", "pair_mask")
_PACKING = "[align] needs separate rows, and packing joins them: set train.packing = false"


def check_layer(align: Align, model_config: PreTrainedConfig) -> None:
    """Reject a layer that the model does not have.

    Raises:
        RecipeError: names the last layer.
    """
    depth = int(model_config.get_text_config().num_hidden_layers)
    if align.layer > depth:
        raise RecipeError(
            f"align.layer is {align.layer} and the model has {depth} layers, expected 0 (embeddings) to {depth}"
        )


def check_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Reject rows of which fewer than two have parallel sentences, since the contrast needs negatives.

    Args:
        rows: rows with or without ``sentence`` and ``parallel``; read up to the second one that has both.

    Raises:
        RecipeError: names the mixer that writes such rows.
    """
    number = 0
    for row in rows:
        number += all(_text(row, name) for name in ("sentence", "parallel"))
        if number == 2:
            return
    raise RecipeError(
        f"[align] needs at least 2 rows with sentence and parallel, and the data has {number}: mix rows with the mixer "
        "afp, or remove [align]"
    )


def sentence_columns(
    row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> dict[str, list[int]]:
    """``sentence_ids`` and ``parallel_ids`` of a row, with the tokenizer's special tokens.

    Both are empty if one of the texts is missing or empty; such a row takes no part in the contrast.

    Args:
        row: a row with or without ``sentence`` and ``parallel``.
        tokenizer: the model's tokenizer.
        max_tokens: longer sentences are truncated.
    """
    texts = [_text(row, name) for name in ("sentence", "parallel")]
    if not all(texts):
        return {name: [] for name in COLUMNS}
    ids = [
        list(tokenizer(text, truncation=True, max_length=max_tokens, split_special_tokens=True)["input_ids"])
        for text in texts
    ]
    return dict(zip(COLUMNS, ids if all(ids) else [[], []], strict=True))


def _text(row: Mapping[str, Any], name: str) -> str:
    return str(row.get(name) or "").strip()


class AlignmentCollator:
    """Collates tokenized rows and their parallel sentences into padded tensors.

    A row has ``input_ids``, and ``labels`` (-100 for tokens without a loss) or ``completion_mask`` (1 for output
    tokens). If it takes part in the contrast, it also has ``sentence_ids`` and ``parallel_ids``. The batch has
    ``input_ids``, ``attention_mask`` and ``labels``, all ``(rows, length)``, and ``pair_ids`` and ``pair_mask``, both
    ``(2n, length)``: n sentences followed by their n translations. Padding is on the right.

    Args:
        pad: token id for padding.
    """

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate a batch.

        Raises:
            ValueError: a row has neither ``labels`` nor ``completion_mask`` of its length.
        """
        ids, mask = self._padded([row["input_ids"] for row in rows])
        labels, _ = self._padded([_labels(row) for row in rows], ids.shape[1])
        aligned = [row for row in rows if all(row.get(name) for name in COLUMNS)]
        pair_ids, pair_mask = self._padded([row[name] for name in COLUMNS for row in aligned])
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels.masked_fill(mask == 0, -100)}
        return batch | dict(zip(PAIRS, (pair_ids, pair_mask), strict=True))

    def _padded(self, rows: Sequence[Sequence[int]], width: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, both ``(rows, longest)``."""
        width = max([width, *map(len, rows)])
        ids = torch.full((len(rows), width), self.pad)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
            mask[row, : len(tokens)] = 1
        return ids, mask


def _labels(row: Mapping[str, Any]) -> list[int]:
    ids = row["input_ids"]
    labels = row.get("labels") or row.get("completion_mask")
    if labels is None or len(labels) != len(ids):
        raise ValueError(
            f"a row of {len(ids)} tokens has {'no' if labels is None else len(labels)} labels, "
            "expected labels or completion_mask with one value per token"
        )
    if row.get("labels"):
        return list(labels)
    return [token if is_output else -100 for token, is_output in zip(ids, labels, strict=True)]


class AlignmentTrainer(OutputTrainer):
    """``SFTTrainer`` with AFP's loss, ``contrast_weight * L_CL + output_weight * L_CIF`` (docs/method.md 4.7).

    - ``L_CIF`` is TRL's loss: cross-entropy of the output tokens, over all tokens of an optimizer step.
    - ``L_CL`` is InfoNCE over the pairs of one micro-batch on all devices together. Gradient accumulation adds no
      negatives: the contrastive loss is averaged over the micro-batches of a step, so ``device_batch_size`` sets the
      number of negatives. A micro-batch with fewer than two pairs on all devices counts as 0.

    Logs, besides ``loss``: ``output_loss``; ``contrast_loss``, the mean over micro-batches that have one; and
    ``contrast_pairs``, the number of pairs per micro-batch, which shows whether enough rows take part.

    Rows are tokenized, for ``AlignmentCollator``, with the columns of ``sentence_columns``.

    Args:
        align: AFP's settings.
        data_collator: replaces ``AlignmentCollator``; must return the same keys.
        kwargs: arguments of ``SFTTrainer``.

    Raises:
        RecipeError: the model has no such layer, rows are packed, a micro-batch has a single row, or the weights are
            sharded (FSDP, DeepSpeed), since a layer is then complete only inside of the trainer's own forward pass.
    """

    def __init__(self, *, align: Align, data_collator: Any = None, **kwargs: Any) -> None:
        self.align = align
        super().__init__(data_collator=data_collator, **kwargs)
        check_layer(align, self.model.config)
        if self.padding_free:
            raise RecipeError(_PACKING)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise RecipeError("[align] needs whole weights on every device: train without FSDP and DeepSpeed")
        if align.contrast_weight and self.args.per_device_train_batch_size * self.args.world_size < 2:
            raise RecipeError("[align] contrasts the rows of one micro-batch: set train.device_batch_size to 2 or more")
        if data_collator is None:
            # Only now: TRL makes sure that there is a padding token while it sets up its own collator.
            self.data_collator = AlignmentCollator(self._tokenizer.pad_token_id)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, packing: bool, *rest: Any) -> Any:
        if packing:
            raise RecipeError(_PACKING)
        # TRL applies the mask only under some arguments; here the loss is always on outputs only.
        if "labels" not in dataset.column_names:
            dataset = dataset.map(lambda row: {"labels": _labels(row)}, remove_columns="completion_mask")
        return super()._prepare_dataset(dataset, processing_class, args, packing, *rest)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns += [name for name in COLUMNS if name not in self._signature_columns]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted sum of both losses, which are also logged."""
        output_inputs = {name: value for name, value in inputs.items() if name not in PAIRS}
        output, *outputs = self._output(model, output_inputs, return_outputs, num_items_in_batch)
        # With num_items_in_batch, TRL's loss is the micro-batch's share of the loss of a step, so ours must be too.
        steps = self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1
        self._log_metric("output_loss", self.accelerator.gather(output.detach() * steps).mean())
        contrast = self._contrast(*(inputs[name] for name in PAIRS))
        loss = self.align.output_weight * output + self.align.contrast_weight * contrast / steps
        return (loss, *outputs) if return_outputs else loss

    def _output(self, model: Any, inputs: dict[str, Any], return_outputs: bool, tokens: Any) -> tuple[Any, ...]:
        result = super().compute_loss(model, inputs, return_outputs=return_outputs, num_items_in_batch=tokens)
        return result if return_outputs else (result,)

    def _contrast(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | float:
        """InfoNCE over the pairs of all devices; 0 with fewer than two pairs."""
        if not self.align.contrast_weight:
            return 0.0
        left, right = (gather_rows(side) for side in self._pooled(ids, mask).chunk(2))
        self._log_metric("contrast_pairs", float(len(left)))
        if len(left) < 2:
            return 0.0
        contrast = info_nce(left, right, self.align.temperature, self.align.symmetric)
        self._log_metric("contrast_loss", contrast.detach())
        return contrast

    def _pooled(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """One vector per sentence, ``(2n, width)`` float32."""
        network: PreTrainedModel = self.accelerator.unwrap_model(self.model)
        if not len(ids):
            return torch.zeros((0, network.config.get_text_config().hidden_size), device=ids.device)
        # On the unwrapped model: a second forward pass through DistributedDataParallel would restart its gradient
        # exchange.
        with self.accelerator.autocast():
            hidden = hidden_states(network, ids, mask, self.align.layer)
        return pool(hidden, mask, self.align.pooling).float()

    def _log_metric(self, name: str, value: torch.Tensor | float) -> None:
        self._metrics["train" if self.model.training else "eval"][name].append(float(value))
