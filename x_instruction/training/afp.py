"""AFP's tuning: TRL's loss on outputs, and a contrast between the states of parallel sentences (method.md 3.2, 4.7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from x_instruction.config.training import Align
from x_instruction.engines.local.hidden_states import hidden_states, pool
from x_instruction.errors import MissingExtra, RecipeError
from x_instruction.training.contrastive import gathered, info_nce
from x_instruction.training.trainer import OutputTrainer

try:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "trl", "train") from error

# Columns of a row with its parallel sentences, and the collator's keys: 2n sentences, then what is no padding in them.
COLUMNS = ("sentence_ids", "parallel_ids")
PAIRS = ("pair_ids", "pair_mask")
_JOINED = "packing joins rows, and [align] wants them apart: set train.packing = false"


def check(align: Align, model_config: PreTrainedConfig) -> None:
    """Refuse a layer that the model does not have.

    Raises:
        RecipeError: naming the last layer.
    """
    depth = int(model_config.get_text_config().num_hidden_layers)
    if align.layer > depth:
        raise RecipeError(
            f"align.layer is {align.layer} and the model has {depth} layers: name one from 0 (embeddings) to {depth}"
        )


def check_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Refuse rows of which no two have parallel sentences: there would be nothing to contrast.

    Args:
        rows: with ``sentence`` and ``parallel``; read to the second one that has both.

    Raises:
        RecipeError: saying which mixer writes them.
    """
    found = 0
    for row in rows:
        found += all(_text(row, name) for name in ("sentence", "parallel"))
        if found == 2:
            return
    raise RecipeError(
        f"[align] contrasts parallel sentences, and {found or 'none'} of the rows "
        f"{'has' if found else 'have'} sentence and parallel, wanted two at least: "
        "mix rows with the mixer afp, or leave [align] out"
    )


def columns(row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> dict[str, list[int]]:
    """``sentence_ids`` and ``parallel_ids`` of a row, with the tokenizer's own special tokens, as the model reads text.

    Both are empty where one of the texts is missing or empty: such a row takes no part in the contrast.

    Args:
        row: with ``sentence`` and ``parallel``, or without.
        tokenizer: the model's.
        max_tokens: longest sentence; the end of a longer one is not read.
    """
    texts = [_text(row, name) for name in ("sentence", "parallel")]
    if not all(texts):
        return {name: [] for name in COLUMNS}
    read = [list(tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"]) for text in texts]
    return dict(zip(COLUMNS, read if all(read) else [[], []], strict=True))


def _text(row: Mapping[str, Any], name: str) -> str:
    return str(row.get(name) or "").strip()


class AlignmentCollator:
    """Pre-tokenised rows into a padded batch, their parallel sentences beside it.

    A row has ``input_ids``, ``labels`` (-100 where there is no loss) or ``completion_mask`` (1 on output tokens), and
    where it takes part ``sentence_ids`` and ``parallel_ids``. The batch has ``input_ids``, ``attention_mask`` and
    ``labels`` ``(rows, length)``, and ``pair_ids`` and ``pair_mask`` ``(2n, length)``: n sentences, then the parallel
    one of each. Padding stands on the right.

    Args:
        pad: token id of padding; no state of it is read.
    """

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch.

        Raises:
            ValueError: a row says nowhere which of its tokens are output.
        """
        ids, mask = self._padded([row["input_ids"] for row in rows])
        labels, _ = self._padded([_labels(row) for row in rows], ids.shape[1])
        both = [row for row in rows if all(row.get(name) for name in COLUMNS)]
        pair_ids, pair_mask = self._padded([row[name] for name in COLUMNS for row in both])
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels.masked_fill(mask == 0, -100)}
        return batch | dict(zip(PAIRS, (pair_ids, pair_mask), strict=True))

    def _padded(self, rows: Sequence[Sequence[int]], width: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask ``(rows, longest)``."""
        width = max([width, *map(len, rows)])
        ids = torch.full((len(rows), width), self.pad)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[place, : len(row)] = 1
        return ids, mask


def _labels(row: Mapping[str, Any]) -> list[int]:
    ids = row["input_ids"]
    marks = row.get("labels") or row.get("completion_mask")
    if marks is None or len(marks) != len(ids):
        raise ValueError(
            f"a row of {len(ids)} tokens has {'no' if marks is None else len(marks)} labels: "
            "wanted labels or completion_mask, one for every token"
        )
    if row.get("labels"):
        return list(marks)
    return [token if mark else -100 for token, mark in zip(ids, marks, strict=True)]


class AlignmentTrainer(OutputTrainer):
    """``SFTTrainer`` with ``contrast_weight * L_CL + output_weight * L_CIF`` as its loss (method.md 4.7).

    - ``L_CIF`` is TRL's own: cross-entropy of the output tokens, over all tokens of an optimizer step.
    - ``L_CL`` is InfoNCE among the pairs of one micro-batch on all devices together. Gradient accumulation adds no
      negatives: the contrast is the mean over the micro-batches of a step, so ``device_batch_size`` decides how many
      negatives there are. A micro-batch with fewer than two pairs on all devices counts as 0.

    Logged besides ``loss``: ``output_loss``; ``contrast_loss``, the mean over the micro-batches that have one; and
    ``contrast_pairs``, pairs in a micro-batch, so that it is seen when few rows take part.

    Rows are pre-tokenised, as ``AlignmentCollator`` wants them, with ``columns``; packing joins rows and cannot be.

    Args:
        align: AFP's settings.
        data_collator: in place of ``AlignmentCollator``; gives the same keys.
        named: as for ``SFTTrainer``.

    Raises:
        RecipeError: the model has no such layer, rows are packed, one row is all there is in a micro-batch, or the
            weights are spread over devices (FSDP, DeepSpeed), where no layer is whole outside of the trainer's call.
    """

    def __init__(self, *, align: Align, data_collator: Any = None, **named: Any) -> None:
        self.align = align
        super().__init__(data_collator=data_collator, **named)
        check(align, self.model.config)
        if self.padding_free:
            raise RecipeError(_JOINED)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise RecipeError("[align] needs whole weights on every device: tune without FSDP and DeepSpeed")
        if align.contrast_weight and self.args.per_device_train_batch_size * self.args.world_size < 2:
            raise RecipeError("[align] contrasts the rows of one micro-batch: set train.device_batch_size to 2 or more")
        if data_collator is None:
            # Only now: without one TRL sees to it that there is a token for padding.
            self.data_collator = AlignmentCollator(self._tokenizer.pad_token_id)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, packing: bool, *given: Any) -> Any:
        if packing:
            raise RecipeError(_JOINED)
        # The loss is on outputs only whatever the arguments say, so the mask becomes labels here and not in TRL.
        if "labels" not in dataset.column_names:
            dataset = dataset.map(lambda row: {"labels": _labels(row)}, remove_columns="completion_mask")
        return super()._prepare_dataset(dataset, processing_class, args, packing, *given)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns += [name for name in COLUMNS if name not in self._signature_columns]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted sum; both parts are kept for the log."""
        rest = {name: value for name, value in inputs.items() if name not in PAIRS}
        output, *more = self._output(model, rest, return_outputs, num_items_in_batch)
        # Given the tokens of the whole step, TRL's loss is a micro-batch's share of it, and ours must be one too.
        steps = self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1
        self._keep("output_loss", self.accelerator.gather(output.detach() * steps).mean())
        contrast = self._contrast(*(inputs[name] for name in PAIRS))
        loss = self.align.output_weight * output + self.align.contrast_weight * contrast / steps
        return (loss, *more) if return_outputs else loss

    def _output(self, model: Any, rest: dict[str, Any], return_outputs: bool, tokens: Any) -> tuple[Any, ...]:
        found = super().compute_loss(model, rest, return_outputs=return_outputs, num_items_in_batch=tokens)
        return found if return_outputs else (found,)

    def _contrast(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | float:
        """InfoNCE over the pairs of all devices, or 0."""
        if not self.align.contrast_weight:
            return 0.0
        left, right = (gathered(side) for side in self._pooled(ids, mask).chunk(2))
        self._keep("contrast_pairs", float(len(left)))
        if len(left) < 2:
            return 0.0
        contrast = info_nce(left, right, self.align.temperature, self.align.symmetric)
        self._keep("contrast_loss", contrast.detach())
        return contrast

    def _pooled(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """One state per sentence, ``(2n, width)`` float32."""
        network: PreTrainedModel = self.accelerator.unwrap_model(self.model)
        if not len(ids):
            return torch.zeros((0, network.config.get_text_config().hidden_size), device=ids.device)
        # Data parallelism's own call is for the outputs: a second one would begin its exchange of gradients anew.
        with self.accelerator.autocast():
            hidden = hidden_states(network, ids, mask, self.align.layer)
        return pool(hidden, mask, self.align.pooling).float()

    def _keep(self, name: str, value: torch.Tensor | float) -> None:
        self._metrics["train" if self.model.training else "eval"][name].append(float(value))
