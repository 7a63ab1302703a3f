"""Rounds of refinement: which stages a recipe makes, in which rounds, and under which settings.

After the first rating, every round trains the models anew on seeds and kept pairs, writes new instructions for passages
of which no pair was kept, and rates all candidates again. This is the paper's iterative refinement (its ablation
``iter-k``); docs/method.md has the details.
"""

from __future__ import annotations

from pathlib import Path

from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe
from x_instruction.config.refine import Refine
from x_instruction.config.training import TrainConfig
from x_instruction.engines import engine_spec
from x_instruction.errors import RecipeError
from x_instruction.prompts import digest_of
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, PASSAGE, StageKey

# The section of the recipe that configures each stage, in order.
SECTIONS = {"passage": "corpus", "candidate": "generate", "rated": "refine", "curated": "diversify"}
# The model that is trained for a stage.
ROLES = {"candidate": "generator", "rated": "rater"}


def stages(settings: Recipe) -> list[StageKey]:
    """All stages that a recipe makes, in order, if no round ends the loop early."""
    rounds = [StageKey(stage, round) for round in range(settings.refine.rounds + 1) for stage in ("candidate", "rated")]
    return [PASSAGE, *rounds, CURATED]


def title(stage: StageKey) -> str:
    """The section of the recipe that makes a stage, with the round: for progress and cards."""
    section = SECTIONS[stage.stage]
    return f"{section}, round {stage.round}" if stage.round else section


def kept_share(run: RunFolder, settings: Recipe, round: int) -> float | None:
    """Pairs that a round kept, per passage; None while a shard of the round is missing."""
    rated = StageKey("rated", round)
    kept = passages = 0
    for tag in settings.languages:
        if run.count(PASSAGE, tag) is None:
            return None
        for key in run.shards(PASSAGE, tag):
            if not run.complete(key.at(rated)):
                return None
            kept += run.report(key.at(rated)).kept
            passages += run.report(key).kept
    return kept / passages if passages else 0.0


def last_round(run: RunFolder, settings: Recipe) -> int:
    """The last round, as far as the complete rounds tell. Once the share of kept pairs settles, no round follows."""
    before = kept_share(run, settings, 0)
    for round in range(1, settings.refine.rounds):
        now = kept_share(run, settings, round)
        if before is None or now is None:
            break
        if abs(now - before) < settings.refine.convergence_tolerance:
            return round
        before = now
    return settings.refine.rounds


def folder(run: RunFolder, role: str, round: int, tag: str = "") -> Path:
    """Where the model of a role is, that a round uses; with a tag the model of that language alone."""
    return run.root / "models" / "-".join(filter(None, (role, str(round), tag)))


def own(train: TrainConfig, tag: str) -> str:
    """The tag that names a language's model: its own, or none where there is one for all."""
    return tag if train.per_language else ""


def writing(run: RunFolder, settings: Recipe, round: int, tag: str) -> Generate:
    """How instructions are written for a language in a round."""
    write = settings.generate
    if write.train is None:
        return write
    return write.replace(
        model=write.train.trained(write.model, folder(run, "generator", round, own(write.train, tag))),
        prompt="trained-auto" if write.trained_prompt == "auto" else write.trained_prompt,
    )


def rating(run: RunFolder, settings: Recipe, round: int, tag: str) -> Refine:
    """How candidates of a language are rated in a round."""
    rate = settings.refine
    if rate.train is None:
        return rate
    return rate.replace(model=rater(run, settings, round, tag))


def rater(run: RunFolder, settings: Recipe, round: int, tag: str) -> Model:
    """The tuned rater of a round."""
    assert settings.refine.train is not None
    start = started(run, settings, round, tag)
    return settings.refine.train.trained(start, folder(run, "rater", round, own(settings.refine.train, tag)))


def started(run: RunFolder, settings: Recipe, round: int, tag: str) -> Model:
    """What the rater of a round is tuned from."""
    write, rate = settings.generate.train, settings.refine
    if rate.init_from == "base" or write is None:
        return rate.model
    return write.trained(rate.model, folder(run, "generator", round, own(write, tag)))


def model_of(settings: Recipe, stage: StageKey) -> Model | None:
    """The model that a stage asks, as the recipe names it: without the adapter that a round trains."""
    return {"candidate": settings.generate.model, "rated": settings.refine.model}.get(stage.stage)


def check(settings: Recipe) -> None:
    """Refuse what could not be tuned or used.

    Raises:
        RecipeError: a model is to be tuned that runs on a server, or has an adapter already, or a key of a tuned model
            or a prompt names what is not there.
    """
    from x_instruction.refine import labels

    write, rate = settings.generate.train, settings.refine
    if write and rate.train and rate.init_from == "generator" and write.per_language and not rate.train.per_language:
        raise RecipeError(
            "refine.init_from is generator and generate.train.per_language makes several, of which one rater cannot "
            "start: set refine.train.per_language too, or start from the base"
        )
    if write and rate.train and rate.init_from == "generator" and rate.train.method == "full" != write.method:
        raise RecipeError(
            "refine.train.method is full and refine.init_from is generator, which is an adapter: tune the generator in "
            "full too, or the rater as an adapter"
        )
    if rate.train:
        labels.check(rate.label_strategies)
        if not rate.validation:
            raise RecipeError("refine.validation is 0 and a tuned rater is calibrated on what it did not see: raise it")
    for prompt in (settings.generate.prompt, settings.generate.trained_prompt, rate.prompt):
        digest_of(prompt)
    for name, section in (("generate", settings.generate), ("refine", settings.refine)):
        if section.train is None:
            continue
        if engine_spec(section.model).remote:
            raise RecipeError(
                f"{name}.train trains a model on this machine, and {name}.model.engine is {section.model.engine!r}: "
                "take transformers or vllm, or tune first and serve what came of it"
            )
        if section.model.adapter:
            raise RecipeError(f"set only one of {name}.train and {name}.model.adapter")
