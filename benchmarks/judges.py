"""Judges: what is read from real texts, and the passport of a real model.

    python benchmarks/judges.py texts EVAL              real texts of a judge and of models, and what was recorded
    python benchmarks/judges.py passport PARALLEL       pages with English titles, judged by --model

EVAL is a folder with ``judge_texts`` and ``model_outputs``, PARALLEL one with ``<tag>.jsonl`` of pages.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from x_instruction.config.model import Model
from x_instruction.evaluation.judge.protocols import PROTOCOLS, protocol
from x_instruction.evaluation.judge.reading import read_choice, read_order
from x_instruction.evaluation.judge.run import measure_judge

CHOICES = {"xcopa_ta_cot": ("0", "1"), "xstorycloze_sw_explain": ("A", "B")}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def texts(folder: Path) -> None:
    print("| texts | rows | as recorded | no answer | other than recorded | read where none was recorded |")
    print("|---|---|---|---|---|---|")
    for path in sorted((folder / "judge_texts").glob("*.jsonl")):
        found = Counter(
            "none" if order is None else "same" if list(order) == row["order"] else "other"
            for row in rows(path)
            for order in [read_order(row["text"], len(row["order"]))]
        )
        show(path.stem, found)
    for name, labels in CHOICES.items():
        counts: Counter[str] = Counter()
        for row in rows(folder / f"model_outputs/{name}.jsonl"):
            label, recorded = read_choice(row["output"], labels), row["prediction"]
            same = "same" if label == recorded else "other" if recorded in labels else "new"
            counts["none" if label is None else same] += 1
        show(name, counts)


def show(name: str, found: Counter[str]) -> None:
    print(f"| {name} | {found.total()} | {found['same']} | {found['none']} | {found['other']} | {found['new']} |")


def passport(folder: Path, model: Model, tags: list[str], limit: int, name: Any) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        data = []
        for tag in tags:
            data.append(f"{tag}={scratch}/{tag}.jsonl")
            pages = rows(folder / f"{tag}.jsonl")
            pairs = [
                {
                    "id": page["id"],
                    "instruction": f"Write a text with the title: {page['title_en']}",
                    "output": page["text"],
                }
                for page in pages
                if 200 <= len(page["text"]) <= 900
            ]
            Path(f"{scratch}/{tag}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), "utf-8")
        passports = measure_judge(
            model,
            data,
            Path(scratch) / "out",
            protocol(name),
            per_language=limit,
            seen=lambda done, known: print(f"\r{done} of {known}", end="", flush=True),
        )
    print(f"\n{model.name}, {name}, {limit} documents\n")
    print("| language | accuracy | p | balanced | position | length | own | wrong language | answered | verdict |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for tag, found in passports.items():
        figures = [found.balanced, found.position, found.length, found.own, found.language_bias]
        cells = [
            tag,
            found.accuracy.text(),
            f"{found.p_values['accuracy']:.3f}",
            *(figure.text() for figure in figures),
        ]
        print(f"| {' | '.join(cells)} | {found.answered:.2f} | {'none' if found.no_verdict else 'counts'} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["texts", "passport"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="embedded-smollm2")
    parser.add_argument("--languages", default="sw,fi")
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="choice")
    given = parser.parse_args()
    if given.what == "texts":
        texts(given.folder)
    else:
        passport(given.folder, Model(name=given.model), given.languages.split(","), given.limit, given.protocol)


if __name__ == "__main__":
    main()
