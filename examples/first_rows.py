"""Load a built data set with ``datasets`` alone and print one row per language: ``first_rows.py FOLDER``."""

from __future__ import annotations

import sys
import textwrap

import datasets


def main(folder: str) -> None:
    """Print the best pair of every config but ``all``."""
    datasets.disable_progress_bars()
    for name in datasets.get_dataset_config_names(folder):
        if name == "all":
            continue
        rows = datasets.load_dataset(folder, name, split="train")
        row = rows[0]
        sys.stdout.write(f"{name}: {len(rows)} rows, {row['source']}, {row['license']}, score {row['score']:.2f}\n")
        sys.stdout.write(f"  instruction: {textwrap.shorten(row['instruction'], 110)}\n")
        sys.stdout.write(f"  output:      {row['output'][:90].replace(chr(10), ' ')}…\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: first_rows.py FOLDER, a folder that `x-instruction build` wrote")
    main(sys.argv[1])
