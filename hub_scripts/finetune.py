# /// script
# requires-python = ">=3.11"
# dependencies = ["x_instruction[train,embedded]"]
#
# [tool.hf-jobs]
# image = "ghcr.io/astral-sh/uv:python3.11-bookworm"
# flavor = "a100-large"
# timeout = "12h"
# secrets = ["HF_TOKEN"]
# ///
"""Fine-tune a model on a data set: LoRA, QLoRA or all weights, as a training recipe says.

DATA is a folder that ``build``, ``mix`` or ``seeds collect`` wrote, or any instruction file::

    uv run hub_scripts/finetune.py embedded runs/demo/dataset --out models/demo
    uv run hub_scripts/finetune.py my-training.toml mix/train.parquet --set train.learning_rate=1e-4

If interrupted, repeat the command: training resumes from the last checkpoint. Publish with ``push_model.py``.
"""

from __future__ import annotations

import argparse
import sys
import tomllib

import x_instruction


def parse_override(text: str) -> tuple[str, object]:
    """``KEY=VALUE`` as key and value; the value is TOML, or else the text itself."""
    key, equals, value = text.partition("=")
    if not equals:
        sys.exit(f"error: --set {text} is not KEY=VALUE, such as train.steps=100")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="path of a training recipe, or name of one that ships with the package")
    parser.add_argument("data", nargs="+", help="folders or files; TAG=PATH names the language of the responses")
    parser.add_argument("--out", help="folder of the model (default: models/<name of the recipe>)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a key of the recipe")
    options = parser.parse_args(arguments)
    try:
        result = x_instruction.train(
            options.recipe,
            options.data,
            options.out,
            overrides=dict(parse_override(text) for text in options.set),
        )
    except x_instruction.XInstructionError as error:
        sys.exit(f"error: {error}")
    print(f"{result.steps:,} steps, {result.tokens:,} tokens, {result.seconds:,.0f} s, loss {result.loss:.3f}")


if __name__ == "__main__":
    main()
