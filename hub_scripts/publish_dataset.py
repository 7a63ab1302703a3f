# /// script
# requires-python = ">=3.11"
# dependencies = ["x_instruction"]
#
# [tool.hf-jobs]
# image = "ghcr.io/astral-sh/uv:python3.11-bookworm"
# flavor = "cpu-basic"
# timeout = "1h"
# secrets = ["HF_TOKEN"]
# ///
"""Build the data set of a run and publish it on the Hub.

Without ``--yes`` the script builds the data set, shows what would change on the Hub and publishes nothing::

    uv run hub_scripts/publish_dataset.py runs/demo me/x-instruction
    uv run hub_scripts/publish_dataset.py runs/demo me/x-instruction --tag v1.0.0 --yes

Log in with ``HF_TOKEN`` or ``hf auth login``. ``HF_ENDPOINT`` names another Hub.
"""

from __future__ import annotations

import argparse
import sys

import x_instruction


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments, build, and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of the run")
    parser.add_argument("repo", help="data set on the Hub, NAMESPACE/NAME")
    parser.add_argument("--private", action="store_true", default=None, help="make the data set private")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead of committing")
    parser.add_argument("--tag", help="tag for the published revision, such as v1.0.0")
    parser.add_argument("--yes", action="store_true", help="publish; without it only the changes are shown")
    options = parser.parse_args(arguments)
    try:
        folder = x_instruction.Run(options.folder).build()
        x_instruction.publish(
            folder,
            options.repo,
            private=options.private,
            create_pr=options.create_pr,
            tag=options.tag,
            yes=options.yes,
            repo_type="dataset",
        )
    except x_instruction.XInstructionError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
