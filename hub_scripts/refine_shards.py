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
"""Rate the candidates of a run, keep the best, and select the final pairs.

The run folder comes from ``generate_shards.py``::

    uv run hub_scripts/refine_shards.py runs/demo
    uv run hub_scripts/refine_shards.py runs/mine --until rated --rank 2 --of 8
    uv run hub_scripts/refine_shards.py runs/mine

Rate on as many machines as you like with ``--until rated``; the selection then runs once, without a rank.
"""

from __future__ import annotations

import argparse
import sys

import x_instruction


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and make the shards of this rank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of the run")
    parser.add_argument("--until", choices=["rated", "curated"], default="curated", help="last stage to make")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one per GPU, or per core)")
    parser.add_argument("--rank", type=int, default=0, help="number of this machine, from 0 (default: 0)")
    parser.add_argument("--of", type=int, default=1, help="number of machines (default: 1)")
    options = parser.parse_args(arguments)
    try:
        run = x_instruction.run(
            x_instruction.Run(options.folder).recipe,
            options.folder,
            workers=options.workers,
            rank=options.rank,
            of=options.of,
            until=options.until,
        )
    except x_instruction.XInstructionError as error:
        sys.exit(f"error: {error}")
    print(run.status().to_string(index=False))


if __name__ == "__main__":
    main()
