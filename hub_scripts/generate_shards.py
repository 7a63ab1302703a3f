# /// script
# requires-python = ">=3.11"
# dependencies = ["x_instruction[embedded]"]
#
# [tool.hf-jobs]
# image = "ghcr.io/astral-sh/uv:python3.11-bookworm"
# flavor = "a100-large"
# timeout = "12h"
# secrets = ["HF_TOKEN"]
# ///
"""Write instructions for the passages of a recipe: the shards that need a GPU.

Run it on one machine, or on several that share a folder, each with its rank::

    uv run hub_scripts/generate_shards.py demo --languages sw,fi --limit 10 --out runs/demo
    uv run hub_scripts/generate_shards.py my-recipe.toml --out runs/mine --rank 2 --of 8
    hf jobs uv run -v hf://buckets/me/runs:/runs hub_scripts/generate_shards.py my-recipe.toml --out /runs/mine

A job keeps nothing but what is in a bucket or an object store. ``x-instruction run --on hf-jobs`` submits several jobs
and waits for them.

A recipe whose engine is vLLM needs the package's extra: ``uv run --with 'x_instruction[vllm]' ...``. If interrupted,
repeat the command: complete shards are kept. Continue with ``refine_shards.py``.
"""

from __future__ import annotations

import argparse
import sys

import x_instruction


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and make the shards of this rank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="path of a TOML file, or name of a recipe that ships with the package")
    parser.add_argument("--out", help="folder or URL of the run (default: runs/<name of the recipe>)")
    parser.add_argument("--languages", help="languages instead of those of the recipe, such as sw,th")
    parser.add_argument("--limit", type=int, help="keep at most this many passages per language")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one per GPU, or per core)")
    parser.add_argument("--rank", type=int, default=0, help="number of this machine, from 0 (default: 0)")
    parser.add_argument("--of", type=int, default=1, help="number of machines (default: 1)")
    options = parser.parse_args(arguments)
    try:
        run = x_instruction.run(
            options.recipe,
            options.out,
            languages=options.languages.split(",") if options.languages else None,
            limit=options.limit,
            workers=options.workers,
            rank=options.rank,
            of=options.of,
            until="candidate",
        )
    except x_instruction.XInstructionError as error:
        sys.exit(f"error: {error}")
    print(run.status().to_string(index=False))


if __name__ == "__main__":
    main()
