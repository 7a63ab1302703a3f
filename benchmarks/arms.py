"""All measures of one model untuned, tuned on the demo's rows, and tuned on the same rows spoilt on purpose.

    python benchmarks/arms.py --data DATA --work FOLDER

``DATA`` has ``parallel/TAG.jsonl`` (pages with English title), ``eval/sib200`` and ``eval/vicuna``. Everything is kept
in ``FOLDER``: rerun the same command after an interruption. The model is the embedded one, the training is minutes.

Spoilt rows have the response of another page, or its sentences in another order, or a response in another language.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq

from x_instruction.corpus.characters import spaced
from x_instruction.evaluation.comparison import compare
from x_instruction.evaluation.metric import Metric
from x_instruction.evaluation.record import Record, read_records
from x_instruction.languages import language
from x_instruction.refine.corruptions import shuffled

TOPICS = "science/technology|travel|politics|sports|health|entertainment|geography"
ARMS = ("untuned", "demo", "spoilt")
TASK_FILES = Path(__file__).parent.parent / "examples" / "benchmark_tasks.py"


def run(*arguments: object) -> None:
    """Run a command of x-instruction, and end with its error."""
    print("$ x-instruction", *arguments, file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "x_instruction", *map(str, arguments)], stdout=sys.stderr)
    # 2: a run that warns of many dropped rows.
    if done.returncode not in ((0, 2) if arguments[0] == "run" else (0,)):
        raise SystemExit(done.returncode)


def demo_rows(work: Path, tags: Sequence[str]) -> list[dict[str, Any]]:
    """The curated rows of the demo, with the language of the answer in the instruction."""
    folder = work / "run"
    run("run", "demo", "--out", folder, "--languages", ",".join(tags))
    rows = []
    for tag in tags:
        for path in sorted((folder / "curated" / tag).glob("[0-9]*[0-9].parquet")):
            for row in pq.read_table(path, columns=["instruction", "text"]).to_pylist():
                asked = f"{row['instruction']} Answer in {language(tag).name}."
                rows.append({"instruction": asked, "output": row["text"], "language": tag})
    return rows


def spoil(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows with other responses: of another page, in another order, in another language, in turn."""
    for number, row in enumerate(rows):
        random = Random(number)
        others = [other for other in rows if other["output"] != row["output"]]
        same = [other["output"] for other in others if other["language"] == row["language"]]
        abroad = [other["output"] for other in others if other["language"] != row["language"]]
        mixed = shuffled(row["output"], random, spaced(language(row["language"])))
        kinds = (random.choice(same), mixed or random.choice(same), random.choice(abroad))
        yield {**row, "output": kinds[number % len(kinds)]}


def held_out_rows(data: Path, tags: Sequence[str], number: int) -> Iterator[dict[str, Any]]:
    """Pages with their English title as the instruction; documents of the test are not in the demo's corpus."""
    for tag in tags:
        lines = (data / "parallel" / f"{tag}.jsonl").read_text("utf-8").splitlines()
        pages = {row["title_en"]: row for row in map(json.loads, lines) if len(row["text"]) > 200}
        for title, row in sorted(pages.items(), key=lambda item: Random(item[0]).random())[:number]:
            asked = f"Explain: {title}."
            yield {"id": row["id"], "instruction": asked, "output": row["text"][:600], "language": tag}


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def evaluate(work: Path, data: Path, arm: str, model: Path | str, tags: Sequence[str], number: int) -> Path:
    """All measures of one arm, as records in one folder."""
    out, listed = work / arm, ",".join(tags)
    if (out / "done").exists():
        return out
    tuned = ["--adapter", model] if arm != "untuned" else []
    sizes = ["--max-tokens", 96, "--answer-tokens", 32, "--set", "threads=2"]
    run("eval", "held-out", "embedded", work / "held-out.jsonl", *tuned, *sizes, "--gain", "--record", out)
    asked = ["--tasks", "topics", "--languages", listed, "--include", work / "tasks", "--limit", 3 * number]
    run("eval", "benchmarks", "embedded", *asked, *tuned, "--out", out)
    questions = data / "eval" / "vicuna" / "question.en.jsonl"
    short = ["--limit", number, "--max-tokens", 40, "--temperature", 0, "--system", arm, "--set", "threads=2"]
    run("eval", "answers", "embedded", questions, "--languages", listed, *tuned, *short, "--out", out / "answers")
    run("eval", "language", out / "answers", "--fluency", "embedded", "--max-tokens", 40, "--set", "threads=2")
    pairs = data / "eval" / "parallel_sentences"
    if pairs.is_dir():
        run("eval", "representations", "embedded", work / "pairs.jsonl", *tuned, "--limit", 40, "--record", out)
    (out / "done").touch()
    return out


def pair_rows(data: Path, tags: Sequence[str]) -> Iterator[dict[str, Any]]:
    for line in (data / "eval" / "parallel_sentences" / "parallel11.jsonl").read_text("utf-8").splitlines()[:40]:
        row = json.loads(line)
        yield from ({"sentence": row["en"], "parallel": row[tag], "language": tag} for tag in tags)


def topic_rows(work: Path, data: Path, tag: str) -> Path:
    """SIB-200 in an order of its own: its rows are sorted by topic, and a limit takes the first ones."""
    lines = (data / "eval" / "sib200" / f"test.{tag}.jsonl").read_text("utf-8").splitlines()
    rows = sorted(map(json.loads, lines), key=lambda row: Random(row["index_id"]).random())
    return write(work / f"topics.{tag}.jsonl", rows)


def records(folder: Path) -> list[Record]:
    """The records of an arm, those of its answers under a name that all arms have in common."""
    return [*read_records(folder), *read_records(folder / "answers")]


def table(work: Path) -> None:
    """One row per measure over all languages, with intervals, and the paired differences to the untuned model."""
    found = {arm: {metric.id: metric for record in records(work / arm) for metric in record.metrics} for arm in ARMS}
    print("| measure | untuned | demo's rows | spoilt rows | demo − untuned | spoilt − untuned |")
    print("|---|---|---|---|---|---|")
    base = records(work / "untuned")
    differences = [{pair.a.id: pair for pair in compare(base, records(work / arm))} for arm in ARMS[1:]]
    for id, metric in found["untuned"].items():
        cells = [shown(found[arm].get(id)) for arm in ARMS]
        paired = [delta(each.get(id)) for each in differences]
        print(f"| {metric.task} {metric.language or 'all'} {metric.name} | {' | '.join([*cells, *paired])} |")


def shown(metric: Metric | None) -> str:
    if metric is None:
        return "-"
    ends = f" ({metric.interval[0]:.3f} to {metric.interval[1]:.3f})" if metric.interval else ""
    return f"{metric.value:.3f}{ends}"


def delta(pair: Any) -> str:
    if pair is None:
        return "-"
    ends = "" if pair.low is None else f" ({pair.low:+.3f} to {pair.high:+.3f})"
    return f"{pair.difference:+.3f}{ends}"


def main() -> None:
    """Make the rows and the models, evaluate them, and print the table."""
    parser = argparse.ArgumentParser(
        description="Evaluate the embedded model untuned, tuned, and tuned on spoilt rows."
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--languages", default="fi,sw,th")
    parser.add_argument("--rows", type=int, default=8, help="held-out rows and questions per language")
    parser.add_argument("--steps", type=int, default=12, help="of 4 rows")
    options = parser.parse_args()
    work, tags = options.work, options.languages.split(",")
    work.mkdir(parents=True, exist_ok=True)
    rows = demo_rows(work, tags)
    files = {"demo": write(work / "demo.jsonl", rows), "spoilt": write(work / "spoilt.jsonl", list(spoil(rows)))}
    write(work / "held-out.jsonl", list(held_out_rows(options.data, tags, options.rows)))
    write(work / "pairs.jsonl", list(pair_rows(options.data, tags)))
    named = [f"{tag}={topic_rows(work, options.data, tag)}" for tag in tags]
    asked = ["--prompt", "{{text}}\\nTopic:", "--choices", TOPICS, "--answer", "category"]
    subprocess.run([sys.executable, TASK_FILES, "topics", *named, "--out", work / "tasks", *asked], check=True)
    for arm, file in files.items():
        if not (work / "models" / arm).exists():
            steps = [
                *("--set", f"train.steps={options.steps}"),
                *("--set", "train.batch_size=4"),
                *("--set", "train.max_tokens=128"),
            ]
            run("train", "sft", "embedded", file, "--out", work / "models" / arm, *steps)
    for arm in ARMS:
        evaluate(work, options.data, arm, work / "models" / arm, tags, options.rows)
    table(work)


if __name__ == "__main__":
    main()
