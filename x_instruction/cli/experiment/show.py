"""``x-instruction experiment show``."""

from __future__ import annotations

import click

from x_instruction.cli.experiment.run import expected
from x_instruction.cli.tables import Column, Format, Row, emit, format_options
from x_instruction.cli.wrapping import echo


@click.command()
@click.argument("design")
@format_options
def command(design: str, form: Format | None) -> None:
    """Print the claims of DESIGN, and what is expected.

    DESIGN is a TOML file, or `claims`, which ships. The first comparison of a claim decides.
    """
    from x_instruction.experiments.claims.design import load

    settings = load(design)
    if form:
        emit(
            [
                {
                    "claim": claim.id,
                    "experiment": claim.experiment,
                    "statement": claim.statement,
                    "source": claim.source,
                }
                | {"expected": one.model_dump()}
                for claim in settings.claims
                for one in claim.expect
            ],
            [],
            form,
        )
        return
    for claim in settings.claims:
        echo(f"{claim.id}: {claim.statement} {claim.method} ({claim.source}; experiment {claim.experiment})")
        emit([{"expected": one.model_dump()} for one in claim.expect], _COLUMNS)
        click.echo()
    echo(f"test: {settings.test}")


def _comparison(row: Row) -> str:
    from x_instruction.experiments.claims.wording import comparison

    return f"  {comparison(row['expected'])}"


_COLUMNS = [Column("  comparison", _comparison), Column("expected", expected)]
