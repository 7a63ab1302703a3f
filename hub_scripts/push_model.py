# /// script
# requires-python = ">=3.11"
# dependencies = ["x_instruction[train]"]
#
# [tool.hf-jobs]
# image = "ghcr.io/astral-sh/uv:python3.11-bookworm"
# flavor = "cpu-upgrade"
# timeout = "2h"
# secrets = ["HF_TOKEN"]
# ///
"""Publish a trained model or adapter on the Hub, with the card made from its training record.

Without ``--yes`` the script shows what would be sent and publishes nothing::

    uv run hub_scripts/push_model.py models/demo me/my-model
    uv run hub_scripts/push_model.py models/demo me/my-model --tag v1.0.0 --yes

The model is downloaded again and compared after the upload.
"""

from __future__ import annotations

import argparse
import sys

import x_instruction


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of the model")
    parser.add_argument("repo", help="model on the Hub, NAMESPACE/NAME")
    parser.add_argument("--private", action="store_true", default=None, help="make the model private")
    parser.add_argument("--tag", help="tag for the published revision, such as v1.0.0")
    parser.add_argument("--yes", action="store_true", help="publish; without it only the changes are shown")
    options = parser.parse_args(arguments)
    try:
        x_instruction.publish(
            options.folder, options.repo, private=options.private, tag=options.tag, yes=options.yes, repo_type="model"
        )
    except x_instruction.XInstructionError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
