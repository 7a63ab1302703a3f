"""Does a rater get better when it is trained again on the pairs that it kept?

The start is the rater that ships. A round rates a pool of which a quarter is good, keeps the best quarter of it, and
trains the start again on examples of three levels that are made of the seeds and the kept pairs, as a run does. Which
pairs are good is never used. The control is trained for as many steps on examples of the seeds alone.

What decides are pairs of held-out documents (group ``heldout``): each page with its own instruction and three kinds of
noise. The group ``screened`` has those of them that are in the language of their document, since a run drops others
before it rates, and there is a group for each kind of noise. The pool itself, of which half of the training examples
are made, is the group ``all``. No document is in two of seeds, pool and held-out pairs, and the start was not trained
on any (``ratings.new``). Seeds, examples and the order of training differ between random seeds; pool and held-out pairs
do not.

The start has a calibration, which the others lack. Calibration hardly moves the order of pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from random import Random
from typing import Any

import numpy as np

from x_instruction.config.model import Model
from x_instruction.errors import RecipeError
from x_instruction.experiments.claims import noise, ranking, ratings
from x_instruction.experiments.claims import parts as made_parts
from x_instruction.experiments.claims.analysis import Figure, ranked
from x_instruction.experiments.claims.lab import Lab
from x_instruction.experiments.claims.parts import Part, Result
from x_instruction.experiments.claims.pool import Document
from x_instruction.hashing import derive_seed, digest
from x_instruction.refine import labels
from x_instruction.refine.labels import Example
from x_instruction.seed.pairs import Pair
from x_instruction.training.roles import rater_examples

NAME = "rounds"
# Of the pool and of the held-out pairs.
GOOD_SHARE = 0.25
SPOILT_PER_PAGE = 3
POOL, HELDOUT = "pool", "heldout"
SCREENED = "screened"


class Rounds:
    """The pairs of the experiment.

    Args:
        lab: the lab.

    Raises:
        RecipeError: the pool has too few documents.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab, self.sizes = lab, lab.sizes
        documents = _by_document(ratings.new(lab.split.train, lab.design.rater_adapter))
        mixed: list[Document] = []
        while documents and len(mixed) < self.sizes.round_pool:
            mixed += documents.pop(0)
        self.seeds = noise.plant([one for rows in documents for one in rows], {}, seed=0)
        if len(self.seeds) < self.sizes.round_seeds:
            raise RecipeError(
                f"{self.sizes.round_pool} pairs and {self.sizes.round_seeds} seeds of other documents are needed, and "
                f"the pool leaves {len(self.seeds)} seeds: use a larger pool, or lower round_pool or round_seeds"
            )
        shares = lab.design.noise.model_dump()
        spoilt = {kind: share * (1 - GOOD_SHARE) / sum(shares.values()) for kind, share in shares.items()}
        planted = noise.plant(mixed[: self.sizes.round_pool], spoilt, seed=0)
        self.pool = [ratings.labelled(pair) for pair in planted]
        trained_on = {document.document for document in lab.split.train}
        others = [document for document in lab.documents if document.document not in trained_on]
        held_out = ratings.new(others, lab.design.rater_adapter)
        pages = ratings.spread(
            held_out, self.sizes.round_pages, lambda one: one.document, lambda one: digest([NAME, one.id])
        )
        self.heldout = _levels(pages, shares)

    @property
    def start(self) -> Model:
        """The rater that every round starts from."""
        return ratings.model(self.lab, self.lab.design.rater_adapter)

    def settings(self, **own: Any) -> dict[str, Any]:
        """What decides the results of a part."""
        return {
            "model": self.lab.design.model,
            "dtype": self.lab.design.dtype,
            "adapter": self.lab.design.rater_adapter,
            "train": self.lab.design.rater_train.model_dump(),
            "steps": self.sizes.round_steps,
            "number_of_seeds": self.sizes.round_seeds,
            "seeds": [asdict(pair) for pair in self.seeds],
            POOL: [asdict(example) for example in self.pool],
            HELDOUT: [asdict(example) for example in self.heldout],
        } | own

    def rated(self, rater: Model, training: Result | None = None) -> Result:
        """The scores of a rater on both mixtures."""
        result: Result = {} if training is None else {"training": training}
        for name, examples in ((POOL, self.pool), (HELDOUT, self.heldout)):
            scores = ratings.scores(self.lab, rater, examples, ("trained",))["trained"]
            result[name] = [
                {"id": one.id, "document": one.document, "kind": one.strategy, "score": score}
                for one, score in zip(examples, scores, strict=True)
            ]
        return result

    def trained(self, kept: Sequence[Example], seed: int, number: int) -> Result:
        """Scores of the start after training on seeds and kept pairs.

        Args:
            kept: pairs that the earlier rater kept.
            seed: random seed.
            number: of the round.
        """
        from x_instruction.training.tokenization import ExampleEncoder

        seeds = self.lab.draw(self.seeds, self.sizes.round_seeds, NAME, seed)
        pairs = [_seed(ratings.labelled(pair)) for pair in seeds] + [_seed(example) for example in kept]
        settings = ratings.settings(self.start)
        own_seed = derive_seed(0, NAME, seed, number)
        made = labels.examples(pairs, settings.label_strategies, settings.per_level, own_seed)
        encoder = ExampleEncoder(self.start.name, self.start.revision)
        rows = rater_examples(labels.balance(made, own_seed), settings, encoder)
        train = self.lab.design.rater_train.replace(
            steps=self.sizes.round_steps, seed=seed, device=self.lab.device, length_percentile=100.0
        )
        return self.rated(self.lab.train(self.start, train, rows), {"rows": len(rows), "kept": len(kept)})

    def keep(self, result: Result) -> list[Example]:
        """The best quarter of the pool, by the scores of a part."""
        scores = [row["score"] for row in result[POOL]]
        return [self.pool[row] for row in ranking.best(scores, round(GOOD_SHARE * len(scores)))]


def _by_document(documents: Sequence[Document]) -> list[list[Document]]:
    groups: dict[str, list[Document]] = {}
    for one in documents:
        groups.setdefault(one.document, []).append(one)
    return [groups[name] for name in sorted(groups, key=lambda name: digest([NAME, name]))]


def _levels(documents: Sequence[Document], shares: Mapping[str, float]) -> list[Example]:
    """Each page as it is, and with some kinds of noise, drawn by their shares without replacement."""
    clean = noise.plant(documents, {}, seed=0)
    spoilt = {
        kind: {pair.id: pair for pair in noise.plant(documents, {kind: 1.0}, seed=0) if pair.kind == kind}
        for kind, share in shares.items()
        if share > 0
    }
    made = []
    for pair in clean:
        random = Random(derive_seed(0, NAME, "kinds", pair.id))
        # The smallest of exponential times with these rates are a draw without replacement.
        times = {kind: -math.log(1 - random.random()) / shares[kind] for kind in spoilt}
        kinds = [kind for kind in sorted(times, key=times.__getitem__) if pair.id in spoilt[kind]][:SPOILT_PER_PAGE]
        made += [pair, *(spoilt[kind][pair.id] for kind in kinds)]
    return [ratings.labelled(pair) for pair in made]


def _seed(example: Example) -> Pair:
    return Pair(
        id=example.id,
        instruction=example.instruction,
        output=example.text,
        language=example.language,
        instruction_language=example.instruction_language,
        source="pool",
        document_id=example.document,
    )


def parts(lab: Lab) -> Iterator[Part]:
    """The start, then the control and each round with every seed."""
    rounds = Rounds(lab)
    start = Part(f"{NAME}/start", rounds.settings(arm="start"), lambda: rounds.rated(rounds.start))
    yield start
    for seed in lab.sizes.seeds:
        yield Part(
            f"{NAME}/control-{seed}",
            rounds.settings(arm="control", seed=seed),
            lambda seed=seed: rounds.trained((), seed, 0),  # type: ignore[misc]
        )
        earlier = start
        for number in range(1, lab.sizes.rounds + 1):
            earlier = _round(lab, rounds, earlier, seed, number)
            yield earlier


def _round(lab: Lab, rounds: Rounds, earlier: Part, seed: int, number: int) -> Part:
    def make() -> Result:
        # On another machine the earlier part may not be here yet.
        scores = made_parts.read(lab.folder, earlier) or earlier.make()
        return rounds.trained(rounds.keep(scores), seed, number)

    return Part(f"{NAME}/round-{number}-{seed}", rounds.settings(arm="round", seed=seed, number=number), make)


def figures(lab: Lab, results: Mapping[str, Result]) -> list[Figure]:
    """Average precision, AUROC and precision of the best quarter, of each arm and against its baselines."""
    return of_results(results, lab.sizes.seeds, lab.sizes.rounds)


def of_results(results: Mapping[str, Result], seeds: Sequence[int], rounds: int) -> list[Figure]:
    """The figures of the parts that were made.

    Args:
        results: by name of the part.
        seeds: the random seeds. An arm is measured when it has all of them.
        rounds: number of rounds; the last one is the arm ``rounds``.
    """
    arms: dict[str, list[Result]] = {}
    if "start" in results:
        arms["start"] = [results["start"]]
    names = {"control": "control"} | {
        f"round-{n}": "rounds" if n == rounds else f"round-{n}" for n in range(1, rounds + 1)
    }
    for part, arm in names.items():
        if all(f"{part}-{seed}" in results for seed in seeds):
            arms[arm] = [results[f"{part}-{seed}"] for seed in seeds]
    made = []
    if not arms:
        return []
    first = next(iter(arms.values()))[0]
    kinds = sorted({row["kind"] for row in first[HELDOUT]} - {noise.CLEAN})
    for group in ("all", HELDOUT, SCREENED, *kinds):
        documents = [row["document"] for row in _rows(first, group)]
        for measure in ("auroc",) if group in kinds else ("ap", "auroc", "precision"):
            found = {arm: [_figure(measure, _rows(one, group)) for one in of] for arm, of in arms.items()}
            made += [ranked(NAME, measure, arm, documents, own, group=group) for arm, own in found.items()]
            for arm, base in [("rounds", "control"), ("rounds", "start"), ("control", "start"), ("rounds", "round-1")]:
                if {arm, base} <= found.keys():
                    made.append(ranked(NAME, measure, arm, documents, found[arm], base, found[base], group=group))
    return made


def _rows(result: Result, group: str) -> list[Mapping[str, Any]]:
    """The scored pairs of a part that are in a group: a mixture, or the good pairs and those of one kind of noise."""
    if group == "all":
        return list(result[POOL])
    heldout: list[Mapping[str, Any]] = result[HELDOUT]
    if group == HELDOUT:
        return heldout
    if group == SCREENED:
        return [row for row in heldout if row["kind"] != noise.UNTRANSLATED]
    return [row for row in heldout if row["kind"] in (noise.CLEAN, group)]


def _figure(measure: str, rows: Sequence[Mapping[str, Any]]) -> ranking.Draws:
    scores = np.array([row["score"] for row in rows])
    good = [row["kind"] == noise.CLEAN for row in rows]
    documents = [row["document"] for row in rows]
    if measure == "ap":
        return ranking.average_precision(scores, good, documents)
    if measure == "auroc":
        return ranking.auroc(scores, good, documents)
    kept = np.zeros(len(rows), dtype=np.bool_)
    kept[ranking.best(scores, round(GOOD_SHARE * len(rows)))] = True
    return ranking.precision(kept, good, documents)
