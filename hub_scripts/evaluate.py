# /// script
# requires-python = ">=3.11"
# dependencies = ["x_instruction[embedded]"]
#
# [tool.hf-jobs]
# image = "ghcr.io/astral-sh/uv:python3.11-bookworm"
# flavor = "a10g-large"
# timeout = "2h"
# secrets = ["HF_TOKEN"]
# ///
"""Evaluate a model on held-out rows, per language: bits per byte, and answers in the right language.

DATA is a folder that ``build`` wrote with a test split, or an instruction file the model was not trained on::

    uv run hub_scripts/evaluate.py embedded test.jsonl
    uv run hub_scripts/evaluate.py embedded test.jsonl --adapter models/demo --out results.json
"""

from __future__ import annotations

import argparse
import sys

import x_instruction


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments, evaluate, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Hub id, folder, or embedded")
    parser.add_argument("data", nargs="+", help="folders or files; TAG=PATH names the language of the responses")
    parser.add_argument("--adapter", help="LoRA adapter on top of the model: a folder or a Hub id")
    parser.add_argument("--limit", type=int, help="rows per language at most")
    parser.add_argument("--out", help="file for the result of every row, .json")
    options = parser.parse_args(arguments)
    try:
        table = x_instruction.evaluate(
            options.model, options.data, adapter=options.adapter, limit=options.limit, out=options.out
        )
    except x_instruction.XInstructionError as error:
        sys.exit(f"error: {error}")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
