"""``x-instruction publish``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repo")
@click.option(
    "--private/--public", default=None, help="Who sees it.  [default: as it is, or as its owner's settings say]"
)
@click.option("--create-pr", is_flag=True, help="Leave a pull request, for others to look at and merge.")
@click.option("--revision", default="main", show_default=True, metavar="REV", help="Branch, or refs/pr/N.")
@click.option("--tag", metavar="NAME", help="Name of the published revision, as v1.0.0.")
@click.option("--move-tag", is_flag=True, help="Move the tag if it names another revision.")
@click.option("--collection", metavar="TITLE", help="Collection to put it into, by title or slug.")
@click.option("--replace-card", is_flag=True, help="Replace a card that was changed by hand.")
@click.option("--yes", is_flag=True, help="Do it; without, only what would change is printed.")
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
    """Publish the data set that `build` wrote to FOLDER as REPO (NAMESPACE/NAME) on the Hub.

    Languages that are published already and not in FOLDER stay as they are. Nothing is seen before all of it is
    there; then it is downloaded and compared. Who is stopped runs the same command again, and sends what is missing.

    HF_TOKEN or `hf auth login` say who publishes, HF_ENDPOINT where.
    """
    from x_instruction.hub.publish import PublishRequest, execute, prepare
    from x_instruction.hub.summary import done, lines

    wish = PublishRequest(
        folder=folder,
        repo=repo,
        private=private,
        create_pr=create_pr,
        revision=revision,
        tag=tag,
        move_tag=move_tag,
        collection=collection,
        replace_card=replace_card,
    )
    prepared = prepare(wish, lambda text: click.echo(text, err=True))
    for line in lines(prepared):
        click.echo(line, err=yes)
    if not yes:
        click.echo("nothing was written: pass --yes to publish")
        return
    click.echo(done(execute(prepared), repo))
