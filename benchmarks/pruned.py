"""How much faster a model trains and scores with its vocabulary cut to the texts, and in bfloat16, and what that costs.

Every arm takes the same steps on the same rows in the same order, each in a process of its own: LoRA of rank 8 on all
linear layers. Then it scores held-out rows with its adapter. Columns: tokens per second of CPU time in training, loss
of the last steps, tokens per second of CPU time in scoring, nats per held-out token, and the same scored in float32.
Losses of cut vocabularies are a little lower, because probability goes to fewer tokens.

CPU time of one thread does not depend on other work on the machine, except for what shares its caches.

PARALLEL has ``<tag>.jsonl`` of pages with English titles.

    python benchmarks/pruned.py PARALLEL
    python benchmarks/pruned.py PARALLEL --steps 40 --tokens 64 --threads 2 --arms cut:float32,cut:bfloat16
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from x_instruction.config.model import Model
from x_instruction.config.section import dumps
from x_instruction.config.training import TrainConfig
from x_instruction.engines import Scored, Scoring
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.experiments.pruned import prune
from x_instruction.languages import language
from x_instruction.storage.known_digests import cache_folder
from x_instruction.training.job import EXAMPLES, RESULT, TrainingExample, TrainJob, write_examples

# The training process, which also writes the CPU time of its steps.
TIMED = """
import sys, time
from pathlib import Path
import x_instruction.training.worker as worker

class Timed(worker.OutputTrainer):
    def train(self, *given, **named):
        started = time.process_time()
        super().train(*given, **named)
        (Path(sys.argv[1]) / "cpu-seconds").write_text(str(time.process_time() - started))

worker.OutputTrainer = Timed
raise SystemExit(worker.main(sys.argv[1:]))
"""
ARMS = ("full:float32", "cut:float32", "full:bfloat16", "cut:bfloat16")


def examples(folder: Path) -> list[TrainingExample]:
    """Rows that ask for a page in its language, the languages in turn."""
    by_language = []
    for path in sorted(folder.glob("*.jsonl")):
        pages = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        cue = f"\n\nAnswer in {language(path.stem).name}.\n\n"
        by_language.append([TrainingExample(page["title_en"] + cue, page["text"]) for page in pages])
    longest = max(map(len, by_language))
    return [rows[n] for n in range(longest) for rows in by_language if n < len(rows)]


def trained(
    model: str, dtype: str, rows: list[TrainingExample], given: argparse.Namespace, target: Path
) -> list[float]:
    """Tokens per second of CPU time, and mean loss of the last tenth of the steps."""
    settings = {"rank": 8, "alpha": 16, "learning_rate": given.rate, "max_tokens": given.tokens, "steps": given.steps}
    settings |= {"batch_size": given.rows, "device_batch_size": given.rows, "threads": given.threads}
    train = TrainConfig.model_validate(settings | {"device": "cpu", "dtype": dtype})
    write_examples(target / EXAMPLES, rows)
    (target / "job.json").write_text(dumps(TrainJob(model=Model(name=model), train=train)), "utf-8")
    subprocess.run([sys.executable, "-c", TIMED, str(target)], check=True, capture_output=True)
    result = json.loads((target / RESULT).read_text("utf-8"))
    return [result["tokens"] / float((target / "cpu-seconds").read_text()), result["loss"]]


def scored(model: Model, rows: list[TrainingExample], tokens: int) -> list[float]:
    """Tokens per second of CPU time, and nats per token."""
    engine = TransformersEngine(model)
    requests = [Scoring(row.prompt, row.completion, tokens) for row in rows]
    started = time.process_time()
    batches = engine.plan(requests)
    found = [
        result
        for batch in batches
        for _, result in engine.answer([requests[n] for n in batch.rows], batch.shared)
        if isinstance(result, Scored)
    ]
    seconds = time.process_time() - started
    output = sum(result.tokens for result in found)
    return [sum(r.prompt_tokens for r in found) / seconds, -sum(r.log_likelihood for r in found) / output]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="PARALLEL")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--held-out", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--arms", default=",".join(ARMS))
    given = parser.parse_args()
    every = examples(given.data)
    texts = [text for row in every for text in (row.prompt, row.completion) if isinstance(text, str)]
    cut = prune(given.model, texts, cache_folder() / "pruned", print)
    print(f"{cut.after} of {cut.before} tokens, {cut.size / 1e6:.0f} MB")
    held_out, rows = every[: given.held_out], every[given.held_out :]
    measured: dict[str, list[list[float]]] = {arm: [] for arm in given.arms.split(",")}
    for _ in range(given.repeats):
        for arm, figures in measured.items():
            which, dtype = arm.split(":")
            name = given.model if which == "full" else str(cut.folder)
            with tempfile.TemporaryDirectory() as scratch:
                training = trained(name, dtype, rows, given, Path(scratch))
                settings = {"name": name, "device": "cpu", "threads": given.threads, "adapter": f"{scratch}/model"}
                model = Model.model_validate(settings | {"dtype": dtype})
                scoring = scored(model, held_out, given.tokens)
                exact = scored(model.model_copy(update={"dtype": "float32"}), held_out, given.tokens)
            figures.append([*training, *scoring, exact[1]])
            print(arm, *(f"{value:.4f}" for value in figures[-1]), flush=True)
    for arm, figures in measured.items():
        print(arm, *(f"{statistics.median(column):.4f}" for column in zip(*figures, strict=True)))


if __name__ == "__main__":
    main()
