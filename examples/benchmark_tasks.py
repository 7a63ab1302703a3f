"""Write task files of lm-evaluation-harness over local files, for languages and data that no benchmark has.

Each file is JSON lines, one item a line. Prompts and choices are Jinja templates over its fields::

    python examples/benchmark_tasks.py topics sw=topics/sw.jsonl th=topics/th.jsonl --out tasks \\
        --prompt '{{text}}\\nTopic:' --choices 'sports|health|travel' --answer category
    x-instruction eval benchmarks MODEL --tasks topics --languages sw,th --include tasks --out evals/topics

Repeat ``--prompt`` for variants of the prompt: the tasks are then ``topics_sw_prompt_1`` and so on, and agreement over
languages is the median over them. ``--examples`` names the files that examples in the prompt are taken from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one YAML file per language and prompt."""
    parser = argparse.ArgumentParser(description="Write task files of lm-evaluation-harness over local files.")
    parser.add_argument("name", help="beginning of the names of the tasks")
    parser.add_argument("files", nargs="+", metavar="TAG=FILE", help="items of a language, .jsonl")
    parser.add_argument("--examples", nargs="+", default=[], metavar="TAG=FILE", help="items for examples, .jsonl")
    parser.add_argument("--prompt", action="append", required=True, help="Jinja template; repeatable")
    parser.add_argument(
        "--choices", required=True, help="the choices, separated by |, or a Jinja template of a list, '{{[a, b]}}'"
    )
    parser.add_argument("--answer", required=True, help="field with the right choice: its text or number, from 0")
    parser.add_argument("--delimiter", default=" ", help="text between prompt and choice, a space by default")
    parser.add_argument("--out", type=Path, required=True, help="folder of the task files")
    options = parser.parse_args(arguments)
    items, examples = by_language(options.files), by_language(options.examples)
    options.out.mkdir(parents=True, exist_ok=True)
    for tag, file in items.items():
        for number, prompt in enumerate(options.prompt, 1):
            name = f"{options.name}_{tag}" + (f"_prompt_{number}" if len(options.prompt) > 1 else "")
            task = settings(name, file, examples.get(tag), prompt, options.choices, options.answer, options.delimiter)
            text = yaml.safe_dump(task, allow_unicode=True, sort_keys=False)
            (options.out / f"{name}.yaml").write_text(text, "utf-8")


def settings(
    name: str, file: Path, examples: Path | None, prompt: str, choices: str, answer: str, delimiter: str
) -> dict[str, Any]:
    """The YAML file of a task as plain data."""
    files = {"test": str(file)} | ({"examples": str(examples)} if examples else {})
    shares = ("acc", "acc_norm")
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "output_type": "multiple_choice",
        "test_split": "test",
        **({"fewshot_split": "examples", "fewshot_config": {"sampler": "first_n"}} if examples else {}),
        "doc_to_text": prompt.replace("\\n", "\n"),
        "doc_to_choice": choices if choices.startswith("{{") else choices.split("|"),
        "doc_to_target": answer,
        "target_delimiter": delimiter,
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in shares],
        "metadata": {"version": 1.0},
    }


def by_language(names: Sequence[str]) -> dict[str, Path]:
    """File by tag of ``TAG=FILE``; a file without items, or with a line that is not JSON, ends the program."""
    found = {}
    for name in names:
        tag, equals, path = name.partition("=")
        file = Path(path).resolve()
        if not equals or not file.is_file():
            raise SystemExit(f"{name!r} names no file, expected TAG=FILE such as sw=topics/sw.jsonl")
        try:
            rows = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
        except ValueError as error:
            raise SystemExit(f"{file} is not JSON lines: {error}") from None
        if not rows:
            raise SystemExit(f"{file} has no items")
        found[tag] = file
    return found


if __name__ == "__main__":
    main()
