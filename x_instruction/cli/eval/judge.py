"""``x-instruction eval judge``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from x_instruction.cli.eval.asking import budget_option, lid_model_option, model_settings, progress
from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import languages_option, limit_option, out_option, overwrite_option, set_option
from x_instruction.cli.tables import Column, Format, emit, format_options

if TYPE_CHECKING:
    from x_instruction.evaluation.judge.protocols import ProtocolName
    from x_instruction.evaluation.judge.results import PairResult, Pick
    from x_instruction.evaluation.judge.run import Judged
    from x_instruction.evaluation.judge.statistics import Estimate


def protocol_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--protocol`` to ``--retries``: how a judge is asked."""
    for option in (
        click.option(
            "--retries",
            type=click.IntRange(0),
            metavar="N",
            default=1,
            show_default=True,
            help="Ask again, at temperature 0.3, for an answer that cannot be read.",
        ),
        click.option(
            "--max-tokens",
            type=click.IntRange(1),
            metavar="N",
            help="Tokens of an answer that MODEL writes.  [default: 256 for scores, 8 for a letter]",
        ),
        click.option(
            "--prompt-language",
            type=click.Choice(["en", "answer"]),
            metavar="NAME",
            default="en",
            show_default=True,
            help="Ask in English (en), or in the language of the answers (answer).",
        ),
        click.option("--prompt", metavar="FILE", default="auto", show_default=True, help="A prompt of your own."),
        click.option(
            "--aspects",
            metavar="NAMES",
            help="For rubric: language, helpfulness, fluency, factuality, coherence, harmlessness, culture.  "
            "[default: all but culture]",
        ),
        click.option(
            "--protocol",
            type=click.Choice(["choice", "rubric", "x-instruction"]),
            metavar="NAME",
            default="choice",
            show_default=True,
            help="choice, rubric (choices for each aspect), or x-instruction (scores, as in the paper).",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("model")
@click.argument("answers", type=click.Path(path_type=Path))
@out_option("Folder of the results", required=True)
@protocol_options
@click.option(
    "--passport",
    type=click.Path(path_type=Path),
    help="Passport of the judge, from `eval judge-passport`. Without one, no verdict counts.",
)
@click.option("--baseline", metavar="SYSTEM", help="Compare each system with this one only.")
@click.option(
    "--pick",
    type=click.Choice(["shortest", "longest", "first"]),
    metavar="NAME",
    default="shortest",
    show_default=True,
    help="Which of several samples is judged: shortest, longest or first.",
)
@click.option("--gate/--no-gate", default=True, show_default=True, help="Only answers in the right language win.")
@lid_model_option
@click.option(
    "--judgements",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Count the judgements of a folder instead of asking MODEL.",
)
@limit_option("questions")
@languages_option("all of ANSWERS")
@budget_option
@overwrite_option
@set_option("engine=openai")
@format_options
def command(
    model: str,
    answers: Path,
    out: Path,
    protocol: ProtocolName,
    aspects: str | None,
    prompt: str,
    prompt_language: Literal["en", "answer"],
    retries: int,
    max_tokens: int | None,
    passport: Path | None,
    baseline: str | None,
    pick: Pick,
    gate: bool,
    lid_model: str | None,
    judgements: Path | None,
    limit: int | None,
    languages: tuple[str, ...],
    budget: float | None,
    overwrite: bool,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Have MODEL compare the systems of ANSWERS.

    ANSWERS is a folder that `eval answers` wrote, or one in the layout of the paper's evaluation. Every two answers are
    judged in both orders. A system wins if it wins in both; if the orders disagree, it is a tie. An answer in the wrong
    language cannot win (--gate). Parentheses hold 95 % bootstrap intervals by question.

    \b
    win, tie, loss   shares of the judgements with an answer
    score            wins and half of the ties; 0.5 is parity
    equal length     win rate of the judge's preference at equal lengths of the
                     answers (after AlpacaEval 2), without the gate
    no answer        pairs for which the judge gave no answer in an order
    consistency      share of pairs with the same verdict in both orders
    position         win rate of the first answer minus that of the second

    For three or more systems, a table has their strengths (Bradley and Terry). The last lines say in which languages
    the verdicts count, according to the passport.

    Judgements are written in the layout of the paper, and one record for each system. If interrupted, rerun the same
    command to continue.
    """
    from x_instruction.evaluation.judge.protocols import protocol as protocol_of
    from x_instruction.evaluation.judge.run import judge_answers

    kept(f"answers of the judge are kept in {out}; rerun the same command to continue")
    judged = judge_answers(
        model_settings(model, None, sets),
        answers,
        out,
        protocol_of(protocol, split(aspects), prompt, prompt_language, retries, max_tokens),
        tags=languages,
        limit=limit,
        pick=pick,
        baseline=baseline,
        gate=gate,
        lid_model=lid_model,
        passport=passport,
        judgements=judgements,
        budget=budget,
        overwrite=overwrite,
        seen=progress(),
    )
    for name, number in judged.left_out.items():
        click.echo(
            f"{name}: {number:,} {'question' if number == 1 else 'questions'} without an answer, not judged", err=True
        )
    warn_of_cuts(judged.cut_off)
    rows = [_row(result, judged) for result in judged.results]
    emit(rows, _COLUMNS, form)
    if not form:
        click.echo()
        emit(rows, _CHECKS)
    strengths = [
        {"language": tag, "system": name} | figures("strength", estimate) | {"verdict": _verdict(tag, judged)}
        for tag, fitted in judged.strengths.items()
        for name, estimate in sorted(
            zip(fitted.systems, fitted.strengths, strict=True), key=lambda item: -item[1].value
        )
    ]
    if strengths and not form:
        click.echo("\nstrength (log-odds; 0 is the mean)")
        emit(strengths, _STRENGTHS)
    if not form:
        click.echo()
        for tag, verdict in {row["language"]: row["verdict"] for row in rows}.items():
            click.echo(f"{tag}: {verdict}")
    if judged.spent:
        click.echo(f"spent {judged.spent:.4f}", err=True)


def warn_of_cuts(number: int) -> None:
    """Say that answers of a judge were cut off before they said anything."""
    if number:
        answers = "answer of the judge was" if number == 1 else "answers of the judge were"
        click.echo(f"{number:,} {answers} cut off: pass a larger --max-tokens", err=True)


def _verdict(tag: str, judged: Judged) -> str:
    reason = judged.verdicts.reason(tag) if judged.verdicts else "no passport"
    return f"no verdict: {reason}" if reason else "verdicts count"


def split(names: str | None) -> tuple[str, ...]:
    """Names that are separated by commas."""
    return tuple(name.strip() for name in (names or "").split(",") if name.strip())


def figures(name: str, estimate: Estimate) -> dict[str, float]:
    """A figure and its interval as columns."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _row(result: PairResult, judged: Judged) -> dict[str, Any]:
    gated = result.gated
    row: dict[str, Any] = {"language": result.language, "a": result.systems[0], "b": result.systems[1]}
    row |= {"aspect": result.aspect, "n": result.n}
    row |= {"win": gated.win.value, "tie": gated.tie.value, "loss": gated.loss.value}
    row |= figures("score", gated.score) | {"score_without_gate": result.ungated.score.value}
    row |= figures("equal_length", result.length_controlled)
    row |= figures("consistency", result.consistency) | figures("position_bias", result.position)
    return row | {"no_answer": result.no_answer, "verdict": _verdict(result.language, judged)}


def interval(name: str) -> Callable[[Mapping[str, Any]], str]:
    """The cell of a figure with its interval."""

    def cell(row: Mapping[str, Any]) -> str:
        value = row[name]
        return "-" if value != value else f"{value:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"

    return cell


def _systems(row: Mapping[str, Any]) -> str:
    aspect = "" if row["aspect"] == "overall" else f", {row['aspect']}"
    return f"{row['a']} against {row['b']}{aspect}"


_COLUMNS = [
    Column("language", "language"),
    Column("systems", _systems),
    Column("n", "n", ","),
    Column("win", "win", ".2f"),
    Column("tie", "tie", ".2f"),
    Column("loss", "loss", ".2f"),
    Column("score", interval("score")),
]
_CHECKS = [
    Column("language", "language"),
    Column("systems", _systems),
    Column("equal length", interval("equal_length")),
    Column("no answer", "no_answer", ","),
    Column("consistency", "consistency", ".2f"),
    Column("position", "position_bias", "+.2f"),
]
_STRENGTHS = [
    Column("language", "language"),
    Column("system", "system"),
    Column("strength", interval("strength")),
    Column("verdict", lambda row: row["verdict"].partition(":")[0]),
]
