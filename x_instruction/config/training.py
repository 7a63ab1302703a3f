"""What a model is trained from, and how: training recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from x_instruction.config.fields import (
    ANSWER_TAG,
    RUNTIME_ONLY,
    Invalid,
    NotNegative,
    NotNegativeFloat,
    PlainName,
    Positive,
    PositiveFloat,
    Share,
    Strings,
    Template,
)
from x_instruction.config.files import Recipes
from x_instruction.config.model import Model
from x_instruction.config.section import Section


class TrainConfig(Section):
    """How a model is trained. TRL and PEFT do the work (extra `train`).

    The defaults suit LoRA on a small set. Humpback trains all weights with `learning_rate = 1e-5`,
    `min_lr_ratio = 0.9`, `weight_decay = 0.1` and `batch_size = 32` (docs/method.md 2.8 U8).
    """

    method: Literal["lora", "qlora", "full"] = "lora"
    """`lora`, `qlora` (the base in 4 bits, needs a GPU) or `full`
    (all weights)."""
    rank: Positive = 16
    """Rank of the adapter's matrices."""
    alpha: Positive = 32
    """LoRA's scaling factor: updates are multiplied by `alpha / rank`."""
    dropout: Share = 0.0
    """Dropout of the adapter's inputs."""
    target_modules: Annotated[Strings, Field(min_length=1)] = ("all-linear",)
    """Names of the layers that are adapted. `all-linear` is every linear layer except the output layer."""
    learning_rate: PositiveFloat = 2e-4
    """Peak learning rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate decays after the warm-up: `linear`, `cosine` or `constant` (not at all)."""
    min_lr_ratio: Share = 0.0
    """Final learning rate, as a share of the peak."""
    warmup_ratio: Share = 0.03
    """Share of the steps over which the learning rate rises from 0."""
    weight_decay: NotNegativeFloat = 0.0
    """Weight decay of AdamW."""
    max_grad_norm: PositiveFloat = 1.0
    """Norm to which gradients are clipped."""
    epochs: PositiveFloat = 1.0
    """Passes over the rows. May be a fraction."""
    steps: Positive | None = None
    """Optimizer steps. If set, `epochs` is ignored."""
    batch_size: Positive = 32
    """Rows per optimizer step, over all devices."""
    device_batch_size: Annotated[Positive, RUNTIME_ONLY] = 8
    """Rows on one device at once. The rest of `batch_size` is accumulated."""
    max_tokens: Positive | None = None
    """Longest row, in tokens. If not set, `length_percentile` of the rows fit."""
    length_percentile: Annotated[float, Field(gt=0, le=100)] = 99.0
    """Percentage of the rows that fit untruncated when `max_tokens` is not set. All rows fit for the generator and the
    rater of a run, whose rows are truncated before (`passage_tokens`, `response_tokens`)."""
    packing: bool = False
    """Pack short rows into one sequence. Rows do not attend to each other."""
    sampling: Literal["random", "by_length", "sequential"] = "random"
    """Order of the rows. `random`. `by_length`: rows of similar length in one batch, with less padding; for raters it
    skews batches, because length hints at the answer. `sequential`: as they come; a rater's rows come by document, so
    good and bad pairs of one response share a batch."""
    gradient_checkpointing: Annotated[bool, RUNTIME_ONLY] = False
    """Recompute activations instead of keeping them: less memory, a third more work."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Data type of the weights in training. `auto` is float32 on a CPU. On a GPU it is bfloat16, or for `full` float32
    weights with bfloat16 computation."""
    device: Annotated[Literal["auto", "cpu", "cuda"], RUNTIME_ONLY] = "auto"
    """Device to train on: `auto`, `cpu` or `cuda`. CUDA_VISIBLE_DEVICES selects the GPUs."""
    threads: Positive | None = None
    """CPU threads of a training process. Another number rounds sums differently. If not set, torch chooses."""
    processes: Annotated[Positive | None, RUNTIME_ONLY] = None
    """Processes that share the work, one GPU each. If not set, one per visible GPU."""
    save_steps: Annotated[Positive, RUNTIME_ONLY] = 50
    """Steps between checkpoints. Interrupted training resumes from the last one."""
    log: Annotated[Literal["none", "tensorboard", "trackio"], RUNTIME_ONLY] = "none"
    """Where losses are logged besides the model's own record: `none`, `tensorboard` or `trackio`."""
    seed: int = 0
    """Random seed for the order of the rows, the adapter's initial weights and dropout."""
    per_language: bool = False
    """In a run: train one model per language on that language's seeds, instead of one for all."""

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        if self.batch_size % self.device_batch_size and self.batch_size > self.device_batch_size:
            raise Invalid(
                "batch_size",
                f"is {self.batch_size}, expected a multiple of device_batch_size, {self.device_batch_size}",
            )
        return self

    def trained(self, model: Model, folder: Path) -> Model:
        """The model that this training left in a folder."""
        if self.method == "full":
            return model.replace(name=str(folder), revision="main")
        return model.replace(adapter=str(folder))


class Align(Section):
    """AFP's contrastive alignment between translations of one instruction, beside the loss on outputs.

    Rows with `sentence` and `parallel` take part, as the mixer `afp` writes them (arXiv 2311.08089; docs/method.md 3.2
    and 4.7).
    """

    temperature: PositiveFloat = 0.05
    """Temperature of the InfoNCE loss."""
    layer: NotNegative = 1
    """Hidden state to align. 0 is the embeddings, 1 the output of the first layer."""
    pooling: Literal["last", "mean"] = "last"
    """A sentence's state: that of its `last` token, or the `mean` over its tokens."""
    symmetric: bool = False
    """Average the contrast of both directions. AFP has one direction."""
    contrast_weight: NotNegativeFloat = 1.0
    """Weight of the contrastive loss. AFP has 1."""
    output_weight: NotNegativeFloat = 1.5
    """Weight of the loss on outputs. AFP has 1.5."""

    @model_validator(mode="after")
    def _some_loss(self) -> Self:
        if self.contrast_weight + self.output_weight == 0:
            raise Invalid("output_weight", "and contrast_weight are 0, expected one of them above 0")
        return self


class TrainingRecipe(Section):
    """A model to train on prompts and completions."""

    name: PlainName
    """Short name. Also names the model's folder."""
    model: Model
    """The base model."""
    license: str = ""
    """Licence of the base, for the model card. If not set, that of a known base."""
    license_link: str = ""
    """Address of the licence's text."""
    prompt: str = "auto"
    """What the model reads: `chat` (its chat template), the name or path of a text with `{instruction}`, or `auto`: the
    chat template if there is one, else `answer`."""
    tag: Template = ANSWER_TAG
    """End of the prompt of a row that is asked in another language than it is answered in. `{tag}` and `{name}` are
    those of the language of the answer. Rows of a mix keep the tags of the mix. Empty: prompts do not name the
    language, and the model has to guess it (docs/results.md)."""
    train: TrainConfig = TrainConfig()
    """How the model is trained."""
    align: Align | None = None
    """AFP's alignment. Without this section there is none."""
    lr_search_rates: Annotated[tuple[PositiveFloat, ...], Field(strict=False)] = ()
    """Learning rates to try, each for `lr_search_steps` steps. The one whose model scores best on held-out rows (share
    of answers in the right language, times quality) trains the model."""
    lr_search_steps: Positive = 50
    """Steps of each learning rate that is tried."""
    lr_search_rows: Positive = 100
    """Rows held out to compare learning rates, spread over languages."""
    answer_tokens: Positive = 48
    """Length of the answers whose language is identified, in tokens."""
    lid_model: str | None = None
    """Path of a fastText model that identifies the language of answers py3langid does not know."""


_RECIPES = Recipes(TrainingRecipe, "training recipe", "training")
load, names, text_of = _RECIPES.load, _RECIPES.names, _RECIPES.text_of
