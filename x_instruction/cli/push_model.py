"""``x-instruction push-model``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repo")
@click.option("--private/--public", default=None, help="Who sees a new model.  [default: as its owner's settings say]")
@click.option("--create-pr", is_flag=True, help="Leave a pull request, for others to look at and merge.")
@click.option("--revision", default="main", show_default=True, metavar="REV", help="Branch, or refs/pr/N.")
@click.option("--tag", metavar="NAME", help="Name of the published revision, as v1.0.0.")
@click.option("--base-license", default="", metavar="NAME", help="The base's licence as its card states it, as mit.")
@click.option("--base-license-link", default="", metavar="URL", help="Where its text is, for terms of its own.")
@click.option("--yes", is_flag=True, help="Do it; without, only what would be done is printed.")
def command(
    folder: Path,
    repo: str,
    private: bool | None,
    create_pr: bool,
    revision: str,
    tag: str | None,
    base_license: str,
    base_license_link: str,
    yes: bool,
) -> None:
    """Publish the model in FOLDER, whole or an adapter, as REPO (NAMESPACE/NAME) on the Hub.

    Its card comes from training.json and evaluation.json beside it. Weights, tokenizer, card and results are shown by
    one commit; then they are read from there and compared with the folder's, weight by weight, and the model is loaded;
    an adapter only where its base is a revision on the Hub. A licence that is stated here goes into the published
    training.json, too.

    HF_TOKEN or `hf auth login` say who publishes, HF_ENDPOINT where.
    """
    from x_instruction.hub.model_readback import check_installed, same
    from x_instruction.hub.push_model import ModelRequest, prepare, push

    wish = ModelRequest(
        folder=folder,
        repo=repo,
        private=private,
        create_pr=create_pr,
        revision=revision,
        tag=tag,
        base_license=base_license,
        base_license_link=base_license_link,
    )
    prepared = prepare(wish, lambda text: click.echo(text, err=True))
    for line in prepared.lines():
        click.echo(line, err=yes)
    if not yes:
        click.echo("nothing was written: pass --yes to publish")
        return
    check_installed(prepared.model)
    done = push(prepared, same)
    click.echo(f"{done.pull or done.url}: {done.holds}")
