"""Run the experiments of a design: parts that are missing are made, and figures follow from all that is there.

FOLDER/design.json     the design, its profile and the pool's digest
FOLDER/parts/          results of parts (``parts``)
FOLDER/models/         trained models, by the digest of their rows and settings
FOLDER/results.json    figures and verdicts
FOLDER/report.html     the same for people
"""

from __future__ import annotations

import importlib
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from x_instruction.errors import CorpusError, RecipeError, XInstructionError
from x_instruction.experiments.claims import analysis, parts
from x_instruction.experiments.claims.analysis import Figure
from x_instruction.experiments.claims.design import Design, Profile
from x_instruction.experiments.claims.lab import Device, Lab
from x_instruction.experiments.claims.parts import Part, Result
from x_instruction.storage.atomic import atomic
from x_instruction.storage.lock import run_lock

EXPERIMENTS = {
    "raters": "x_instruction.experiments.claims.raters",
    "language": "x_instruction.experiments.claims.answer_language",
    "curation": "x_instruction.experiments.claims.curation",
    "rounds": "x_instruction.experiments.claims.rounds",
    "multilingual": "x_instruction.experiments.claims.multilingual",
    "curve": "x_instruction.experiments.claims.curve",
    "alignment": "x_instruction.experiments.claims.alignment",
}
RESULTS = "results.json"


class Experiment(Protocol):
    """A module with these two functions."""

    def parts(self, lab: Lab) -> Iterator[Part]:
        """The parts, in order. A part may read the results of earlier ones with ``parts.read``."""

    def figures(self, lab: Lab, results: Mapping[str, Result]) -> list[Figure]:
        """The figures that the parts that were made allow.

        Args:
            lab: the lab.
            results: result by name of the part, without ``EXPERIMENT/``.
        """


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run leaves.

    Args:
        figures: of all experiments.
        verdicts: of each comparison of each claim.
        left: parts that were not made, because they failed or time ran out.
        file: ``results.json``.
    """

    figures: list[Figure]
    verdicts: list[dict[str, Any]]
    left: list[str]
    file: Path


def experiment(name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        RecipeError: there is none of this name.
    """
    if name not in EXPERIMENTS:
        raise RecipeError(f"experiment is {name!r}, expected one of {', '.join(EXPERIMENTS)}")
    module: Any = importlib.import_module(EXPERIMENTS[name])
    found: Experiment = module
    return found


def run(
    design: Design,
    profile: Profile,
    folder: Path,
    *,
    documents: Path | None = None,
    only: Sequence[str] = (),
    device: Device = "auto",
    rank: int = 0,
    of: int = 1,
    seconds: float = math.inf,
    log: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run experiments, and write their results. After an interruption, the same call continues.

    Args:
        design: the design.
        profile: which sizes.
        folder: of the results.
        documents: the user's own pool (see ``pool.read``); None for the one that ships.
        only: names of experiments; empty for those of the profile.
        device: ``auto``, ``cpu`` or ``cuda``.
        rank, of: make only the parts whose number modulo ``of`` is ``rank``. Several machines can share a folder.
        seconds: begin no further part after this time.
        log: called with one line per event.

    Raises:
        RecipeError: no such profile or experiment.
        CorpusError: the pool cannot be read, or its documents have no titles.
        RunChanged: the folder holds results of another design.
    """
    deadline = time.monotonic() + seconds
    names = tuple(only) or design.sizes(profile).experiments
    modules = {name: experiment(name) for name in names}
    if not 0 <= rank < of:
        raise RecipeError(f"rank is {rank}, expected 0 to {of - 1}")
    lab = Lab(design, profile, folder, documents, device, log)
    folder.mkdir(parents=True, exist_ok=True)
    figures: list[Figure] = []
    left: list[str] = []
    with run_lock(folder, rank, of):
        for name, module in modules.items():
            try:
                # Its own share, counted within an experiment.
                own = (part for number, part in enumerate(module.parts(lab)) if number % of == rank)
                left += parts.make(folder, own, deadline, log)
                figures += module.figures(lab, _results(folder, name))
            except XInstructionError as error:
                log(f"{name}: {error}")
                left.append(name)
        lab.close()
        outcome = Outcome(figures, verdicts(design, figures), left, folder / RESULTS)
        _write(design, profile, lab, outcome)
    return outcome


def _results(folder: Path, name: str) -> dict[str, Result]:
    root = folder / "parts" / name
    return {
        file.relative_to(root).with_suffix("").as_posix(): json.loads(file.read_text("utf-8"))["result"]
        for file in sorted(root.rglob("*.json"))
    }


def verdicts(design: Design, figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Each comparison of each claim with its figure, the first one of a claim deciding."""
    rows = []
    for claim in design.claims:
        for number, expected in enumerate(claim.expect):
            figure = analysis.find(figures, claim, expected)
            rows.append(
                {
                    "claim": claim.id,
                    "decides": number == 0,
                    "expected": expected.model_dump(),
                    "figure": asdict(figure) if figure else None,
                    "verdict": analysis.verdict(expected, figure),
                }
            )
    return rows


def _write(design: Design, profile: Profile, lab: Lab, outcome: Outcome) -> None:
    table = {
        "design": design.name,
        "profile": profile,
        "pool": lab.pool_digest(),
        "documents": len(lab.documents),
        "languages": len({document.language for document in lab.documents}),
        "machine": platform.machine(),
        "left": outcome.left,
        "claims": [claim.model_dump(include={"id", "experiment", "statement", "source"}) for claim in design.claims],
        "verdicts": outcome.verdicts,
        "figures": [asdict(figure) for figure in outcome.figures],
    }
    with atomic(outcome.file) as stream:
        stream.write(json.dumps(table, indent=1, ensure_ascii=False).encode() + b"\n")


def read_results(file: Path) -> dict[str, Any]:
    """The results that ``run`` wrote.

    Raises:
        CorpusError: the file is not one.
    """
    try:
        table: dict[str, Any] = json.loads(file.read_text("utf-8"))
        table["figures"], table["verdicts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{file} holds no results ({error}): name the folder of x-instruction experiment run"
        ) from None
    return table
