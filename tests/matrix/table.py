"""Results of the last run of the matrix as a Markdown table: ``python tests/matrix/table.py build/clients.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from operations import OPERATIONS


def table(results: dict[str, dict[str, str]]) -> str:
    """A dash marks an operation that a client does not have."""
    rows = ["| client | " + " | ".join(OPERATIONS) + " |", "|---" * (len(OPERATIONS) + 1) + "|"]
    for case, found in results.items():
        cells = ["ok" if found.get(n) == "ok" else "failed" if n in found else "–" for n in OPERATIONS]
        rows.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())))
