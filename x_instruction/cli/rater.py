"""``x-instruction rater``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from x_instruction.cli.options import read_recipe

if TYPE_CHECKING:
    from x_instruction.config.recipe import Model, Recipe, Refine
    from x_instruction.refine.compare import RaterMetrics
    from x_instruction.refine.labels import Example

# Named here because the options are shown without loading a rater; ``none`` rates nothing that could be compared.
_RATERS = ("trained", "pmi", "prompted", "combined")
_PARTS = ("training", "development", "all")
_SETS = click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a recipe key, as refine.per_level=2."
)
_LANGUAGES = click.option("--languages", metavar="TAGS", help="Languages instead of the recipe's, as sw,th.")


@click.group()
def command() -> None:
    """Make labelled pairs of seeds, and see how well raters tell them apart."""


@command.command()
@click.argument("recipe")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .jsonl.")
@click.option("--part", type=click.Choice(_PARTS), default="all", show_default=True, help="Of the seeds, by document.")
@_LANGUAGES
@_SETS
def labels(recipe: str, out: Path, part: str, languages: str | None, sets: tuple[str, ...]) -> None:
    """Write pairs of three levels, made from the seeds of RECIPE as a rater learns from them.

    As many of each level: the seeds themselves (best), pairs with one flaw (flawed), and instructions of other
    documents (worst). A rater that RECIPE tunes never sees a document of the part `development`.
    """
    from collections import Counter

    from x_instruction.refine.label_files import write
    from x_instruction.refine.labels import WEAKER, balance, examples, split
    from x_instruction.seed.gather import gather

    settings = read_recipe(recipe, languages, None, sets)
    refine = settings.refine
    pairs = [pair for seeds in gather(settings, lambda text: click.echo(text, err=True)).values() for pair in seeds]
    training, development = split(pairs, refine.development, settings.seed)
    chosen = {"training": training, "development": development, "all": pairs}[part]
    if asked := sorted(set(WEAKER) & set(refine.builders)):
        click.echo(f"{' and '.join(asked)}: left out, only a run asks a weaker model", err=True)
    made = balance(examples(chosen, refine.builders, refine.per_level, settings.seed), settings.seed)
    write(made, out)
    for (level, builder), number in sorted(Counter((e.level, e.builder) for e in made).items()):
        click.echo(f"{level:8} {builder:12} {number:9,}", err=True)
    click.echo(f"{out}: {len(made):,} pairs of {len(chosen):,} seeds")


@command.command()
@click.argument("recipe")
@click.argument("labelled", metavar="LABELS", type=click.Path(path_type=Path))
@click.option("--rater", "raters", multiple=True, type=click.Choice(_RATERS), help="Any of them; all when not given.")
@click.option("--adapter", help="Of the tuned raters (trained, combined).  [default: the recipe's]")
@click.option("--out", type=click.Path(path_type=Path), help="File to write, .json; the answers are kept beside it.")
@_LANGUAGES
@_SETS
def compare(
    recipe: str,
    labelled: Path,
    raters: tuple[str, ...],
    adapter: str | None,
    out: Path | None,
    languages: str | None,
    sets: tuple[str, ...],
) -> None:
    """Rate the pairs of LABELS with several raters and say how well each tells the best from the others.

    LABELS has rows with id, language, instruction_language, instruction, text and level (best, flawed or worst), as
    `labels` writes them. Raters ask the model of RECIPE, pmi and prompted without an adapter.
    """
    from x_instruction.errors import CorpusError, RecipeError
    from x_instruction.refine import check
    from x_instruction.refine.compare import settings_for
    from x_instruction.refine.label_files import read
    from x_instruction.storage.atomic import atomic

    if out and out.suffix != ".json":
        raise RecipeError(f"{out} is not .json, which figures are written as")
    settings = read_recipe(recipe, languages, None, sets)
    examples = [example for example in read(labelled) if languages is None or example.language in settings.languages]
    if not examples:
        raise CorpusError(f"{labelled} has no pairs in {languages}: name languages that are in it")
    chosen = [settings_for(settings.refine, name, adapter) for name in dict.fromkeys(raters or _RATERS)]
    for refine in chosen:
        check(refine)
    found: list[RaterMetrics] = []
    click.echo(_row("language", "rater", "pairs", "best>worst", "best>rest", "precision", "recall", "calibration"))
    for metrics in _compared(settings, examples, chosen, out):
        found += metrics
        for line in metrics:
            click.echo(_shown(line))
    if out:
        with atomic(out) as stream:
            table = {"labels": labelled.name, "figures": [line.plain() for line in found]}
            stream.write(json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False).encode())


def _compared(
    settings: Recipe, examples: Sequence[Example], chosen: Sequence[Refine], out: Path | None
) -> Iterator[list[RaterMetrics]]:
    """Figures of each rater; raters that ask one model share its loading."""
    import tempfile

    models = list(dict.fromkeys(refine.model for refine in chosen))
    with tempfile.TemporaryDirectory(prefix="rater-") as folder:
        cache = out.with_suffix(".sqlite") if out else Path(folder) / "answers.sqlite"
        for model in models:
            yield from _asked(settings, examples, [refine for refine in chosen if refine.model == model], model, cache)


def _asked(
    settings: Recipe, examples: Sequence[Example], chosen: Sequence[Refine], model: Model, cache: Path
) -> Iterator[list[RaterMetrics]]:
    from x_instruction.engines import open_engine
    from x_instruction.engines.request_cache import RequestCache
    from x_instruction.pipeline.worker import identity
    from x_instruction.refine import rate
    from x_instruction.refine.compare import candidate, rater_metrics

    candidates = [candidate(example, number) for number, example in enumerate(examples)]
    with RequestCache(cache, open_engine(model), identity(model)) as ledger:
        for refine in chosen:
            rated = rate(candidates, refine, ledger.engine, ledger.ask)
            yield rater_metrics(examples, rated, refine, settings.seed)


def _shown(line: RaterMetrics) -> str:
    worst, rest = (
        f"{_share(value)} {_share(low)}-{_share(high)}" for value, low, high in (line.best_worst, line.best_rest)
    )
    shares = map(_share, (line.precision, line.recall, line.calibration_error))
    return _row(line.language, line.rater, f"{line.pairs:,}", worst, rest, *shares)


def _share(value: float) -> str:
    return "?" if math.isnan(value) else f"{value:.3f}"


def _row(tag: str, rater: str, pairs: str, worst: str, rest: str, *shares: str) -> str:
    return f"{tag:9} {rater:9} {pairs:>7} {worst:>18} {rest:>18} " + " ".join(f"{share:>11}" for share in shares)
