"""``x-instruction experiment run``."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Literal, cast

import click

from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import out_option
from x_instruction.cli.tables import Column, Format, Row, emit, format_options
from x_instruction.cli.wrapping import echo

# Named here because help must not import the library; a test holds them equal to those of the design.
PROFILES = ("small", "cpu", "gpu")


@click.command()
@click.argument("design")
@click.option("--profile", type=click.Choice(PROFILES), help="Sizes.  [default: gpu if there is one, else cpu]")
@out_option("Folder of the results", "runs/NAME-PROFILE", is_run=False)
@click.option("--pool", type=click.Path(path_type=Path), metavar="PATH", help="Your own documents: a file or folder.")
@click.option("--model", metavar="MODEL", help="Another base model: a folder, or an id of the Hub.")
@click.option("--only", multiple=True, metavar="EXPERIMENT", help="Run this experiment only. Repeatable.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where models run."
)
@click.option("--rank", type=int, metavar="N", default=0, help="Make only a share of the parts: N of --of, from 0.")
@click.option("--of", type=int, metavar="N", default=1, help="Number of shares that are made side by side.")
@click.option("--seconds", type=float, metavar="N", help="Begin no further part after N seconds.")
@format_options
def command(
    design: str,
    profile: str | None,
    out: Path | None,
    pool: Path | None,
    model: str | None,
    only: tuple[str, ...],
    device: Literal["auto", "cpu", "cuda"],
    rank: int,
    of: int,
    seconds: float | None,
    form: Format | None,
) -> None:
    """Test the claims of DESIGN, and compare with what was expected.

    DESIGN is a TOML file, or `claims`, which ships. `x-instruction experiment show` prints it.

    Each experiment has parts. A part that fails does not stop the others: its reason is printed at the end, and the
    exit code is 1. The folder has results.json, and report.html for people.

    The documents of --pool need the fields text, title, text_en and language; title and text_en are in English.

    If interrupted, or if parts are left, rerun the same command to continue.
    """
    from x_instruction.engines.local.devices import has_gpu
    from x_instruction.experiments.claims import design as designs
    from x_instruction.experiments.claims.run import run

    settings = designs.load(design)
    if model:
        settings = settings.with_model(model)
    sizes = cast(designs.Profile, profile or ("gpu" if has_gpu() and device != "cpu" else "cpu"))
    folder = out or Path("runs") / f"{settings.name}-{sizes}"
    kept(f"finished parts and checkpoints are kept in {folder}; rerun the same command to continue")
    outcome = run(
        settings,
        sizes,
        folder,
        documents=pool,
        only=only,
        device=device,
        rank=rank,
        of=of,
        seconds=math.inf if seconds is None else seconds,
        log=lambda line: echo(line, err=True),
    )
    emit([row for row in outcome.verdicts if form or row["decides"]], _COLUMNS, form)
    echo(f"report: {outcome.file.with_name('report.html')}", err=bool(form))
    if outcome.left:
        for name, reason in outcome.left.items():
            echo(f"left: {name}: {reason}", err=True)
        count = "1 part is" if len(outcome.left) == 1 else f"{len(outcome.left)} parts are"
        echo(f"{count} left: rerun the same command to continue", err=True)
        sys.exit(1)


def expected(row: Row) -> str:
    """What a comparison expects."""
    from x_instruction.experiments.claims.wording import expectation

    return expectation(row["expected"])


def _figure(row: Row) -> str:
    from x_instruction.experiments.claims.wording import interval

    return interval(row["figure"])


_COLUMNS = [
    Column("claim", "claim"),
    Column("verdict", "verdict"),
    Column("figure (95 %)", _figure),
    Column("expected", expected),
]
