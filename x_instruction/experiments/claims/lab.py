"""What experiments share: the pool and its noise, models that are trained once, and their measurements."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from x_instruction import hashing
from x_instruction.config.fields import ANSWER_TAG
from x_instruction.config.model import Model
from x_instruction.config.training import Align, TrainConfig
from x_instruction.engines import Engine, fingerprint, open_engine
from x_instruction.engines import Prompt as EnginePrompt
from x_instruction.errors import RecipeError
from x_instruction.experiments import pruned
from x_instruction.experiments.claims import measures, noise, pool
from x_instruction.experiments.claims.design import Design, Profile, Sizes
from x_instruction.experiments.claims.measures import Prompt, RowMeasures
from x_instruction.experiments.claims.noise import Pair
from x_instruction.experiments.claims.parts import Part, Result
from x_instruction.hashing import derive_seed
from x_instruction.mixing.tags import SEPARATOR, format_tag
from x_instruction.prompts.answer import frame
from x_instruction.storage.atomic import atomic
from x_instruction.training.job import RESULT, TrainingExample, TrainJob, TrainResult
from x_instruction.training.launch import launch

Device = Literal["auto", "cpu", "cuda"]
GROUPS = (pool.SEEN, pool.UNSEEN_LANGUAGE, pool.UNSEEN_SOURCE)


@dataclass(frozen=True, slots=True)
class Arm:
    """A way to train a model that answers.

    Args:
        name: of the arm.
        pairs: its rows.
        seed: of the order of the rows and of the initial weights.
        tagged: prompts name the language of the answer.
    """

    name: str
    pairs: tuple[Pair, ...]
    seed: int
    tagged: bool = True


def tagged_prompt(instruction: str, tag: str, tagged: bool = True) -> str:
    """An instruction, with the language of the answer."""
    return f"{instruction}{SEPARATOR}{format_tag(ANSWER_TAG, tag)}" if tagged else instruction


class Lab:
    """The pool, the models and the measurements of one design at one size.

    Args:
        design: the design.
        profile: which sizes.
        folder: where models and measurements are kept.
        documents: the user's own pool, or None for the one that ships.
        device: ``auto``, ``cpu`` or ``cuda``.
        log: called with one line per event.
    """

    def __init__(
        self,
        design: Design,
        profile: Profile,
        folder: Path,
        documents: Path | None,
        device: Device,
        log: Callable[[str], None],
    ) -> None:
        self.design, self.profile, self.folder, self.log = design, profile, folder, log
        self.sizes: Sizes = design.sizes(profile)
        self.documents = pool.read(documents)
        self.device = device
        self._engine: tuple[Model, Engine] | None = None

    @cached_property
    def split(self) -> pool.Split:
        """The documents that are trained on, those of the development set, and those held out."""
        return pool.split(self.documents, self.design.held_out(self.profile))

    @cached_property
    def pairs(self) -> list[Pair]:
        """The training pairs, half of them spoilt."""
        return noise.plant(self.split.train, self.design.noise.model_dump(), seed=0)

    @cached_property
    def clean(self) -> list[Pair]:
        """The training pairs as they would be without noise."""
        return noise.plant(self.split.train, {}, seed=0)

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The held-out prompts, by group."""
        return [
            Prompt(pair.id, pair.document, pair.language, group, pair.instruction, pair.text)
            for group in GROUPS
            for pair in noise.plant(self.split.heldout[group], {}, seed=0)
        ]

    @cached_property
    def base(self) -> Model:
        """The base model that answers, with the vocabulary of the pool."""
        whole = Model(name=self.design.model, threads=self.design.threads, device=self.device, dtype=self.design.dtype)
        if not self.design.prune:
            return whole
        texts = [text for d in self.documents for text in (d.text, d.text_en, d.title)]
        texts += [tagged_prompt(pair.instruction, pair.language) for pair in self.clean]
        texts += [tagged_prompt(prompt.instruction, prompt.language) for prompt in self.prompts]
        made = pruned.prune(self.design.model, texts, self.folder / "models", self.log)
        return whole.replace(name=str(made.folder))

    @cached_property
    def pool_digest(self) -> str:
        """A digest of the documents."""
        return hashing.digest([asdict(document) for document in self.documents])

    @cached_property
    def render(self) -> Callable[[str], EnginePrompt]:
        """Makes the prompt of a base model from an instruction."""
        return frame("answer", False)

    def examples(self, arm: Arm) -> list[TrainingExample]:
        """The training rows of an arm."""
        return [
            TrainingExample(self.render(tagged_prompt(pair.instruction, pair.language, arm.tagged)), pair.text)
            for pair in arm.pairs
        ]

    def trained(self, arm: Arm) -> Model:
        """The model of an arm. Arms with equal rows and settings are one model, which is trained once."""
        train = self.design.train.replace(steps=self.sizes.steps, seed=arm.seed, device=self.device)
        return self.train(self.base, train, self.examples(arm))

    def train(
        self, base: Model, train: TrainConfig, examples: Sequence[TrainingExample], align: Align | None = None
    ) -> Model:
        """Train a model, unless it is there. An interrupted training resumes from its last checkpoint."""
        job = TrainJob(model=base, train=train, align=align)
        key = hashing.digest([fingerprint.fingerprint(job), [asdict(example) for example in examples]])[:16]
        target = self.folder / "models" / key
        if not target.exists():
            self.log(f"training {key}: {len(examples)} rows, {train.steps} steps")
            self.close()
            result = launch(job, examples, target, _keep_result)
            self.log(f"trained {key}: {result.seconds:.0f} s, {result.tokens} tokens, loss {result.loss:.3f}")
        return train.trained(base, target)

    def training_figures(self, arm: Arm) -> Result:
        """Loss, tokens and seconds of the training of an arm."""
        model = self.trained(arm)
        table = json.loads((Path(model.adapter or model.name) / RESULT).read_text("utf-8"))
        return {key: table[key] for key in ("rows", "steps", "tokens", "seconds", "loss")}

    def engine(self, model: Model) -> Engine:
        """The engine of a model. One is open at a time."""
        if self._engine is None or self._engine[0] != model:
            self.close()
            self._engine = (model, open_engine(model))
        return self._engine[1]

    def close(self) -> None:
        """Free the memory of the open engine."""
        if self._engine is not None:
            self._engine = None
            measures.free()

    def measured(self, experiment: str, arm: Arm | None, tagged: bool = True, answers_only: bool = False) -> Part:
        """A part that measures the model of an arm, or the base, on the held-out prompts.

        Args:
            experiment: name of the experiment.
            arm: the arm; None for the base model.
            tagged: whether the prompts name the language of the answer.
            answers_only: no likelihoods, only the language of answers.
        """
        name = f"{arm.name}-{arm.seed}" if arm else "base"
        asked = "" if tagged == (arm is None or arm.tagged) else ("-tagged" if tagged else "-untagged")
        settings = self._measuring() | {
            "train": self.design.train.replace(steps=self.sizes.steps).model_dump() if arm else None,
            "arm": asdict(arm) if arm else None,
            "tagged": tagged,
            "answers_only": answers_only,
        }
        return Part(f"{experiment}/{name}{asked}", settings, lambda: self._measure(arm, tagged, answers_only))

    def _measuring(self) -> Result:
        """What decides a measurement besides the model and its prompts."""
        return {
            "pool": self.pool_digest,
            "model": self.design.model,
            "dtype": self.design.dtype,
            "held_out": self.design.held_out(self.profile).model_dump(),
            "sizes": self.sizes.model_dump(include={"found_prompts", "scored_tokens", "answer_tokens"}),
        }

    def _measure(self, arm: Arm | None, tagged: bool, answers_only: bool) -> Result:
        model = self.trained(arm) if arm else self.base
        file = self._measurements(model, tagged, answers_only)
        if file.exists():
            rows: Result = json.loads(file.read_text("utf-8"))
            return rows
        if answers_only and (whole := self._measurements(model, tagged, False)).exists():
            rows = json.loads(whole.read_text("utf-8"))
            return rows | {"rows": [row | {"gain": None, "found": None} for row in rows["rows"]]}
        found = measures.measure(
            self.prompts,
            self.engine(model),
            lambda prompt: self.render(tagged_prompt(prompt.instruction, prompt.language, tagged)),
            self.sizes,
            likelihoods=not answers_only,
        )
        result = {"rows": [asdict(row) for row in found]} | ({"training": self.training_figures(arm)} if arm else {})
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as stream:
            stream.write(json.dumps(result, ensure_ascii=False).encode())
        return result

    def _measurements(self, model: Model, tagged: bool, answers_only: bool) -> Path:
        """The file of a model's measurements. Experiments share models, and what one has measured, another reads."""
        key = hashing.digest([model.name, model.adapter, tagged, answers_only, self._measuring()])
        return self.folder / "measured" / f"{key[:16]}.json"

    def draw(self, pairs: Sequence[Pair], number: int, *what: object) -> tuple[Pair, ...]:
        """Pairs in an order that follows from their ids.

        Raises:
            RecipeError: there are fewer.
        """
        if len(pairs) < number:
            raise RecipeError(
                f"{number} rows are needed and the pool has {len(pairs)}: use a larger pool, or lower sizes"
            )
        ranked = sorted(pairs, key=lambda pair: derive_seed(0, "draw", *what, pair.id))
        return tuple(ranked[:number])


def _keep_result(folder: Path, result: TrainResult) -> None:
    (folder / RESULT).write_text(json.dumps(asdict(result), indent=1), "utf-8")


def rows_of(result: Result) -> list[RowMeasures]:
    """The measurements of a part."""
    return [RowMeasures(**row) for row in result["rows"]]
