"""The design of the experiments: what is compared, at which size, and what is expected. It is read, never guessed.

The design is a TOML file that was written before any result. ``claims`` is the one that ships.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from x_instruction.config.fields import Invalid, PlainName, Positive, Share, Strings, Tags
from x_instruction.config.section import Section, validate
from x_instruction.config.training import TrainConfig
from x_instruction.errors import RecipeError
from x_instruction.experiments.claims.pool import PoolSettings

SHIPPED = "claims"
Profile = Literal["small", "cpu", "gpu"]
Numbers = Annotated[tuple[int, ...], Field(strict=False)]


class Noise(Section):
    """Shares of the pairs that are spoilt on purpose, by kind."""

    other_page: Share = 0.15
    """The response of another page in the same language."""
    near_miss: Share = 0.10
    """The instruction of the page that is most like it."""
    half_foreign: Share = 0.10
    """Sentences of another language in the response."""
    untranslated: Share = 0.10
    """The English text as the response."""
    shuffled: Share = 0.025
    """The sentences of the response in another order."""
    furniture: Share = 0.025
    """Menus, links and notices around the text."""

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        if (total := sum(self.model_dump().values())) > 1:
            raise Invalid("other_page", f"and the other shares are {total:g} together, expected at most 1")
        return self


class Sizes(Section):
    """How much of everything there is."""

    seeds: Numbers
    """Random seeds. Each arm is trained once per seed."""
    seen: Positive
    """Held-out documents in languages that are trained on."""
    unseen_language: Positive
    """Documents in held-out languages."""
    unseen_source: Positive
    """Documents of the held-out source."""
    development: Positive
    """Documents on which combinations of raters are fitted."""
    found_prompts: Positive
    """Prompts for which the own response is searched among ten, which costs ten times as much as the gain."""
    scored_tokens: Positive
    """Tokens of a response that are scored."""
    answer_tokens: Positive
    """Tokens of an answer whose language is identified."""
    rows: Positive
    """Training rows of an arm."""
    steps: Positive
    """Training steps of an arm."""
    rater_pages: Positive
    """Pages on which raters are compared, each at six levels."""
    round_seeds: Positive
    """Seed pairs of the rounds."""
    round_pool: Positive
    """Pairs that the rounds rate and keep from."""
    round_pages: Positive
    """Held-out pages on which the raters of the rounds are compared, each at four levels."""
    round_steps: Positive
    """Training steps of a round."""
    rounds: Positive
    """Number of rounds."""
    curve: Numbers
    """Numbers of rows of the size curve."""
    multilingual: Numbers
    """Numbers of multilingual rows among English ones."""
    aligned_steps: Positive
    """Training steps of the alignment."""
    experiments: Strings
    """Which experiments are run, in this order."""


class Expectation(Section):
    """A comparison that can fail."""

    arm: str
    """What is measured."""
    baseline: str = ""
    """What it is compared with. Without one, ``low`` and ``high`` are of the figure itself."""
    measure: str
    """Name of the measure."""
    group: str = "all"
    """Which documents or flaws, such as ``all``, ``seen``, ``unseen_language`` or ``unseen_source``."""
    low: float
    """Lower end of what is expected."""
    high: float
    """Upper end of what is expected."""


class Claim(Section):
    """A claim of a paper, and the comparisons that test it."""

    id: PlainName
    """Short name."""
    experiment: PlainName
    """The experiment that tests it."""
    statement: str
    """The claim, in one sentence."""
    source: str
    """Where it comes from."""
    method: str
    """How it is tested, in one sentence."""
    expect: Annotated[tuple[Expectation, ...], Field(strict=False, min_length=1)]
    """Its comparisons. The first one decides."""
    advice: dict[Literal["shown", "open", "contradicted"], str] = Field(default_factory=dict)
    """What a user does about each verdict, in a sentence or two."""
    remark: str = ""
    """What the figures show besides. Unlike the rest, it is written after the results."""


class Design(Section):
    """A set of experiments on one pool."""

    name: PlainName
    """Short name. Also names the folder of the results."""
    model: str
    """The base model."""
    prune: bool = True
    """Cut the model's vocabulary to what the pool uses, so that training and scoring cost less."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Data type in which models are measured."""
    threads: Positive = 1
    """CPU threads of a model that is measured. Another number rounds sums differently."""
    rater_adapter: str = "embedded-rater"
    """Adapter of the trained rater, which fits the base model; empty for none."""
    test: str
    """How a comparison is decided."""
    raters: Strings
    """Features of the raters that are compared."""
    noise: Noise = Noise()
    """The noise that is planted."""
    heldout_languages: Tags
    """Languages that no model is trained on."""
    heldout_source: str
    """Source that no model is trained on. Its languages are trained on through other sources."""
    train: TrainConfig
    """How models that answer are trained."""
    rater_train: TrainConfig
    """How raters are trained in the rounds."""
    align_train: TrainConfig
    """How all weights are trained for the alignment."""
    profiles: dict[Profile, Sizes]
    """Sizes by machine: `small` shows that everything works, `cpu` takes hours, `gpu` minutes."""
    claims: Annotated[tuple[Claim, ...], Field(strict=False)]
    """The claims."""

    def with_model(self, model: str) -> Self:
        """This design with another base model. The adapter of the trained rater fits its own base only, so the rater is
        left out.
        """
        own = model == self.model
        raters = self.raters if own else tuple(name for name in self.raters if name != "trained")
        return self.replace(model=model, raters=raters, rater_adapter=self.rater_adapter if own else "")

    def held_out(self, profile: Profile) -> PoolSettings:
        """What is held out of the pool."""
        sizes = self.sizes(profile)
        return PoolSettings(
            heldout_languages=self.heldout_languages,
            heldout_source=self.heldout_source,
            seen=sizes.seen,
            unseen_language=sizes.unseen_language,
            unseen_source=sizes.unseen_source,
            development=sizes.development,
        )

    def sizes(self, profile: Profile) -> Sizes:
        """The sizes of a profile.

        Raises:
            RecipeError: the design has no such profile.
        """
        if profile not in self.profiles:
            raise RecipeError(f"profile is {profile!r}, expected one of {', '.join(self.profiles)}")
        return self.profiles[profile]


def load(source: str | Path = SHIPPED) -> Design:
    """Read a design: ``claims``, which ships, or a TOML file.

    Raises:
        RecipeError: there is no such file, or a key is wrong.
    """
    if source == SHIPPED:
        text = resources.files(__package__).joinpath("design.toml").read_text("utf-8")
    else:
        try:
            text = Path(source).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"cannot read the design {source}: {error}; name a TOML file, or {SHIPPED}") from None
    try:
        return validate(Design, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"the design {source} is not TOML: {error}") from None
