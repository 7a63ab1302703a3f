"""Our engine and lm-evaluation-harness's own ``hf`` model on the same tasks: equal item by item, and the time of each.

    python benchmarks/likelihood.py --data EVAL --limit 25

``EVAL`` has ``xcopa/test.TAG.jsonl``, ``xnli/test.TAG.jsonl`` and ``sib200/test.TAG.jsonl``. The two run one after the
other on each task, in alternating order, with equal batch size, threads and data type. Times are CPU seconds of the
model's ``loglikelihood``, without loading the model and the data; other work on the machine changes them little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

import benchmark_tasks  # type: ignore[import-not-found]
import torch
from lm_eval.api.instance import Instance
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from x_instruction.config.model import Model
from x_instruction.engines import open_engine
from x_instruction.engines.models import locate
from x_instruction.engines.request_cache import RequestCache
from x_instruction.evaluation.harness import EngineLM, quiet
from x_instruction.languages import PAPER_LANGUAGES

# Words between premise and choice, as in lm-evaluation-harness.
CONNECTORS = {
    "id": ("karena", "maka"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "ta": ("காரணமாக", "எனவே"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
}
ENTAILMENT = {"sw": ("sahihi", "Ndiyo", "Hivyo", "Hapana"), "ur": ("صحیح", "جی ہاں", "اس لئے", "نہیں")}
TOPICS = "science/technology|travel|politics|sports|health|entertainment|geography"


def write_tasks(data: Path, out: Path) -> list[str]:
    """Task files over the local data; returns the names of the tasks."""
    for tag, (cause, effect) in CONNECTORS.items():
        choices = "[choice1[0]|lower + choice1[1:], choice2[0]|lower + choice2[1:]]"
        prompt = f'{{{{premise.strip()[:-1]}}}} {{{{"{cause}" if question == "cause" else "{effect}"}}}}'
        make(out, "xcopa_local", {tag: data / f"xcopa/test.{tag}.jsonl"}, prompt, f"{{{{{choices}}}}}", "label")
    for tag, (right, *words) in ENTAILMENT.items():
        choices = ", ".join(f'premise + ", {right}? {word}, " + hypothesis' for word in words)
        answer = '{{["entailment", "neutral", "contradiction"].index(label)}}'
        file = data / f"xnli/test.{tag}.jsonl"
        make(out, "xnli_local", {tag: file}, "", f"{{{{[{choices}]}}}}", answer, ("--delimiter", ""))
    files = {tag: data / f"sib200/test.{tag}.jsonl" for tag in PAPER_LANGUAGES}
    make(out, "topics", files, "{{text}}\\nTopic:", TOPICS, "category")
    names = [*(f"xcopa_local_{tag}" for tag in CONNECTORS), *(f"xnli_local_{tag}" for tag in ENTAILMENT)]
    return [*names, *(f"topics_{tag}" for tag in PAPER_LANGUAGES)]


def make(
    out: Path, name: str, files: dict[str, Path], prompt: str, choices: str, answer: str, more: Sequence[str] = ()
) -> None:
    named = [f"{tag}={file}" for tag, file in files.items()]
    asked = [f"--prompt={prompt}", f"--choices={choices}", f"--answer={answer}", *more]
    benchmark_tasks.main([name, *named, "--out", str(out), *asked])


class Timed:
    """CPU seconds that a model spends on requests."""

    def __init__(self, model: Any) -> None:
        self.model, self.seconds, asked = model, 0.0, model.loglikelihood

        def timed(requests: Any) -> Any:
            start = time.process_time()
            answers = asked(requests)
            self.seconds = time.process_time() - start
            return answers

        model.loglikelihood = timed


def main() -> None:
    """Print one row per task, and the totals."""
    parser = argparse.ArgumentParser(description="Compare the adapter with lm-evaluation-harness's own model.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--tasks", help="beginnings of names of tasks, separated by commas")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    engine = open_engine(
        Model(name=options.model, threads=options.threads, batch_size=options.batch, dtype="float32", device="cpu")
    )
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder, RequestCache(Path(":memory:"), engine, {}) as cache:
        names = write_tasks(options.data, Path(folder))
        if options.tasks:
            names = [name for name in names if name.startswith(tuple(options.tasks.split(",")))]
        with quiet():
            manager = TaskManager(include_path=folder, include_defaults=False)
            theirs = HFLM(str(locate(options.model).folder), device="cpu", dtype="float32", batch_size=options.batch)
        models = {"hf": Timed(theirs), "ours": Timed(EngineLM(cache.ask))}
        print(f"{'task':16} items  acc hf  ours  equal  largest difference   hf s  ours s  ratio")
        for timed in models.values():
            timed.model.loglikelihood([Instance("loglikelihood", {}, ("A first text", " that warms up"), 0)])
        totals = {"hf": 0.0, "ours": 0.0}
        for number, name in enumerate(names):
            samples = {}
            for key in ("hf", "ours") if number % 2 else ("ours", "hf"):
                with quiet():
                    tasks = manager.load([name])
                    tasks["tasks"][name].set_config(key="num_fewshot", value=0)
                    found = evaluate(models[key].model, tasks, limit=options.limit, bootstrap_iters=0)
                samples[key] = found["samples"][name]
                totals[key] += models[key].seconds
            report(name, samples["hf"], samples["ours"], models)
        print(f"{'all':16} {'':45} {totals['hf']:7.1f} {totals['ours']:7.1f} {totals['ours'] / totals['hf']:6.2f}")


def report(name: str, hf: list[dict[str, Any]], ours: list[dict[str, Any]], models: dict[str, Timed]) -> None:
    pairs = list(zip(hf, ours, strict=True))
    equal = sum(a["acc"] == b["acc"] and a.get("acc_norm") == b.get("acc_norm") for a, b in pairs)
    largest = max(
        abs(x[0] - y[0]) for a, b in pairs for x, y in zip(a["filtered_resps"], b["filtered_resps"], strict=True)
    )
    right = [sum(row["acc"] for row in rows) / len(rows) for rows in (hf, ours)]
    seconds = [models[key].seconds for key in ("hf", "ours")]
    print(
        f"{name:16} {len(pairs):5} {right[0]:7.3f} {right[1]:5.3f} {equal:6} {largest:19.2e} "
        f"{seconds[0]:7.1f} {seconds[1]:7.1f} {seconds[1] / seconds[0]:6.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
