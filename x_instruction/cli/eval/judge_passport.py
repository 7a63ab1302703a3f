"""``x-instruction eval judge-passport``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from x_instruction.cli.eval.asking import budget_option, model_settings, progress
from x_instruction.cli.eval.judge import figures, interval, protocol_options, split, warn_of_cuts
from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import languages_option, limit_option, out_option, overwrite_option, set_option
from x_instruction.cli.tables import Column, Format, emit, format_options

if TYPE_CHECKING:
    from x_instruction.evaluation.judge.passport import Passport
    from x_instruction.evaluation.judge.protocols import ProtocolName


@click.command("judge-passport")
@click.argument("model")
@click.argument("data", nargs=-1, required=True)
@out_option("Folder of the passport", required=True)
@protocol_options
@limit_option("documents", default=40)
@click.option("--own/--no-own", default=True, show_default=True, help="Measure whether MODEL prefers its own answers.")
@click.option(
    "--labels",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Pairs that people judged: the record of `eval rate collect`, or rows with instruction, output_a, "
    "output_b, language and winner (a, b or tie).",
)
@languages_option("all of DATA")
@budget_option
@overwrite_option
@set_option("engine=openai")
@format_options
def command(
    model: str,
    data: tuple[str, ...],
    out: Path,
    protocol: ProtocolName,
    aspects: str | None,
    prompt: str,
    prompt_language: Literal["en", "answer"],
    retries: int,
    max_tokens: int | None,
    limit: int,
    own: bool,
    labels: Path | None,
    languages: tuple[str, ...],
    budget: float | None,
    overwrite: bool,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Measure MODEL as a judge, per language.

    It judges pairs of known order that are made from DATA. DATA is a folder that `build` wrote, or a file of
    instructions with natural responses. TAG=PATH sets the language of the responses if the rows do not state it. A
    response is paired with one that is truncated, shuffled, disfluent, partly foreign, of another page, in the wrong
    language, or padded: longer, but worse. Pairs of equal quality are two responses to other requests.

    \b
    accuracy         share of pairs whose better answer wins in both orders;
                     a pair counts half if the orders disagree
    balanced         mean of accuracy where the better answer is longer, and
                     where it is shorter
    consistency      share of pairs with the same verdict in both orders
    position         win rate of the first answer minus that of the second
    length, own      the same for the longer answer and for that of MODEL, on
                     pairs of equal quality
    wrong language   the same for the answer in the wrong language

    There is no verdict in a language where accuracy, or balanced, is not clearly better than chance, 0.5.
    """
    from x_instruction.evaluation.judge.protocols import CUT_OFF
    from x_instruction.evaluation.judge.protocols import protocol as protocol_of
    from x_instruction.evaluation.judge.run import PASSPORT_REQUESTS, measure_judge
    from x_instruction.evaluation.spending import spent

    kept(f"answers of the judge are kept in {out}; rerun the same command to continue")
    settings = model_settings(model, None, sets)
    passports = measure_judge(
        settings,
        data,
        out,
        protocol_of(protocol, split(aspects), prompt, prompt_language, retries, max_tokens),
        tags=languages,
        per_language=limit,
        own=own,
        labels=labels,
        budget=budget,
        overwrite=overwrite,
        seen=progress(),
    )
    rows = [_row(passport) for passport in passports.values()]
    emit(rows, _COLUMNS, form)
    if paid := spent(settings, [out / PASSPORT_REQUESTS]):
        click.echo(f"spent {paid:.4f}", err=True)
    warn_of_cuts(sum(passport.failures.get(CUT_OFF, 0) for passport in passports.values()))
    if form:
        return
    for columns in (_ORDER, _OTHER):
        click.echo()
        emit(rows, columns)
    click.echo()
    for passport in passports.values():
        for line in _sentences(passport):
            click.echo(f"{passport.language}: {line}")


def _sentences(passport: Passport) -> list[str]:
    """What the passport says, in words: the verdict, the biases, and what it cannot see."""
    reason = passport.no_verdict
    lines = [f"no verdict: {reason}" if reason else "verdicts count"]
    lines += [f"{bias.text} ({bias.name} bias {bias.size.text('+.2f')})" for bias in passport.biases]
    blind = [flaw for flaw, estimate in passport.by_flaw.items() if not estimate.low > 0.5]
    if blind and not reason:
        lines.append(f"does not see: {', '.join(blind)}")
    return lines


def _row(passport: Passport) -> dict[str, Any]:
    row: dict[str, Any] = {"language": passport.language, "documents": passport.documents}
    row |= figures("accuracy", passport.accuracy) | figures("balanced", passport.balanced)
    row |= {f"accuracy_{flaw}": estimate.value for flaw, estimate in passport.by_flaw.items()}
    row |= {"answered": passport.answered} | figures("consistency", passport.consistency)
    row |= figures("position", passport.position) | figures("length", passport.length)
    row |= figures("own", passport.own) | figures("wrong_language", passport.language_bias)
    if passport.people is not None:
        row |= figures("kappa", passport.people)
    return row | {"verdict": passport.no_verdict or "counts"}


def _by_flaw(row: Any) -> str:
    found = {key.removeprefix("accuracy_"): value for key, value in row.items() if key.startswith("accuracy_")}
    return ", ".join(f"{flaw} {value:.2f}" for flaw, value in found.items() if flaw not in ("low", "high"))


_COLUMNS = [
    Column("language", "language"),
    Column("documents", "documents", ","),
    Column("accuracy", interval("accuracy")),
    Column("balanced", interval("balanced")),
    Column("by flaw", _by_flaw),
]
_ORDER = [
    Column("language", "language"),
    Column("answered", "answered", ".2f"),
    Column("consistency", "consistency", ".2f"),
    Column("position", interval("position")),
    Column("length", interval("length")),
]
_OTHER = [
    Column("language", "language"),
    Column("own", interval("own")),
    Column("wrong language", interval("wrong_language")),
]
