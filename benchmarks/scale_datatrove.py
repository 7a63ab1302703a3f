"""The work of ``scale.py datatrove`` in datatrove's local executor: each task reads its rows, waits for each, writes.

python scale_datatrove.py CORPUS OUT TASKS ROWS LATENCY
"""

import json
import sys
import time

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.writers import JsonlWriter

corpus, out, tasks, rows, latency = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]), float(sys.argv[5])


def read(data=None, rank=0, world_size=1):
    with open(corpus, encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if rank * rows <= number < (rank + 1) * rows:
                row = json.loads(line)
                yield Document(text=row["text"], id=row["id"])


def answer(data, rank=0, world_size=1):
    for document in data:
        time.sleep(latency)
        document.metadata["instruction"] = "How does one repair old boats in the north?"
        yield document


if __name__ == "__main__":
    LocalPipelineExecutor(
        [read, answer, JsonlWriter(out)],
        tasks=tasks,
        workers=2,
        logging_dir=f"{out}/logs",
        # Not its forkserver, whose processes no other one counts.
        start_method="fork",
    ).run()
