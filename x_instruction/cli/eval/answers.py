"""``x-instruction eval answers``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from x_instruction.cli.eval.asking import budget_option, model_settings, progress
from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import languages_option, limit_option, out_option, overwrite_option, set_option
from x_instruction.cli.tables import Column, Format, emit, format_options

Direction = Literal["cross", "same", "both"]


@click.command()
@click.argument("model")
@click.argument("questions")
@languages_option(required=True)
@out_option("Folder of questions and answers; several systems can share it", required=True)
@click.option("--adapter", metavar="FOLDER", help="LoRA adapter on top of MODEL: a folder or a Hub id.")
@click.option("--system", metavar="NAME", help="Name of the answers' system.  [default: MODEL]")
@click.option(
    "--direction",
    type=click.Choice(["cross", "same", "both"]),
    metavar="NAME",
    default="cross",
    show_default=True,
    help="Ask in English (cross), in the language of the answer (same), or both.",
)
@limit_option("questions")
@click.option(
    "--samples", type=click.IntRange(1), metavar="N", default=1, show_default=True, help="Answers to each question."
)
@click.option(
    "--max-tokens", type=click.IntRange(1), metavar="N", default=2048, show_default=True, help="Tokens of an answer."
)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    metavar="X",
    default=0.7,
    show_default=True,
    help="Sampling temperature; 0 is greedy.",
)
@click.option("--prompt", default="auto", show_default=True, help="Prompt template: chat, answer, or a file.")
@click.option(
    "--tag", metavar="TEXT", default="Answer in {name}.", show_default=True, help="End of cross-lingual questions."
)
@budget_option
@overwrite_option
@set_option("engine=vllm")
@format_options
def command(
    model: str,
    questions: str,
    languages: tuple[str, ...],
    out: Path,
    adapter: str | None,
    system: str | None,
    direction: Direction,
    limit: int | None,
    samples: int,
    max_tokens: int,
    temperature: float,
    prompt: str,
    tag: str,
    budget: float | None,
    overwrite: bool,
    sets: tuple[str, ...],
    form: Format | None,
) -> None:
    """Have MODEL answer QUESTIONS in each language.

    QUESTIONS is a file with a question in each row, or a data set of the Hub, as org/name, org/name:config or
    org/name:config:split. Columns: question_id, text (or turns, inputs, instruction), category, language. In a path,
    {tag} is replaced by the language of the questions.

    Questions in English end with "Answer in Swahili." (--direction cross). With --direction same, they are in the
    language of the answer. Each language has a folder with question.jsonl and answer.LANGUAGE.SYSTEM.eval.jsonl, the
    layout of the paper's evaluation; with --direction both, they are below cross and same. `eval judge` compares the
    systems of such a folder.

    If interrupted, rerun the same command to continue.
    """
    from x_instruction.evaluation.answers import (
        CROSS,
        PIVOT,
        SAME,
        Sampling,
        read_questions,
        system_name,
        write_answers,
    )
    from x_instruction.languages import language

    settings = model_settings(model, adapter, sets)
    name = system_name(system or adapter or model)
    sampling = Sampling(samples, max_tokens, temperature, prompt=prompt, tag=tag)
    tags = [language(each).tag for each in languages]
    directions = [CROSS, SAME] if direction == "both" else [direction]
    # All questions are read before the model is loaded.
    asked = {
        each: {
            into: read_questions(questions, language(PIVOT if each == CROSS else into), limit)
            for into in dict.fromkeys(tags)
        }
        for each in directions
    }
    kept(f"answers are kept in {out}; rerun the same command to continue")
    rows: list[dict[str, Any]] = []
    for each, by_language in asked.items():
        folder = out / each if direction == "both" else out
        reports = write_answers(
            settings,
            by_language,
            sampling,
            folder,
            name,
            budget=budget,
            overwrite=overwrite,
            seen=progress(),
        )
        for into, report in reports.items():
            failed = report["failed"]
            rows.append(
                {
                    "direction": each,
                    "language": into,
                    "system": name,
                    "answers": report["questions"] - sum(failed.values()),
                    "failed": " ".join(f"{reason} {number}" for reason, number in failed.items()) or None,
                    "output_tokens": report["output_tokens"],
                    "folder": str(folder / into),
                }
            )
    emit(rows, _COLUMNS, form)


_COLUMNS = [
    Column("direction", "direction"),
    Column("language", "language"),
    Column("system", "system"),
    Column("answers", "answers", ","),
    Column("failed", "failed"),
    Column("tokens", "output_tokens", ","),
    Column("folder", "folder"),
]
