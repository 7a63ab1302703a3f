"""Take an adapter that a run tuned into the package, with its card.

What an engine and a card need is copied from the run's folder, with its records of evaluations. Figures of
``benchmarks/generator.py``, ``x-instruction eval raters`` and ``x-instruction experiment run claims`` are added, and
the card is written from these records::

    x-instruction train all adapters
    python benchmarks/generator.py --adapter runs/adapters/models/generator-0 --out results.json
    python tools/ship_adapter.py runs/adapters/models/generator-0 generator --results results.json
    python benchmarks/sample_pairs.py --labels pairs.jsonl
    x-instruction eval raters adapters pairs.jsonl --adapter runs/adapters/models/rater-0 --rater trained \\
        --languages fi,id,th,tr,vi,bn,hi,sw,ta,ur --out compared.json
    python tools/ship_adapter.py runs/adapters/models/rater-0 rater --compared compared.json
    python tools/ship_adapter.py x_instruction/adapters/rater rater --claims docs/results/claims-cpu.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import x_instruction
from x_instruction.cards import records
from x_instruction.cards.model import model_card
from x_instruction.errors import CorpusError, XInstructionError
from x_instruction.evaluation.metric import Data, Metric, ModelInfo
from x_instruction.evaluation.record import read_record, write_record

PACKAGE = Path(x_instruction.__file__).parent
ROLES = {"generator": "instructions", "rater": "ratings"}
NEEDED = ("adapter_config.json", "adapter_model.safetensors", records.TRAINING)
CALIBRATION = "calibration.json"
# A megabyte is a million bytes on the package index.
LIMIT = 12_000_000


# Figures of the experiments, in words.
CLAIMS = {
    "auroc": "pages with their own instruction against the same pages with a planted flaw",
    "first": "share of pages whose own instruction is rated above all five flaws",
}


class Unfit(ValueError):
    """What was given cannot ship."""


def on_the_sample(task: str, language: str, metric: str, value: float, rows: int, notes: str, **more: Any) -> Metric:
    """A result on the sample corpus in one language. ``more`` are fields of ``evaluation.metric.Metric``."""
    sample = sorted((PACKAGE / "corpus" / "sample").glob("*.jsonl"))
    revision = hashlib.sha256(b"".join(path.read_bytes() for path in sample)).hexdigest()[:32]
    data = Data(name="x_instruction sample corpus", revision=f"sha256:{revision}", config=language, split="train")
    return Metric(
        task=task, name=metric, value=round(value, 3), n=rows, data=data, language=language, notes=notes, **more
    )


def of_raters(compared: Path) -> list[Metric]:
    """Results of the trained rater, one a language."""
    try:
        figures = json.loads(compared.read_text("utf-8"))["figures"]
        chosen = [one for one in figures if one["rater"] == "trained" and one["language"] != "all"]
        return [
            on_the_sample(
                "rater",
                one["language"],
                "auroc",
                one["best_worst"]["value"],
                one["pairs"],
                "pages with their own topic against the next page's topic",
                low=round(one["best_worst"]["low"], 3),
                high=round(one["best_worst"]["high"], 3),
            )
            for one in chosen
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unfit(f"{compared}: expected what `x-instruction eval raters --out` writes ({error!r})") from None


def of_claims(path: Path) -> list[Metric]:
    """Results of the trained rater on pages with planted flaws, for each flaw and for all of them."""
    try:
        results = json.loads(path.read_text("utf-8"))
        data = Data(name=f"pool of the experiment {results['design']}", revision=f"sha256:{results['pool']}")
        return [
            Metric(
                task="rater",
                name=one["measure"],
                value=round(one["value"], 3),
                low=round(one["low"], 3),
                high=round(one["high"], 3),
                n=one["rows"],
                data=data,
                parameters={"flaw": one["group"]},
                notes=CLAIMS[one["measure"]],
            )
            for one in results["figures"]
            if one["measure"] in CLAIMS and not one["baseline"] and _is_of_the_rater(one)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unfit(
            f"{path}: expected what `x-instruction experiment run claims` writes, results.json ({error!r})"
        ) from None


def _is_of_the_rater(figure: Mapping[str, Any]) -> bool:
    """Whether a figure is of the rater that ships. Rounds start from it, with a flaw that it was not trained on."""
    arm = figure["experiment"], figure["arm"]
    return arm == ("raters", "trained") or (*arm, figure["group"]) == ("rounds", "start", "untranslated")


def given_results(path: Path) -> list[Metric]:
    """Results of a record."""
    try:
        return list(read_record(path).metrics)
    except CorpusError as error:
        raise Unfit(f"{path}: expected what benchmarks/generator.py --out writes ({error})") from None


def ship(source: Path, role: str, target: Path, results: dict[str, list[Metric]]) -> None:
    """Fill ``target`` anew; nothing there is touched when the source is unfit.

    Args:
        source: folder of the adapter; may be ``target``.
        role: ``generator`` or ``rater``.
        target: the folder in the package.
        results: new results by name of the record. They replace a record of that name.

    Raises:
        Unfit: a file is missing, it was tuned for another role, or it is too large for a package.
        XInstructionError: a record that a card cannot be made of.
    """
    files = [name for name in (*NEEDED, CALIBRATION) if name in NEEDED or (source / name).exists()]
    if missing := [name for name in files if not (source / name).is_file()]:
        raise Unfit(f"{source} has no {', '.join(missing)}: expected the folder of an adapter that a run tuned")
    if (size := sum((source / name).stat().st_size for name in files)) > LIMIT:
        raise Unfit(f"{source} has {size:,} bytes, {LIMIT:,} ship at most: tune with a smaller rank")
    training = records.read(source).training
    if training.relation != "adapter" or training.task != ROLES[role]:
        raise Unfit(f"{source} is an {training.relation} that writes {training.task}; a {role} writes {ROLES[role]}")
    model = ModelInfo(name=f"embedded-{role}", engine="transformers", deployment="self_deployed")
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / role
        made.mkdir()
        for name in files:
            shutil.copyfile(source / name, made / name)
        if (source / records.EVALUATION).is_dir():
            shutil.copytree(source / records.EVALUATION, made / records.EVALUATION)
        # The base that it was trained on is in a folder of this machine; others know it by its id.
        path = made / "adapter_config.json"
        table = json.loads(path.read_text("utf-8")) | {"base_model_name_or_path": training.base_model}
        path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", "utf-8")
        for name, metrics in results.items():
            write_record(made / records.EVALUATION, name, model, metrics, [], settings={}, overwrite=True)
        (made / "README.md").write_text(model_card(records.read(made), f"embedded-{role}"), "utf-8")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)


def main(arguments: list[str] | None = None) -> None:
    """The command; see above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the adapter")
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--compared", type=Path, help="figures of x-instruction eval raters, .json")
    parser.add_argument("--results", type=Path, help="results of benchmarks/generator.py, .json")
    parser.add_argument("--claims", type=Path, help="results.json of x-instruction experiment run claims")
    parser.add_argument("--into", type=Path, default=PACKAGE / "adapters", help="folder of the adapters that ship")
    given = parser.parse_args(arguments)
    if given.claims and given.role != "rater":
        parser.error("--claims has results of a rater: leave it out, or name the role rater")
    try:
        own = of_raters(given.compared) if given.compared else []
        own += given_results(given.results) if given.results else []
        claims = of_claims(given.claims) if given.claims else []
        results = {name: metrics for name, metrics in ((given.role, own), ("claims", claims)) if metrics}
        ship(given.folder, given.role, given.into / given.role, results)
    except (Unfit, XInstructionError) as error:
        parser.error(str(error))
    sys.stdout.write(f"{given.into / given.role}: embedded-{given.role}\n")


if __name__ == "__main__":
    main()
