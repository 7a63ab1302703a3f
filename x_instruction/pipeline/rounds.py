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
from x_instruction.config.refine import UNASKED, Refine
from x_instruction.config.training import TrainConfig
from x_instruction.engines import engine_spec, keys
from x_instruction.errors import RecipeError
from x_instruction.prompts import template
from x_instruction.storage.finished import Finished
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, EMBEDDED, PASSAGE, SLICE, StageKey

# The section of the recipe that configures each stage, in order. The first stage of a section is the one it ends with.
SECTIONS = {
    "passage": "corpus",
    "candidate": "generate",
    "rated": "refine",
    "curated": "diversify",
    "embedded": "diversify",
}
# The model that is trained for a stage.
ROLES = {"candidate": "generator", "rated": "rater"}


def stages(settings: Recipe) -> list[StageKey]:
    """All stages that a recipe makes, in order, if no round ends the loop early."""
    rounds = [StageKey(stage, round) for round in range(settings.refine.rounds + 1) for stage in ("candidate", "rated")]
    return [PASSAGE, *rounds, EMBEDDED, CURATED]


def title(stage: StageKey) -> str:
    """The section of the recipe that makes a stage, with the round: for progress and cards."""
    section = {EMBEDDED: "embed", SLICE: "corpus"}.get(stage) or SECTIONS[stage.stage]
    return f"{section}, round {stage.round}" if stage.round else section


def kept_share(run: RunFolder, settings: Recipe, round: int) -> float | None:
    """Pairs that a round kept, per passage; None while a shard of the round is missing."""
    rated = StageKey("rated", round)
    kept = passages = 0
    finished = Finished(run)
    for tag in settings.languages:
        if run.count(PASSAGE, tag) is None:
            return None
        for key in run.shards(PASSAGE, tag):
            if not finished.complete(key.at(rated)):
                return None
            kept += finished.summary(key.at(rated)).kept
            passages += finished.summary(key).kept
    return kept / passages if passages else 0.0


def last_round(run: RunFolder, settings: Recipe) -> int:
    """The last round, as far as the complete rounds tell. Once the share of kept pairs settles, no round follows."""
    before = kept_share(run, settings, 0) if settings.refine.rounds > 1 else None
    for round in range(1, settings.refine.rounds):
        now = kept_share(run, settings, round)
        if before is None or now is None:
            break
        if abs(now - before) < settings.refine.convergence_tolerance:
            return round
        before = now
    return settings.refine.rounds


def folder(run: RunFolder, role: str, round: int, tag: str = "") -> Path:
    """The folder of the model that a role uses in a round; with a tag, of the model of that language alone."""
    return run.model("-".join(filter(None, (role, str(round), tag))))


def own(train: TrainConfig, tag: str) -> str:
    """The tag in the name of a language's model: its own, or empty if one model serves all languages."""
    return tag if train.per_language else ""


def writing(run: RunFolder, settings: Recipe, round: int, tag: str) -> Generate:
    """The section ``generate`` for a language in a round: with the trained model and its prompt, if one is trained."""
    generate = settings.generate
    if generate.train is None:
        return generate
    return generate.replace(
        model=generate.train.trained(generate.model, folder(run, "generator", round, own(generate.train, tag))),
        prompt="trained-auto" if generate.trained_prompt == "auto" else generate.trained_prompt,
    )


def rating(run: RunFolder, settings: Recipe, round: int, tag: str) -> Refine:
    """The section ``refine`` for a language in a round: with the trained rater, if one is trained."""
    refine = settings.refine
    if refine.train is None:
        return refine
    start = started(run, settings, round, tag)
    return refine.replace(model=refine.train.trained(start, folder(run, "rater", round, own(refine.train, tag))))


def started(run: RunFolder, settings: Recipe, round: int, tag: str) -> Model:
    """The model that the training of a round's rater starts from: the base, or the generator of the round."""
    generator, refine = settings.generate.train, settings.refine
    if refine.init_from == "base" or generator is None:
        return refine.rater_model
    return generator.trained(refine.rater_model, folder(run, "generator", round, own(generator, tag)))


def model_of(settings: Recipe, stage: StageKey) -> Model | None:
    """The model that a stage asks, as the recipe names it: without the adapter that a round trains."""
    if stage.stage == "candidate":
        return settings.generate.model
    return settings.refine.model if stage.stage == "rated" and settings.refine.rater not in UNASKED else None


def training_for(settings: Recipe, stage: StageKey) -> TrainConfig | None:
    """How the model that a stage asks is trained before it; None if it is not."""
    return {"candidate": settings.generate.train, "rated": settings.refine.train}.get(stage.stage)


def base_of(section: Generate | Refine) -> Model:
    """The model of a section, as the recipe names it."""
    return section.model if isinstance(section, Generate) else section.rater_model


def check(settings: Recipe) -> None:
    """Refuse models that cannot be trained, or not be used once they are.

    Raises:
        RecipeError: a model to train runs on a server or has an adapter already, generator and rater cannot start from
            each other as set, or a key names a prompt or label strategy that does not exist, or a prompt without its
            slots.
        CorpusError: a file of labelled pairs cannot be read.
    """
    from x_instruction.refine import label_files, labels

    generate, refine = settings.generate, settings.refine
    if generate.train and refine.train and refine.init_from == "generator":
        _check_start(generate.train, refine.train)
    if refine.train:
        labels.check(refine.label_strategies)
        for path in refine.label_files:
            label_files.read(Path(path))
        if not refine.validation:
            raise RecipeError("refine.validation is 0, expected more: a trained rater is calibrated on these pairs")
    _check_prompts(generate, refine)
    for model in settings.models:
        if engine_spec(model).remote:
            keys.check(model.server.key_variable, model.server.place)
    if generate.train:
        _check_trainable("generate", generate.model)
    if refine.train:
        _check_trainable("refine", refine.rater_model)


def _check_prompts(generate: Generate, refine: Refine) -> None:
    """Refuse prompts that do not exist or have other slots, before anything is read."""
    from x_instruction.generate.span import SLOTS as SPAN
    from x_instruction.prompts.instruction import SLOTS as WRITING
    from x_instruction.refine.prompted import SLOTS as RATING

    prompts = [(generate.prompt, WRITING), (generate.trained_prompt, WRITING), (refine.prompt, RATING)]
    for name, slots in [*prompts, *([(generate.span.prompt, SPAN)] if generate.span else [])]:
        if name not in ("auto", "trained-auto"):
            template(name, slots)


def _check_start(generator: TrainConfig, rater: TrainConfig) -> None:
    """Refuse a rater that cannot start from the generator."""
    if generator.per_language and not rater.per_language:
        raise RecipeError(
            'refine.init_from is "generator", and generate.train.per_language makes one generator per language: set '
            'refine.train.per_language too, or refine.init_from = "base"'
        )
    if rater.method == "full" != generator.method:
        raise RecipeError(
            'refine.train.method is "full" and refine.init_from is "generator", which is an adapter: set '
            'generate.train.method = "full" too, or train the rater as an adapter'
        )


def _check_trainable(section: str, model: Model) -> None:
    if engine_spec(model).remote:
        raise RecipeError(
            f"{section}.train trains a model on this machine, and {section}.model.engine is {model.engine!r}: set it "
            'to "transformers" or "vllm", or train the model first and serve it'
        )
    if model.adapter:
        raise RecipeError(f"set only one of {section}.train and {section}.model.adapter: training makes the adapter")


def embedder_name(name: str) -> str:
    """The sentence encoder that a recipe names: ``embedded`` is the packaged model of this type."""
    return "embedded-minilm" if name == "embedded" else name
