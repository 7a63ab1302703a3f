"""``x-instruction seeds collect``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.options import languages_option, out_option, per_language, read_sets, set_option


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@languages_option(required=True)
@out_option("File to write, .jsonl or .parquet; with several languages, such as seeds/{tag}.jsonl", required=True)
@click.option(
    "--exclude-eval", multiple=True, metavar="FILE", help="Evaluation set that no seed may repeat. Repeatable."
)
@set_option("count=1000")
def command(
    sources: tuple[Path, ...],
    languages: tuple[str, ...],
    out: Path,
    exclude_eval: tuple[str, ...],
    sets: tuple[str, ...],
) -> None:
    """Collect seed pairs whose response is in one of the languages.

    SOURCES are conversation trees (OASST), parallel documents or instruction files.

    Drops duplicates, responses in another language, and rows of an evaluation set. The reasons are written beside the
    file. The keys of --set are those of [seeds] in docs/recipes.md.
    """
    from x_instruction.config.section import validate
    from x_instruction.config.seeds import Seeds
    from x_instruction.errors import CorpusError
    from x_instruction.languages import language
    from x_instruction.seed.collect import collect, none_kept

    targets = per_language(out, languages)
    settings = validate(Seeds, {}, read_sets(sets))
    settings = settings.replace(exclude_eval=(*settings.exclude_eval, *exclude_eval))
    for tag, target in targets.items():
        spoken = language(tag)
        report = collect(sources, settings, spoken, target)
        for reason, number in report["dropped"].items():
            click.echo(f"dropped  {reason:24} {number:9,}", err=True)
        if not report["kept"]:
            gone = target.with_suffix(".dropped.parquet")
            raise CorpusError(
                f"{none_kept(spoken, sources, report['dropped'])}: {target} is empty, see the reason of each row in "
                f"{gone}"
            )
        click.echo(f"{target}: {report['kept']:,} seeds of {report['rows_in']:,} rows")
