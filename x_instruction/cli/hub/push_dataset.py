"""``x-instruction hub push-dataset``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.interrupt import kept
from x_instruction.cli.options import publish_options
from x_instruction.terminal import plain


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repo")
@publish_options
@click.option("--replace-card", is_flag=True, help="Replace a card that was edited by hand.")
def command(
    folder: Path,
    repo: str,
    private: bool | None,
    create_pr: bool,
    revision: str,
    tag: str | None,
    move_tag: bool,
    collection: str | None,
    replace_card: bool,
    yes: bool,
) -> None:
    """Publish the data set in FOLDER on the Hub.

    FOLDER is one that `build` wrote, REPO is NAMESPACE/NAME. Languages of REPO that are not in FOLDER stay unchanged.
    The update is atomic; afterwards the published files are downloaded and compared. If interrupted, rerun the same
    command: only what is missing is uploaded.

    Log in with HF_TOKEN or `hf auth login`. HF_ENDPOINT names another Hub.
    """
    from x_instruction.api import publish

    kept("uploaded files are kept on the Hub; rerun the same command to continue")
    publish(
        folder,
        repo,
        yes=yes,
        private=private,
        create_pr=create_pr,
        revision=revision,
        tag=tag,
        move_tag=move_tag,
        collection=collection,
        replace_card=replace_card,
        repo_type="dataset",
        log=lambda text: click.echo(plain(text), err=True),
        show=lambda text: click.echo(plain(text)),
    )
    if not yes:
        click.echo("nothing was published: pass --yes to publish")
