"""``x-instruction hub push-model``."""

from __future__ import annotations

from pathlib import Path

import click

from x_instruction.cli.interrupt import kept


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repo")
@click.option("--private/--public", default=None, help="Visibility.  [default: unchanged, or the owner's default]")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of committing.")
@click.option("--revision", default="main", show_default=True, metavar="REV", help="Branch, or refs/pr/N.")
@click.option("--tag", metavar="NAME", help="Tag for the published revision, such as v1.0.0.")
@click.option("--move-tag", is_flag=True, help="Move the tag if it exists.")
@click.option("--collection", metavar="TITLE", help="Collection to add it to, by title or slug.")
@click.option(
    "--base-license", default="", metavar="NAME", help="Licence of the base model as its card states it, such as mit."
)
@click.option("--base-license-link", default="", metavar="URL", help="URL of the licence, if it is not a standard one.")
@click.option("--yes", is_flag=True, help="Publish. Without it, only the changes are printed.")
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

    FOLDER holds a whole model or an adapter, REPO is NAMESPACE/NAME. Its card is made from training.json and
    evaluation.json in FOLDER. The update is atomic; afterwards the published files are compared with FOLDER's, weight
    by weight, and the model is loaded (an adapter only if its base is on the Hub). A licence that you pass is added to
    the published training.json.

    Log in with HF_TOKEN or `hf auth login`. HF_ENDPOINT names another Hub.
    """
    from x_instruction.hub.publish import ModelOptions, PublishRequest, execute, prepare
    from x_instruction.hub.summary import plan_lines, result_line

    kept("uploaded files are kept on the Hub; rerun the same command to continue")
    request = PublishRequest(
        folder=folder,
        repo=repo,
        options=ModelOptions(base_license=base_license, base_license_link=base_license_link),
        private=private,
        create_pr=create_pr,
        revision=revision,
        tag=tag,
        move_tag=move_tag,
        collection=collection,
    )
    plan = prepare(request, lambda text: click.echo(text, err=True))
    for line in plan_lines(plan):
        click.echo(line, err=yes)
    if not yes:
        click.echo("nothing was published: pass --yes to publish")
        return
    click.echo(result_line(execute(plan)))
