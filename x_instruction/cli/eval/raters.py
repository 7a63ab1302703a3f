"""``x-instruction eval raters``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from x_instruction.cli.eval.asking import record_option
from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import languages_option, out_option, overwrite_option, read_recipe, set_option
from x_instruction.cli.tables import Column, Format, Row, emit, format_options

if TYPE_CHECKING:
    from x_instruction.config.model import Model
    from x_instruction.config.recipe import Recipe
    from x_instruction.config.refine import Refine
    from x_instruction.evaluation.metric import ModelInfo
    from x_instruction.refine.compare import RaterMetrics
    from x_instruction.refine.labels import Example

# Named here because help must not load a rater; ``the others rate no pair by itself.
_RATERS = ("trained", "pmi", "contrastive", "prompted", "combined")


@click.command()
@click.argument("recipe")
@click.argument("labelled", metavar="LABELS", type=click.Path(path_type=Path))
@click.option(
    "--rater",
    "raters",
    multiple=True,
    type=click.Choice(_RATERS),
    metavar="NAME",
    help=f"Rater: {', '.join(_RATERS)}. Repeatable.  [default: all]",
)
@click.option(
    "--adapter",
    metavar="FOLDER",
    help="LoRA adapter of the trained raters (trained, combined).  [default: the recipe's]",
)
@out_option("Write the figures to a file, .json; answers are kept beside it")
@record_option
@overwrite_option
@languages_option("all of LABELS")
@set_option("refine.response_tokens=256")
@format_options
def command(
    recipe: str,
    labelled: Path,
    raters: tuple[str, ...],
    adapter: str | None,
    out: Path | None,
    record: Path | None,
    overwrite: bool,
    languages: tuple[str, ...],
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Compare raters by how well they rank the pairs of LABELS.

    LABELS is a file that `seeds labels` wrote, or of pairs that people judged: rows with instruction, text, language
    and a level (best, flawed or worst), a label (good, flawed or bad) or a score from 1 to 5. Raters ask the model of
    RECIPE; pmi, contrastive and prompted use it without an
    adapter.

    \b
    best>worst   AUROC of best against worst pairs, with its 95 % interval
    best>rest    AUROC of best against all other pairs, likewise
    precision    share of best pairs among those that the threshold keeps
    recall       share of the best pairs that the threshold keeps
    calibration  expected calibration error of the probability of best
    """
    from x_instruction.engines.fingerprint import fingerprint
    from x_instruction.errors import CorpusError, RecipeError
    from x_instruction.evaluation.intrinsic_records import RATERS, write_raters
    from x_instruction.evaluation.models import model_info
    from x_instruction.evaluation.record import check_target
    from x_instruction.refine import check
    from x_instruction.refine.compare import settings_for
    from x_instruction.refine.label_files import read
    from x_instruction.storage.atomic import atomic

    if out and out.suffix != ".json":
        raise RecipeError(f"--out is {out}, expected a .json file")
    settings = read_recipe(recipe, languages, None, sets)
    examples = [example for example in read(labelled) if not languages or example.language in settings.languages]
    if not examples:
        raise CorpusError(f"{labelled} has no pairs in {', '.join(languages)}: name languages that it has")
    chosen = [settings_for(settings.refine, name, adapter) for name in dict.fromkeys(raters or _RATERS)]
    for refine in chosen:
        check(refine)
    common = {"labels": labelled.name, "seed": settings.seed}
    decisive: dict[str, dict[str, Any]] = {refine.rater: fingerprint(refine) | common for refine in chosen}
    models: dict[str, ModelInfo] = {refine.rater: model_info(refine.rater_model) for refine in chosen} if record else {}
    for name, info in models.items():
        check_target(record or Path(), f"{RATERS}-{name}", info, decisive[name], overwrite)
    if out:
        kept(f"answers are kept beside {out}; rerun the same command to continue")
    measured: list[RaterMetrics] = []
    try:
        for metrics in _compared(settings, examples, chosen, out):
            measured += metrics
    finally:
        # Also the raters before one that fails.
        if measured:
            emit([line.plain() for line in measured], _COLUMNS, form)
    if record:
        for path in write_raters(record, models, measured, decisive, overwrite):
            click.echo(f"written: {path}", err=True)
    if out:
        with atomic(out) as stream:
            table = {"labels": labelled.name, "figures": [line.plain() for line in measured]}
            stream.write(json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False).encode())


def _compared(
    settings: Recipe, examples: Sequence[Example], chosen: Sequence[Refine], out: Path | None
) -> Iterator[list[RaterMetrics]]:
    """Figures of each rater; raters that ask one model share its loading."""
    import tempfile

    models = list(dict.fromkeys(refine.rater_model for refine in chosen))
    with tempfile.TemporaryDirectory(prefix="rater-") as folder:
        cache = out.with_suffix(".sqlite") if out else Path(folder) / "answers.sqlite"
        for model in models:
            yield from _asked(
                settings, examples, [refine for refine in chosen if refine.rater_model == model], model, cache
            )


def _asked(
    settings: Recipe, examples: Sequence[Example], chosen: Sequence[Refine], model: Model, cache: Path
) -> Iterator[list[RaterMetrics]]:
    from x_instruction.engines import open_engine
    from x_instruction.engines.fingerprint import fingerprint
    from x_instruction.engines.request_cache import RequestCache
    from x_instruction.refine import rate
    from x_instruction.refine.compare import candidate, rater_metrics

    candidates = [candidate(example, number) for number, example in enumerate(examples)]
    with RequestCache(cache, open_engine(model), fingerprint(model)) as requests:
        for refine in chosen:
            rated = rate(candidates, refine, requests.engine, requests.ask)
            yield rater_metrics(examples, rated, refine, settings.seed)


def _interval(name: str, row: Row) -> str:
    value, low, high = (row[name][part] for part in ("value", "low", "high"))
    return "-" if value is None else f"{value:.3f} {low:.3f}-{high:.3f}"


_COLUMNS = [
    Column("language", "language"),
    Column("rater", "rater"),
    Column("pairs", "pairs", ","),
    Column("best>worst", partial(_interval, "best_worst")),
    Column("best>rest", partial(_interval, "best_rest")),
    Column("precision", "precision", ".3f"),
    Column("recall", "recall", ".3f"),
    Column("calibration", "calibration_error", ".3f"),
]
