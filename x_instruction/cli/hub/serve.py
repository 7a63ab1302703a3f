"""``x-instruction hub serve``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from x_instruction.errors import RecipeError

MIB = 1 << 20


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8901,
    show_default=True,
    metavar="N",
    help="Port; 0 is any free one.",
)
@click.option(
    "--token",
    "tokens",
    multiple=True,
    metavar="NAME=ROLE",
    help="Create an account, such as reader=read or ci=write. Repeatable.",
)
@click.option(
    "--allowed-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Name that the server is reached by, besides addresses and localhost. Repeatable.",
)
@click.option(
    "--max-file-size", type=click.IntRange(1), default=51_200, show_default=True, metavar="MIB", help="Size of a file."
)
@click.option(
    "--commits-per-hour", type=click.IntRange(0), default=0, metavar="N", help="Per account.  [default: no limit]"
)
@click.option(
    "--requests-per-5-minutes", type=click.IntRange(0), default=0, metavar="N", help="Per account.  [default: no limit]"
)
@click.option(
    "--jobs",
    is_flag=True,
    help="Run the jobs of `hf jobs run`: every account that can write runs commands as you, on this machine.",
)
def command(
    folder: Path,
    host: str,
    port: int,
    tokens: tuple[str, ...],
    hosts: tuple[str, ...],
    max_file_size: int,
    commits_per_hour: int,
    requests_per_5_minutes: int,
    jobs: bool,
) -> None:
    """Serve FOLDER as a local Hugging Face Hub.

    For tests, and for machines without a network.

    Set HF_ENDPOINT to its address: then `hf`, huggingface_hub, datasets, transformers and `git clone` use it. A new
    token is printed once and stored as a hash. Without --token, the first start creates the account "local", which can
    write.
    """
    from x_instruction.local_hub.server import Limits, address, application, is_loopback, listen, open_hub, serve

    limits = Limits(
        file_bytes=max_file_size * MIB,
        commits_per_hour=commits_per_hour,
        requests_per_5_minutes=requests_per_5_minutes,
    )
    accounts = {}
    for text in tokens:
        name, equals, role = text.partition("=")
        if not equals:
            raise RecipeError(f"--token {text!r} is not NAME=ROLE, such as reader=read")
        accounts[name] = role
    with listen(host, port) as listening:
        hub, made = open_hub(folder, limits, accounts, jobs)
        for name, token in made.items():
            click.echo(f"token of {name} ({accounts.get(name, 'write')}), shown once: {token}")
        click.echo(f"export HF_ENDPOINT={address(listening)}")
        # Of an account that can write, if one was made now: a token is shown once.
        writers = [token for name, token in made.items() if accounts.get(name, "write") == "write"]
        click.echo(f"export HF_TOKEN={writers[0] if writers else '...   # as printed when its account was created'}")
        sys.stdout.flush()
        # Behind a name of a network, any name may be right, unless some are given.
        known = frozenset(name.lower() for name in hosts)
        serve(application(hub, known if known or is_loopback(host) else None), listening)
