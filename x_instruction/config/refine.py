"""How candidates are rated, and which are kept."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from x_instruction.config.fields import (
    ALSO_TRAINING,
    INPUT_ONLY,
    TRAINING_ONLY,
    AnyFloat,
    Invalid,
    NotNegative,
    NotNegativeFloat,
    Positive,
    PositiveShare,
    Share,
    Strings,
)
from x_instruction.config.model import Model
from x_instruction.config.section import Section
from x_instruction.config.training import TrainConfig
from x_instruction.errors import RecipeError

LabelStrategy = Literal[
    "pair",
    "truncated",
    "shuffled",
    "foreign",
    "hard-negative",
    "weak-instruction",
    "weak-response",
    "random-negative",
    "untranslated",
]


# Raters that ask no language model, so that none has to exist.
UNASKED = ("consensus", "none")


class Refine(Section):
    """How candidates are rated, and which are kept (paper, section 3.2; docs/method.md 2.3)."""

    rater: Literal["trained", "pmi", "contrastive", "consensus", "prompted", "combined", "none"]
    """`trained` (the paper's: answers with 1 of 3 levels), `pmi` (mutual information of instruction and response),
    `contrastive` (an instruction's likelihood given its own response against others), `consensus` (agreement of the
    candidates of a response), `prompted` (a rubric), `combined` (a logistic combination), or `none`, which keeps the
    first candidates unread."""
    model: Model | None = None
    """The rater's model. Required, except with `rater = "none"` and `"consensus"`, which ask no model."""
    min_score: AnyFloat = 0.0
    """Pairs with a lower score are dropped. In the rater's own scale. Ignored if `precision` is set."""
    precision: Share | None = None
    """Share of kept pairs that should be good (`trained` only). The threshold is the lowest score that reaches it on
    the rater's validation pairs."""
    prior: Annotated[PositiveShare, TRAINING_ONLY] = 0.2
    """Expected share of good pairs among the candidates, for which probabilities and `precision` are stated (`trained`
    only). In Humpback's labelled sample it is 0.2."""
    keep: Positive = 1
    """Candidates to keep per passage, best first."""
    direction: Literal["response", "instruction"] = "response"
    """For `pmi`: whose likelihood is compared, that of the `response` given the instruction or that of the
    `instruction` given the response. For an ideal model both are equal (Bayes). `instruction` is many times cheaper,
    because the candidates of a passage share its computation."""
    response_tokens: Annotated[Positive, ALSO_TRAINING] = 256
    """Most tokens of a response that the rater reads."""
    tail_share: Annotated[Share | None, ALSO_TRAINING] = None
    """For `prompted` and `trained`: share of `response_tokens` taken from the end of a longer response. `[…]` marks
    what is left out. If not set, a third for `prompted` and 0 for `trained`. An adapter needs the value it was trained
    with."""
    prompt: Annotated[str, ALSO_TRAINING] = "auto"
    """Name of a rating prompt, or path of a text file. `auto` is the one for the rater and the model."""
    per_token: bool = False
    """For `pmi` by `instruction` and `contrastive`: divide the score by the number of tokens of the instruction."""
    other_pages: Positive = 3
    """For `contrastive`: number of other responses of the shard (of its 2,000 passages, in a larger one) that an
    instruction is compared on."""
    embedder: str = "embedded"
    """For `consensus`: sentence encoder of the instructions, `embedded` or the Hub id or folder of one."""
    embedder_revision: str = "main"
    """For `consensus`: branch, tag or commit of `embedder` on the Hub."""
    weights: str | None = None
    """For `combined`: file with the weights. If not set, `combined.json` beside the adapter, or else the weights that
    are included."""
    train: Annotated[TrainConfig | None, TRAINING_ONLY] = None
    """Trains the rater (`trained` or `combined`) on pairs of known levels made from the seeds. Without this section
    `model.adapter` is a rater that was trained before."""
    init_from: Annotated[Literal["base", "generator"], TRAINING_ONLY] = "base"
    """What the rater is trained from: the `base`, or the `generator` of the same round."""
    label_strategies: Annotated[tuple[LabelStrategy, ...], Field(strict=False), TRAINING_ONLY] = (
        "pair",
        "truncated",
        "shuffled",
        "foreign",
        "hard-negative",
        "random-negative",
    )
    """How pairs of known levels are made from seeds. Best: `pair`, the seed itself. Flawed: `truncated` (the response
    stops early), `shuffled` (its sentences in another order), `foreign` (some of its sentences are in another
    language), `hard-negative` (the instruction of the most similar other document), `weak-instruction` and
    `weak-response` (written by the untrained generator). Worst: `random-negative` (the instruction of any other
    document) and `untranslated` (the response is in the language of the instruction: that of a seed of the same
    document if `seeds.languages` has that language, else a copy of the instruction). Without `untranslated`, a rater
    can prefer English text to its translation."""
    label_files: Annotated[Strings, INPUT_ONLY] = ()
    """Files of pairs that people judged, which the rater is trained and calibrated on beside those made from seeds. A
    row has `instruction`, `text` (or `output`), `language`, and a `level`, a `label` or a `score` from 1 to 5."""
    per_level: Annotated[Positive, TRAINING_ONLY] = 1
    """Most examples of each level from 1 seed."""
    validation: Annotated[Share, TRAINING_ONLY] = 0.1
    """Share of the seed documents held out to calibrate the rater and to choose thresholds."""
    rounds: Annotated[NotNegative, INPUT_ONLY] = 0
    """Rounds after the first rating. Each round trains the generator and the rater again on the seeds and the kept
    pairs, writes new instructions for passages without a kept pair, and rates all candidates again. Humpback has 2."""
    kept_per_seed: Annotated[NotNegativeFloat, TRAINING_ONLY] = 1.0
    """Most kept pairs that the models of the next round are trained on, per seed, best first."""
    convergence_tolerance: Annotated[Share, INPUT_ONLY] = 0.01
    """Rounds end early when the number of kept pairs per passage changes by less than this."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model is None and self.rater not in UNASKED:
            raise Invalid("model", f'is missing, expected the model that the rater "{self.rater}" asks')
        if self.rater not in UNASKED and self.rater_model.enable_thinking:
            raise Invalid(
                "model.enable_thinking",
                "is true, expected false: raters read the probabilities of the first token, so the model must answer "
                "at once",
            )
        if self.train and self.rater not in ("trained", "combined"):
            raise Invalid("train", f'is set and rater is "{self.rater}", expected rater = "trained" or "combined"')
        if self.label_files and not self.train:
            raise Invalid("label_files", "is set, expected a section [refine.train]: only training reads these files")
        if self.precision is not None and self.rater != "trained":
            raise Invalid(
                "precision",
                f'is {self.precision:g} and rater is "{self.rater}", expected rater = "trained": its thresholds are '
                "fitted to its own probabilities; set min_score instead",
            )
        return self

    @property
    def rater_model(self) -> Model:
        """The rater's model.

        Raises:
            RecipeError: the recipe names none.
        """
        if self.model is None:
            raise RecipeError("refine.model is missing, and the rater asks a model: set it")
        return self.model
