"""``x-instruction eval rate collect``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from x_instruction.cli.tables import Column, Format, emit, format_options
from x_instruction.cli.wrapping import echo


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--sheet",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder that `eval rate make` wrote.  [default: that of the first file]",
)
@format_options
def command(files: tuple[Path, ...], folder: Path | None, form: Format | None) -> None:
    """Read the FILES that raters sent back.

    Prints how often the first system is better, in each aspect and language, with 95 % intervals by a bootstrap over
    the pairs, and how far raters agree. Ties count half.

    \b
    human-rating.json  the verdicts, as a record
    labels.jsonl       pairs that all raters agree about: refine.label_files
    comments.jsonl     comments, with their pairs

    are written into the folder of the sheet.
    """
    from x_instruction.evaluation.metric import ModelInfo
    from x_instruction.evaluation.record import write_record
    from x_instruction.refine.label_files import write as write_labels
    from x_instruction.review.agreement import agreements
    from x_instruction.review.answers import read_answers, write_comments
    from x_instruction.review.preference import choices, instances, labels, metrics, verdicts
    from x_instruction.review.sheet import read_key

    folder = folder or files[0].parent
    sheet = read_key(folder)
    raters = read_answers(sheet, files)
    found = verdicts(sheet, raters)
    first, second = sheet.hidden["systems"]
    if not form:
        echo(f"how often {first} is better than {second}; ties count half")
    emit([asdict(verdict) for verdict in found], _COLUMNS, form)
    if not form:
        click.echo()
        for question in sheet.questions:
            for pair in agreements({rater.name: choices(sheet, rater, question.id) for rater in raters}, sheet.seed):
                low, high = pair.kappa_interval
                line = (
                    f"{question.id}: {' and '.join(pair.raters)} agree on {pair.share:.0%} of {pair.rows} pairs, "
                    f"kappa {pair.kappa:.2f} ({low:.2f} to {high:.2f})"
                )
                echo(line)
    made = metrics(sheet, found, len(raters))
    samples = instances(sheet, raters, made, found)
    record = write_record(folder, "human-rating", ModelInfo(name=first), made, samples, settings={"sheet": sheet.id})
    labelled = labels(sheet, raters)
    write_labels(labelled, folder / "labels.jsonl")
    comments = write_comments(sheet, raters, folder / "comments.jsonl")
    echo(f"{record}; {len(labelled)} labels in {folder / 'labels.jsonl'}, comments: {comments}", err=True)


_COLUMNS = [
    Column("aspect", "aspect"),
    Column("language", lambda row: row["language"] or "all"),
    Column("pairs", "pairs", ","),
    Column("wins", "wins", ","),
    Column("ties", "ties", ","),
    Column("losses", "losses", ","),
    Column("score", lambda row: f"{row['rate']:.2f} ({row['interval'][0]:.2f} to {row['interval'][1]:.2f})"),
]
