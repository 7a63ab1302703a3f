"""Does a model answer in the language that its prompt names, once it is trained on cross-lingual pairs?

Arms: the base model, one trained on pairs that name the language of the answer (*tagged*), and one trained on the same
pairs without the name (*untagged*), each asked as it was trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from x_instruction.experiments.claims import arms
from x_instruction.experiments.claims.analysis import Figure
from x_instruction.experiments.claims.lab import Arm, Lab
from x_instruction.experiments.claims.parts import Part, Result

NAME = "language"


def parts(lab: Lab) -> Iterator[Part]:
    """The base, and both arms with every seed."""
    pairs = lab.draw(lab.clean, lab.sizes.rows, "rows")
    yield lab.measured(NAME, None)
    for seed in lab.sizes.seeds:
        yield lab.measured(NAME, Arm("tagged", pairs, seed))
        yield lab.measured(NAME, Arm("untagged", pairs, seed, tagged=False), tagged=False)


def figures(lab: Lab, results: Mapping[str, Result]) -> list[Figure]:
    """Shares of right and clean answers, and their differences, for each group of prompts."""
    return arms.figures(
        NAME, results, lab.sizes.seeds, ("base", "tagged", "untagged"), [("tagged", "base"), ("tagged", "untagged")]
    )
