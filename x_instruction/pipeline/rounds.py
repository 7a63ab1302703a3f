"""Rounds of refinement: which ages a recipe makes, and under which settings each of them is made.

After the first rating, every round tunes the models anew on seeds and kept pairs, writes new instructions for passages
of which nothing was kept, and rates all candidates again (design of the paper's loop ``iter-k``: method.md 2.3, U5).
The ages of a round carry its number: ``candidate``, ``rated``, ``candidate_1``, ``rated_1``, ...
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from x_instruction.config.recipe import Generate, Model, Recipe, Refine, TrainConfig
from x_instruction.engines import engine_spec
from x_instruction.errors import RecipeError
from x_instruction.prompts import digest_of
from x_instruction.storage.run_folder import RunFolder

# The stage that makes each age, in order.
STAGES = {"passage": "corpus", "candidate": "generate", "rated": "refine", "curated": "diversify"}
# The model that a stage tunes, by the age that it makes.
ROLES = {"candidate": "generator", "rated": "rater"}


def at(age: str, round: int) -> str:
    """The name of an age in a round."""
    return f"{age}_{round}" if round else age


def split(name: str) -> tuple[str, int]:
    """Age and round of a name."""
    age, _, number = name.partition("_")
    return age, int(number or 0)


def ages(settings: Recipe) -> list[str]:
    """The names of all ages that a recipe makes, in order, if no round ends the others early."""
    rounds = [at(age, number) for number in range(settings.refine.rounds + 1) for age in ("candidate", "rated")]
    return ["passage", *rounds, "curated"]


def stage(name: str) -> str:
    """The stage that makes an age."""
    return STAGES[split(name)[0]]


def title(name: str) -> str:
    """The stage for people, with its round."""
    round = split(name)[1]
    return f"{stage(name)}, round {round}" if round else stage(name)


def kept_share(run: RunFolder, settings: Recipe, round: int) -> float | None:
    """Pairs that a round kept, per passage; None while a shard of it is missing."""
    kept = passages = 0
    for tag in settings.languages:
        shards = run.count("passage", tag)
        if shards is None:
            return None
        for index in range(shards):
            if not run.complete(at("rated", round), tag, index):
                return None
            kept += run.report(at("rated", round), tag, index).kept
            passages += run.report("passage", tag, index).kept
    return kept / passages if passages else 0.0


def final(run: RunFolder, settings: Recipe) -> int:
    """The round that is the last one, as far as its predecessors tell: once little changes, no more are made."""
    before = kept_share(run, settings, 0)
    for round in range(1, settings.refine.rounds):
        now = kept_share(run, settings, round)
        if before is None or now is None:
            break
        if abs(now - before) < settings.refine.settled:
            return round
        before = now
    return settings.refine.rounds


def folder(run: RunFolder, role: str, round: int, tag: str = "") -> Path:
    """Where the model of a role is, that a round uses; with a tag the model of that language alone."""
    return run.root / "models" / "-".join(filter(None, (role, str(round), tag)))


def own(tune: TrainConfig, tag: str) -> str:
    """The tag that names a language's model: its own, or none where there is one for all."""
    return tag if tune.per_language else ""


def writing(run: RunFolder, settings: Recipe, round: int, tag: str) -> Generate:
    """How instructions are written for a language in a round."""
    write = settings.generate
    if write.tune is None:
        return write
    return dataclasses.replace(
        write,
        model=write.tune.tuned(write.model, folder(run, "generator", round, own(write.tune, tag))),
        prompt="tuned-auto" if write.tuned_prompt == "auto" else write.tuned_prompt,
    )


def rating(run: RunFolder, settings: Recipe, round: int, tag: str) -> Refine:
    """How candidates of a language are rated in a round."""
    rate = settings.refine
    if rate.tune is None:
        return rate
    return dataclasses.replace(rate, model=rater(run, settings, round, tag))


def rater(run: RunFolder, settings: Recipe, round: int, tag: str) -> Model:
    """The tuned rater of a round."""
    assert settings.refine.tune is not None
    start = started(run, settings, round, tag)
    return settings.refine.tune.tuned(start, folder(run, "rater", round, own(settings.refine.tune, tag)))


def started(run: RunFolder, settings: Recipe, round: int, tag: str) -> Model:
    """What the rater of a round is tuned from."""
    write, rate = settings.generate.tune, settings.refine
    if rate.start == "base" or write is None:
        return rate.model
    return write.tuned(rate.model, folder(run, "generator", round, own(write, tag)))


def model_of(settings: Recipe, name: str) -> Model | None:
    """The model that the stage of an age asks, if it asks one; without what a round tunes."""
    return {"candidate": settings.generate.model, "rated": settings.refine.model}.get(split(name)[0])


def check(settings: Recipe) -> None:
    """Refuse what could not be tuned or used.

    Raises:
        RecipeError: a model is to be tuned that runs on a server, or has an adapter already, or a key of a tuned model
            or a prompt names what is not there.
    """
    from x_instruction.refine import labels

    write, rate = settings.generate.tune, settings.refine
    if write and rate.tune and rate.start == "generator" and write.per_language and not rate.tune.per_language:
        raise RecipeError(
            "refine.start is generator and generate.tune.per_language makes several, of which one rater cannot start: "
            "set refine.tune.per_language too, or start from the base"
        )
    if write and rate.tune and rate.start == "generator" and rate.tune.method == "full" != write.method:
        raise RecipeError(
            "refine.tune.method is full and refine.start is generator, which is an adapter: tune the generator in full "
            "too, or the rater as an adapter"
        )
    if rate.tune:
        labels.check(rate.builders)
        if not rate.development:
            raise RecipeError(
                "refine.development is 0 and a tuned rater is calibrated on what it did not see: raise it"
            )
    for prompt in (settings.generate.prompt, settings.generate.tuned_prompt, rate.prompt):
        digest_of(prompt)
    for name, section in (("generate", settings.generate), ("refine", settings.refine)):
        if section.tune is None:
            continue
        if engine_spec(section.model).remote:
            raise RecipeError(
                f"{name}.tune tunes a model of this machine, and {name}.model.engine is {section.model.engine!r}: "
                "take transformers or vllm, or tune first and serve what came of it"
            )
        if section.model.adapter:
            raise RecipeError(
                f"{name}.tune and {name}.model.adapter are both there: the one makes what the other names"
            )
