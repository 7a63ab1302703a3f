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
@click.option("--yes", is_flag=True, help="Do it; without, only what would be done is printed.")
def command(
    folder: Path, repo: str, private: bool | None, create_pr: bool, revision: str, tag: str | None, yes: bool
) -> None:
    """Publish the model in FOLDER, whole or an adapter, as REPO (NAMESPACE/NAME) on the Hub.

    Its card comes from training.json and evaluation.json beside it. Weights, tokenizer, card and results are shown by
    one commit; then they are read from there and compared with the folder's, weight by weight, and the model is loaded;
    an adapter only where its base is a revision on the Hub.

    HF_TOKEN or `hf auth login` say who publishes, HF_ENDPOINT where.
    """
    from x_instruction.hub.model_readback import check_installed, same
    from x_instruction.hub.push_model import Wish, prepare, push

    wish = Wish(folder=folder, repo=repo, private=private, create_pr=create_pr, revision=revision, tag=tag)
    prepared = prepare(wish, lambda text: click.echo(text, err=True))
    for line in prepared.lines():
        click.echo(line, err=yes)
    if not yes:
        click.echo("nothing was written: pass --yes to publish")
        return
    check_installed(prepared.model)
    done = push(prepared, same)
    click.echo(f"{done.pull or done.url}: {done.holds}")
