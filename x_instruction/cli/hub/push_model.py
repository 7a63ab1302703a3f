"""``x-instruction hub push-model``."""

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
@click.option(
    "--base-license", default="", metavar="NAME", help="Licence of the base model as its card states it, such as mit."
)
@click.option("--base-license-link", default="", metavar="URL", help="URL of the licence, if it is not a standard one.")
def command(
    folder: Path,
    repo: str,
    private: bool | None,
    create_pr: bool,
    revision: str,
    tag: str | None,
    move_tag: bool,
    collection: str | None,
    base_license: str,
    base_license_link: str,
    yes: bool,
) -> None:
    """Publish the model in FOLDER on the Hub.

    FOLDER holds a whole model or an adapter, REPO is NAMESPACE/NAME. Its card is made from training.json in FOLDER and
    the records of evaluations in FOLDER/evaluation. The update is atomic; afterwards the published files are compared
    with FOLDER's, weight by weight, and the model is loaded (an adapter only if its base is on the Hub). A licence that
    you pass is added to the published training.json.

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
        base_license=base_license,
        base_license_link=base_license_link,
        repo_type="model",
        log=lambda text: click.echo(plain(text), err=True),
        show=lambda text: click.echo(plain(text)),
    )
    if not yes:
        click.echo("nothing was published: pass --yes to publish")
