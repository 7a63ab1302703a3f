"""``x-instruction batch``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from x_instruction.cli.groups import CommandGroup
from x_instruction.cli.options import out_option, overwrite_option

if TYPE_CHECKING:
    from x_instruction.pipeline.batch import RequestFile
    from x_instruction.pipeline.batch_results import ImportSummary

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def _size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Bytes of a size such as 200MB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", value.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 1:
        raise click.BadParameter(f"{value!r} is no size, expected one such as 200MB", ctx, param)
    return size


@click.group(cls=CommandGroup)
def command() -> None:
    """Run requests through batch files, for engine = "batch".

    `run` makes the passages and stops. `write` writes the requests that wait for answers to files, for `vllm run-batch`
    or a batch service. `read` imports the answers: any part of them, in any order. Then `run` continues.
    """


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@out_option("File to write", "FOLDER/batch/requests-00001.jsonl, ...")
@click.option(
    "--max-requests", type=click.IntRange(1), default=50_000, show_default=True, metavar="N", help="Requests per file."
)
@click.option("--max-bytes", callback=_size, metavar="SIZE", default="200MB", show_default=True, help="Size of a file.")
@overwrite_option
def write(folder: Path, out: Path | None, max_requests: int, max_bytes: int, overwrite: bool) -> None:
    """Write the waiting requests of the run in FOLDER.

    One file per model and endpoint, several if it would get too large. Requests that have an answer are not written
    again; failed ones are.
    """
    from x_instruction.api import read_run
    from x_instruction.pipeline.batch import write as write_files
    from x_instruction.storage.run_folder import RunFolder

    files = write_files(RunFolder(folder), read_run(folder), out, max_requests, max_bytes, overwrite)
    if not files:
        click.echo(f"{folder}: no request waits for an answer\nnext: run the recipe again to continue")
        return
    for file in files:
        there = ", already written" if file.existed else ""
        click.echo(f"{file.path}: {file.requests:,} requests, {_megabytes(file.size)}{there}")
    for line in _advice(folder, files):
        click.echo(line)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--give-up", is_flag=True, help="Drop the rows of failed requests instead of repeating them.")
def read(folder: Path, results: tuple[Path, ...], give_up: bool) -> None:
    """Read answers from files of RESULTS into the run in FOLDER.

    Lines may be in any order, and a file may be read twice. Lines that cannot be read are counted and skipped.
    """
    from x_instruction.api import read_run
    from x_instruction.pipeline.batch_results import read as read_files
    from x_instruction.storage.run_folder import RunFolder

    summary = read_files(RunFolder(folder), read_run(folder), results, give_up)
    for line in _lines(summary, folder, give_up):
        click.echo(line)


def _advice(folder: Path, files: list[RequestFile]) -> list[str]:
    first = files[0]
    lines = [f"to {', '.join(sorted({f'{file.model} at {file.url}' for file in files}))}"]
    answers = first.path.with_name(f"{first.path.stem.replace('requests', 'results')}.jsonl")
    answers = answers if answers != first.path else first.path.with_name(f"{first.path.stem}-results.jsonl")
    if any(file.url.endswith("/chat/completions") for file in files):
        lines += ["next, for example:", f"  vllm run-batch -i {first.path} -o {answers} --model {first.model}"]
    else:
        # Read from vLLM's own list of endpoints for batches.
        lines.append("next: have a service answer it (`vllm run-batch` takes chat prompts only)")
    return [*lines, f"then: x-instruction batch read {folder} {answers}"]


def _lines(summary: ImportSummary, folder: Path, give_up: bool) -> list[str]:
    from x_instruction.pipeline.losses import short

    lines = [f"{summary.answered:8,} answered"]
    lines += [f"{summary.known:8,} known before"] if summary.known else []
    if summary.failed:
        lines.append(f"{summary.failed.total():8,} failed, {'given up' if give_up else 'asked again by the next file'}")
        for reason, number in summary.failed.most_common():
            lines.append(f"{number:12,} {reason}: {short(summary.examples[reason], 100)}")
    lines += [f"{summary.older:8,} for requests that this recipe does not ask"] if summary.older else []
    lines += [f"{summary.foreign:8,} of other runs"] if summary.foreign else []
    lines += [f"{summary.unreadable:8,} lines that could not be read"] if summary.unreadable else []
    if summary.waiting:
        lines.append(f"next: {summary.waiting:,} requests still wait: x-instruction batch write {folder}")
    else:
        lines.append("next: run the recipe again, every request has its answer")
    return lines


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"
