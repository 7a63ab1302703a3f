"""Run the experiments of a design: parts that are missing are made, and figures follow from all that is there.

FOLDER/design.json     what all parts share: the model, the pool and what is held out
FOLDER/parts/          results of parts, and why others failed (``parts``)
FOLDER/measured/       measurements of models, which experiments share
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
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from x_instruction.config.section import flatten, without_folder
from x_instruction.engines.local.devices import has_gpu
from x_instruction.errors import CorpusError, EngineError, MissingExtra, RecipeError, differences
from x_instruction.experiments.claims import analysis, parts
from x_instruction.experiments.claims.analysis import Figure
from x_instruction.experiments.claims.design import Design, Profile
from x_instruction.experiments.claims.lab import Device, Lab
from x_instruction.experiments.claims.parts import Part, Result
from x_instruction.experiments.claims.report import report
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
RESULTS, REPORT = "results.json", "report.html"
# What trainings and their models need.
PACKAGES = ("torch", "transformers", "peft", "trl", "datasets", "accelerate")


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
        left: parts that were not made, and why: they failed, or time ran out.
        file: ``results.json``.
    """

    figures: list[Figure]
    verdicts: list[dict[str, Any]]
    left: dict[str, str]
    file: Path


def check_name(name: str) -> None:
    """Refuse a name of no experiment.

    Raises:
        RecipeError: lists the experiments.
    """
    if name not in EXPERIMENTS:
        raise RecipeError(f"experiment is {name!r}, expected one of {', '.join(EXPERIMENTS)}")


def experiment(name: str) -> Experiment:
    """An experiment by its name."""
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
        only: names of experiments whose parts are made; empty for those of the profile. The results have the figures
            of all experiments with parts.
        device: ``auto``, ``cpu`` or ``cuda``.
        rank, of: make only the parts whose number modulo ``of`` is ``rank``. Several machines can share a folder.
        seconds: begin no further part after this time.
        log: called with one line per event.

    Raises:
        RecipeError: no such profile or experiment, or the folder holds results of another design.
        CorpusError: the pool cannot be read, or its documents have no titles.
        EngineError: a package is missing, or there is no GPU.
    """
    deadline = time.monotonic() + seconds
    own = tuple(only) or design.sizes(profile).experiments
    for name in own:
        check_name(name)
    if not 0 <= rank < of:
        raise RecipeError(f"rank is {rank}, expected 0 to {of - 1}")
    _check_machine(device)
    lab = Lab(design, profile, folder, documents, device, log)
    figures: list[Figure] = []
    left: dict[str, str] = {}
    with run_lock(folder, rank, of):
        _keep_design(lab)
        for name in EXPERIMENTS:
            try:
                if name in own:
                    # Its own share, counted within an experiment.
                    share = (part for number, part in enumerate(experiment(name).parts(lab)) if number % of == rank)
                    parts.make(folder, share, deadline, log, left)
                if results := _results(folder, name):
                    figures += experiment(name).figures(lab, results)
                parts.path(folder, name).with_suffix(".failed").unlink(missing_ok=True)
            except Exception as error:
                left[name] = parts.keep_failure(folder, name, error)
                log(f"{name}: failed: {left[name]}")
        lab.close()
        outcome = Outcome(figures, verdicts(design, figures), left, folder / RESULTS)
        _write(lab, outcome)
    return outcome


def _check_machine(device: str) -> None:
    """Refuse what no part could work without, before any work."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtra(package, "train")
    if device.startswith("cuda") and not has_gpu():
        raise EngineError(
            f"device is {device}, and no GPU is visible: use auto or cpu, or name a GPU in CUDA_VISIBLE_DEVICES"
        )


def _keep_design(lab: Lab) -> None:
    """Write what all parts share, or refuse a folder in which it is another. Parts keep their own settings."""
    file = lab.folder / "design.json"
    shared = {
        "profile": lab.profile,
        "pool": lab.pool_digest,
        "held_out": lab.design.held_out(lab.profile).model_dump(mode="json"),
    }
    table = shared | lab.design.model_dump(mode="json", include={"name", "model", "prune"})
    if file.exists():
        changed = differences(flatten(json.loads(file.read_text("utf-8"))), flatten(table))
        if changed:
            shown = "; ".join(one.text() for one in changed[:3])
            raise RecipeError(
                f"{lab.folder} holds results of another design, pool or model ({shown}): choose another folder with "
                "--out, or remove this one"
            )
        return
    with atomic(file) as stream:
        stream.write(json.dumps(table, indent=1, ensure_ascii=False).encode() + b"\n")


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
                    "figure": None if figure is None or math.isnan(figure.low) else asdict(figure),
                    "verdict": analysis.verdict(expected, figure),
                }
            )
    return rows


def _write(lab: Lab, outcome: Outcome) -> None:
    table = {
        "design": lab.design.name,
        "test": lab.design.test,
        "model": without_folder(lab.design.model),
        "profile": lab.profile,
        "pool": lab.pool_digest,
        "documents": len(lab.documents),
        "languages": len({document.language for document in lab.documents}),
        "machine": platform.machine(),
        "left": outcome.left,
        **described(lab.design, outcome.verdicts),
        "figures": [asdict(figure) for figure in outcome.figures],
    }
    results = _plain(table)
    with atomic(outcome.file) as stream:
        stream.write(json.dumps(results, indent=1, ensure_ascii=False).encode() + b"\n")
    with atomic(outcome.file.with_name(REPORT)) as stream:
        stream.write(report(results))


def _plain(value: Any) -> Any:
    """A value as JSON has it: not a number is null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def described(design: Design, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The claims of a design with their verdicts, as ``results.json`` has them."""
    return {"claims": [claim.model_dump(exclude={"expect"}) for claim in design.claims], "verdicts": list(found)}


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
