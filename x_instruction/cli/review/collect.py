"""``x-instruction review collect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from x_instruction.cli.tables import Column, Format, emit, format_options
from x_instruction.cli.wrapping import echo

if TYPE_CHECKING:
    from x_instruction.review.answers import Rater
    from x_instruction.review.quality import Review
    from x_instruction.review.sheet import Sheet


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--sheet",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder that `review make` wrote.  [default: that of the first file]",
)
@click.option(
    "--precision",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Share of kept pairs that should be good.  [default: refine.precision of the recipe, or 0.8]",
)
@format_options
def command(files: tuple[Path, ...], folder: Path | None, precision: float | None, form: Format | None) -> None:
    """Read the FILES that raters sent back.

    Prints the agreement of raters, how often each is right on rows of known quality, and the precision of each
    threshold with its 95 % interval. Raters who are no better than chance are left out. If every rater judged enough
    rows of known quality, good and spoilt ones, precisions are corrected for the errors of raters.

    \b
    labels.jsonl       judged pairs for the rater: refine.label_files
    corrections.jsonl  corrected instructions: build --corrections
    comments.jsonl     comments, with their pairs
    review.json        the figures, as a record

    are written into the folder of the sheet. Corrected instructions that are malformed or in a wrong language are
    named and left out.
    """
    from x_instruction.builders.corrections import write as write_corrections
    from x_instruction.evaluation.record import write_record
    from x_instruction.refine.label_files import write as write_labels
    from x_instruction.review.answers import read_answers, write_comments
    from x_instruction.review.quality import metrics, model, read
    from x_instruction.review.sheet import read_key

    folder = folder or files[0].parent
    sheet = read_key(folder)
    raters = read_answers(sheet, files)
    review = read(sheet, raters, precision or sheet.hidden.get("precision") or 0.8)
    for refused in review.refused:
        text = f"left out, corrected by {refused.rater}: {refused.instruction[:60]!r}: {refused.reason}"
        echo(text, err=True)
    emit(_thresholds(review), _THRESHOLDS, form)
    if not form:
        _say(sheet, raters, review)
    if review.rows:
        write_record(folder, "review", model(sheet), metrics(sheet, review), [], settings={"sheet": sheet.id})
    write_labels(review.labels, folder / "labels.jsonl")
    write_corrections(review.corrections, folder / "corrections.jsonl")
    comments = write_comments(sheet, raters, folder / "comments.jsonl")
    echo(
        f"{folder}: {len(review.labels)} labels, {len(review.corrections)} corrected instructions, "
        f"{len(review.refused)} left out, comments: {comments}",
        err=True,
    )


def _thresholds(review: Review) -> list[dict[str, Any]]:
    return [
        {
            "threshold": row.threshold,
            "kept": row.kept,
            "judged": row.judged,
            "precision": row.precision,
            "low": row.low,
            "high": row.high,
            "recommended": row.threshold == review.threshold,
        }
        for row in review.rows
    ]


def _say(sheet: Sheet, raters: list[Rater], review: Review) -> None:
    from x_instruction.review.agreement import agreements

    # Rows of known quality are easier than the others, and would make raters agree more than they do.
    pairs = {item.id for item in sheet.items if "level" not in item.hidden}
    judged = {
        rater.name: {
            id: answer.choices["quality"]
            for id, answer in rater.answers.items()
            if id in pairs and "quality" in answer.choices
        }
        for rater in raters
    }
    click.echo()
    for rater in raters:
        found = review.accuracies[rater.name]
        right = (
            f"right on {found.share:.0%} ({found.interval[0]:.0%} to {found.interval[1]:.0%}) of {found.rows} known"
            if found.rows
            else "judged no row of known quality"
        )
        left_out = "" if rater.name in review.trusted else "; left out, as this is no better than chance"
        echo(f"{rater.name}: judged {len(judged[rater.name])} of {len(pairs)} pairs, {right}{left_out}")
    for pair in agreements(judged, sheet.seed):
        low, high = pair.kappa_interval
        line = (
            f"{' and '.join(pair.raters)}: equal on {pair.share:.0%} of {pair.rows} pairs, "
            f"kappa {pair.kappa:.2f} ({low:.2f} to {high:.2f})"
        )
        echo(line)
    if review.flaws:
        echo("flaws: " + ", ".join(f"{name} {count}" for name, count in review.flaws.items()))
    echo(_advice(sheet, review))


def _advice(sheet: Sheet, review: Review) -> str:
    corrected = ", corrected for raters' errors" if review.corrected else ""
    if not review.rows:
        return "too few judged pairs for a threshold: at least 5 from raters who are better than chance are needed"
    if sheet.hidden["rater"] == "none":
        return "the run has no rater, so no threshold separates its pairs"
    if review.threshold is None:
        best = max(review.rows, key=lambda row: row.precision)
        return (
            f"no threshold reaches a precision of {review.precision:g}{corrected}: the best is {best.precision:.2f} at "
            f"{best.threshold:.3f}"
        )
    chosen = next(row for row in review.rows if row.threshold == review.threshold)
    unset = " and remove refine.precision" if sheet.hidden.get("precision") is not None else ""
    return (
        f"for a precision of {review.precision:g}, set refine.min_score = {chosen.threshold:.3f}{unset}\n"
        f"it keeps {chosen.kept:.0%} of the passages; {chosen.precision:.0%} of them are good "
        f"({chosen.low:.0%} to {chosen.high:.0%}{corrected})"
    )


_THRESHOLDS = [
    Column("threshold", "threshold", ".3f"),
    Column("kept", "kept", ".0%"),
    Column("judged", "judged", ","),
    Column("precision", lambda row: f"{row['precision']:.2f} ({row['low']:.2f} to {row['high']:.2f})"),
    Column("", lambda row: "<- refine.min_score" if row["recommended"] else ""),
]
