"""Does AFP's training bring translations closer together (arXiv 2311.08089; docs/method.md 3.2 and 4.7)?

All weights are trained on answers and, at the same time, on pairs of first sentences in English and another language.
Before and after, the nearest neighbour of each held-out first sentence is searched among those of the other side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from x_instruction.config.model import Model
from x_instruction.config.training import Align, TrainConfig
from x_instruction.corpus.characters import spaced
from x_instruction.corpus.segment import sentences
from x_instruction.experiments.claims.analysis import Figure, Values, by_group, mean, paired
from x_instruction.experiments.claims.lab import GROUPS, Arm, Lab
from x_instruction.experiments.claims.parts import Part, Result
from x_instruction.experiments.claims.pool import Document
from x_instruction.languages import language
from x_instruction.training.job import TrainingExample

NAME = "alignment"
MEASURE = "retrieval"
# Numbers of seeds that are trained, of those of the design. Training all weights takes long.
SEEDS = 1
ALIGN = Align()


@dataclass(frozen=True, slots=True)
class Found:
    """How well the translations of a document were found.

    Args:
        id, document, language, group: of the held-out document.
        retrieval: the mean of both directions, 0 to 1.
    """

    id: str
    document: str
    language: str
    group: str
    retrieval: float


def parts(lab: Lab) -> Iterator[Part]:
    """The base before, and after with every seed."""
    settings = {
        "pool": lab.pool_digest,
        "model": lab.design.model,
        "dtype": lab.design.dtype,
        "held_out": lab.design.held_out(lab.profile).model_dump(),
        "align": ALIGN.model_dump(),
    }
    yield Part(f"{NAME}/before", settings, lambda: _measured(lab, lab.base))
    for seed in lab.sizes.seeds[:SEEDS]:
        own = settings | {"train": _train(lab, seed).model_dump(exclude={"device"})}
        yield Part(f"{NAME}/after-{seed}", own, partial(_after, lab, seed))


def trained(lab: Lab, seed: int) -> Model:
    """The aligned model."""
    return lab.train(lab.base, _train(lab, seed), examples(lab, seed), ALIGN)


def _train(lab: Lab, seed: int) -> TrainConfig:
    return lab.design.align_train.replace(steps=lab.sizes.aligned_steps, seed=seed, device=lab.device)


def examples(lab: Lab, seed: int) -> list[TrainingExample]:
    """All clean training rows, each with the first sentence of its document in both languages."""
    pairs = lab.draw(lab.clean, len(lab.clean), "rows")
    first = {document.id: first_sentences(document) for document in lab.split.train}
    return [
        replace(example, sentence=first[pair.id][0], parallel=first[pair.id][1])
        for pair, example in zip(pairs, lab.examples(Arm("aligned", pairs, seed)), strict=True)
    ]


def first_sentences(document: Document) -> tuple[str, str]:
    """The first sentence of the English text, and of the text."""
    return _first(document.text_en, "en"), _first(document.text, document.language)


def _first(text: str, tag: str) -> str:
    start, end = sentences(text, spaced(language(tag)))[0]
    return " ".join(text[start:end].split())


def _after(lab: Lab, seed: int) -> Result:
    return _measured(lab, trained(lab, seed))


def _measured(lab: Lab, model: Model) -> Result:
    from x_instruction.evaluation.representations import Encoder, hits

    lab.close()
    encoder = Encoder.load(model)
    rows = []
    for group in GROUPS:
        documents = lab.split.heldout[group]
        if not documents:
            continue
        english, other = (
            encoder.encode(texts, [ALIGN.layer], ALIGN.pooling)[0]
            for texts in zip(*map(first_sentences, documents), strict=True)
        )
        owners = [document.document for document in documents]
        both = (hits(english, other, owners) + hits(other, english, owners)) / 2
        rows += [
            Found(one.id, one.document, one.language, group, float(share))
            for one, share in zip(documents, both, strict=True)
        ]
    return {"rows": [asdict(row) for row in rows]}


def figures(lab: Lab, results: Mapping[str, Result]) -> list[Figure]:
    """The accuracy before and after, and the difference, for each group."""
    names = {"before": ["before"], "after": [f"after-{seed}" for seed in lab.sizes.seeds[:SEEDS]]}
    found = {
        arm: _values([[Found(**row) for row in results[name]["rows"]] for name in those])
        for arm, those in names.items()
        if all(name in results for name in those)
    }
    made = [mean(NAME, MEASURE, arm, own, group) for arm, groups in found.items() for group, own in groups.items()]
    if len(found) == len(names):
        made += [
            paired(NAME, MEASURE, "after", own, "before", found["before"][group], group)
            for group, own in found["after"].items()
        ]
    return made


def _values(measured: Sequence[Sequence[Found]]) -> dict[str, Values]:
    rows = measured[0]
    table = np.array([[row.retrieval for row in one] for one in measured])
    return by_group([row.group for row in rows], Values([row.document for row in rows], table))
