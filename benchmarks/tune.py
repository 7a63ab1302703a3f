"""Is `tune` as quick as TRL's own trainer on the same rows and settings, and does it lose the same?

Both take the same steps on the same rows in the same order, turn by turn, each in a process of its own; the time is the
trainer's. Rows are those of a generator (a page, and a line to learn), or of a model (a line, and a page to learn).

    python benchmarks/tune.py --steps 4 --repeats 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from x_instruction.config import recipe
from x_instruction.config.model import Model
from x_instruction.config.training import TrainConfig
from x_instruction.languages import PAPER_LANGUAGES, language
from x_instruction.training.job import EXAMPLES, RESULT, TrainingExample, TrainJob, write_examples
from x_instruction.training.tokenization import ExampleEncoder

PLAIN = """
import sys
import x_instruction.training.worker as worker
from trl import SFTTrainer
worker.OutputTrainer = SFTTrainer
raise SystemExit(worker.main(sys.argv[1:]))
"""


def examples(kind: str, reader: ExampleEncoder, tokens: int) -> list[TrainingExample]:
    found = []
    folder = resources.files("x_instruction.corpus.sample")
    for tag in PAPER_LANGUAGES:
        for line in folder.joinpath(f"{tag}.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            text = reader.truncate(row["text"], tokens)
            if kind == "generator":
                found.append(
                    TrainingExample(
                        f"{language(tag).name} text:\n{text}\n\nEnglish instruction:", f" Explain: {row['topic']}."
                    )
                )
            else:
                found.append(TrainingExample(f"Request: Explain: {row['topic']}.\n\nAnswer:\n", text))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    tune = TrainConfig(
        rank=8,
        batch_size=given.rows,
        device_batch_size=given.rows,
        steps=given.steps,
        threads=given.threads,
        device="cpu",
    )
    job = TrainJob(model=Model(name=given.model), train=tune)
    reader = ExampleEncoder(given.model)
    for kind in ("generator", "model"):
        rows = examples(kind, reader, given.tokens)
        speeds: dict[str, list[float]] = {"plain": [], "ours": []}
        losses: dict[str, float] = {}
        for _ in range(given.repeats):
            for name in speeds:
                with tempfile.TemporaryDirectory() as scratch:
                    folder = Path(scratch)
                    write_examples(folder / EXAMPLES, rows)
                    (folder / "job.json").write_text(recipe.dumps(job), "utf-8")
                    how = ["-c", PLAIN] if name == "plain" else ["-m", "x_instruction.training.worker"]
                    subprocess.run([sys.executable, *how, scratch], check=True, capture_output=True)
                    tuned = json.loads((folder / RESULT).read_text("utf-8"))
                    speeds[name].append(tuned["tokens"] / tuned["seconds"])
                    losses[name] = tuned["losses"][-1][1]
        ratios = [ours / plain for ours, plain in zip(speeds["ours"], speeds["plain"], strict=True)]
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        print(
            f"{kind}: {medians['plain']:.0f} tokens/s plain TRL, {medians['ours']:.0f} ours, ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); last loss "
            f"{losses['plain']:.5f} and {losses['ours']:.5f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
