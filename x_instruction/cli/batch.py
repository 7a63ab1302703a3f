"""``x-instruction batch``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from x_instruction.cli.options import read_run
from x_instruction.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from x_instruction.pipeline.batch import File
    from x_instruction.pipeline.batch_results import Read

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def _size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Bytes of a size such as 200MB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", value.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 1:
        raise click.BadParameter(f"{value!r} is no size, as 200MB", ctx, param)
    return size


@click.group()
def command() -> None:
    """Ask a model by files, as `vllm run-batch` and batch services take them.

    For models with engine = "batch". `run` makes the passages and stops; `write` puts what waits for an answer into
    files; `read` takes the answers in, any part of them, in any order; `run` goes on with what it then knows.
    """


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File.  [default: FOLDER/batch/requests-00001.jsonl, ...]")
@click.option("--max-requests", type=click.IntRange(1), default=50_000, show_default=True, help="In one file.")
@click.option("--max-bytes", callback=_size, metavar="SIZE", default="200MB", show_default=True, help="Of one file.")
@click.option("--overwrite", is_flag=True, help="Replace files named by --out.")
def write(folder: Path, out: Path | None, max_requests: int, max_bytes: int, overwrite: bool) -> None:
    """Write the requests that wait for answers in the run in FOLDER.

    One file for each model and endpoint, more where it would get too large. Requests whose results were read with an
    answer are not written again; failed ones are.
    """
    from x_instruction.pipeline.batch import write as write_files

    files = write_files(RunFolder(folder), read_run(folder), out, max_requests, max_bytes, overwrite)
    if not files:
        click.echo(f"nothing waits in {folder}\nnext: run the recipe again, it goes on by itself")
        return
    for file in files:
        there = ", was there already" if file.there else ""
        click.echo(f"{file.path}: {file.requests:,} requests, {_megabytes(file.size)}{there}")
    for line in _advice(folder, files):
        click.echo(line)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--give-up", is_flag=True, help="Drop the records of failed requests instead of asking again.")
def read(folder: Path, results: tuple[Path, ...], give_up: bool) -> None:
    """Take the answers in files of RESULTS into the run in FOLDER.

    Lines may come in any order, and files twice; what cannot be read is counted and costs nothing else.
    """
    from x_instruction.pipeline.batch_results import read as read_files

    found = read_files(RunFolder(folder), read_run(folder), results, give_up)
    for line in _told(found, folder, give_up):
        click.echo(line)


def _advice(folder: Path, files: list[File]) -> list[str]:
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


def _told(found: Read, folder: Path, give_up: bool) -> list[str]:
    lines = [f"{found.answered:8,} answered"]
    lines += [f"{found.known:8,} known before"] if found.known else []
    if found.failed:
        lines.append(f"{found.failed.total():8,} failed, {'given up' if give_up else 'asked again by the next file'}")
        for reason, number in found.failed.most_common():
            lines.append(f"{number:12,} {reason}: {_short(found.examples[reason])}")
    lines += [f"{found.older:8,} for requests that this recipe does not ask"] if found.older else []
    lines += [f"{found.foreign:8,} of other runs"] if found.foreign else []
    lines += [f"{found.unreadable:8,} lines that could not be read"] if found.unreadable else []
    if found.waiting:
        lines.append(f"next: {found.waiting:,} requests still wait: x-instruction batch write {folder}")
    else:
        lines.append("next: run the recipe again, every request has its answer")
    return lines


def _short(text: str, most: int = 100) -> str:
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"
