"""``x-instruction local-hub``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from x_instruction.errors import RecipeError

MIB = 1 << 20


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="What is served.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; others reach only one that you name.")
@click.option("--port", type=click.IntRange(0, 65535), default=8901, show_default=True, help="0 is any free one.")
@click.option(
    "--token", "tokens", multiple=True, metavar="NAME=ROLE", help="Make an account, as reader=read or ci=write."
)
@click.option("--max-file-size", type=click.IntRange(1), default=51_200, show_default=True, help="MiB of one file.")
@click.option("--commits-per-hour", type=click.IntRange(0), default=0, help="Of one account; 0 is no bound.")
@click.option("--requests-per-5-minutes", type=click.IntRange(0), default=0, help="Of one account; 0 is no bound.")
def command(
    folder: Path,
    host: str,
    port: int,
    tokens: tuple[str, ...],
    max_file_size: int,
    commits_per_hour: int,
    requests_per_5_minutes: int,
) -> None:
    """Serve FOLDER as a Hugging Face Hub, for machines without a network and for rehearsals.

    `hf`, huggingface_hub, datasets, transformers and `git clone` work with it when HF_ENDPOINT names it. A new token is
    printed once and kept as a hash. Without --token the first start makes the account "local", which may write.
    """
    from x_instruction.local_hub.server import Limits, address, application, listen, open_hub, serve

    limits = Limits(
        file_bytes=max_file_size * MIB,
        commits_per_hour=commits_per_hour,
        requests_per_5_minutes=requests_per_5_minutes,
    )
    wanted = {}
    for text in tokens:
        name, equals, role = text.partition("=")
        if not equals:
            raise RecipeError(f"--token {text!r} is not NAME=ROLE, as reader=read")
        wanted[name] = role
    with listen(host, port) as listening:
        hub, made = open_hub(folder, limits, wanted)
        for name, token in made.items():
            click.echo(f"token of {name} ({wanted.get(name, 'write')}), shown once: {token}")
        click.echo(f"export HF_ENDPOINT={address(listening)}")
        sys.stdout.flush()
        serve(application(hub), listening)
