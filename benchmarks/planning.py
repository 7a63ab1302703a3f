"""What the planner foretells from a part of a run, and what the whole run takes.

python benchmarks/planning.py server [--passages 400] [--workers 2]
python benchmarks/planning.py embedded [--languages fi th]
python benchmarks/planning.py sizes RUN

``server`` asks a server that takes 4 ms for each request, one after the other, in two languages; the sample has
a tenth of the passages. ``embedded`` runs the demo with the embedded model; the sample has a quarter of it. ``sizes``
prints bytes of rows and answers of a run.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from engines.openai_server import OpenAIServer, write_recipe

from x_instruction.config.recipe import Recipe, load, loads
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.planner.forecast import Machines
from x_instruction.pipeline.planner.measured import measure
from x_instruction.pipeline.planner.plan import plan_run
from x_instruction.pipeline.progress import NullProgress
from x_instruction.pipeline.rounds import stages, title
from x_instruction.pipeline.status import totals
from x_instruction.storage.run_folder import RunFolder

_SERVICE = 0.004


def documents(folder: Path, tag: str, number: int) -> None:
    """Documents of made-up words, no two alike."""
    chance = random.Random(tag)
    words = ["".join(chance.choices("aeioklmnprstuv", k=chance.randint(3, 9))) for _ in range(5_000)]
    with open(folder / f"{tag}.jsonl", "w", encoding="utf-8") as out:
        for row in range(number):
            sentences = (" ".join(chance.choices(words, k=12)).capitalize() + "." for _ in range(8))
            out.write(json.dumps({"id": f"{tag}-{row}", "text": " ".join(sentences)}) + "\n")


def compare(make: Callable[[int | None], Recipe], part: int, folder: Path, workers: int) -> None:
    """Make a part and the whole, each from nothing, and print what was expected beside what was."""
    began = time.monotonic()
    execute(make(part), folder / "part", workers, False, "curated", NullProgress())
    print(f"sample: {part} passages of each language in {time.monotonic() - began:.1f} s")
    whole = make(None)
    found = plan_run(whole, folder / "whole", Machines(workers=workers), folder / "part").forecast
    began = time.monotonic()
    run = execute(whole, folder / "whole", workers, False, "curated", NullProgress())
    wall = time.monotonic() - began
    print("| stage | rows expected | rows | requests expected | requests | work expected, s | work, s |")
    print("|---|---|---|---|---|---|---|")
    for stage in stages(whole):
        expected = [part for each in found.stages if each.title == title(stage) for part in each.parts]
        made = [total for total in totals(run, whole) if (total.stage, total.round) == (stage.stage, stage.round)]
        if not expected:
            continue
        print(
            f"| {title(stage)} | {sum(part.rows for part in expected):,.0f} | {sum(total.kept for total in made):,} "
            f"| {sum(part.requests for part in expected):,} | {sum(total.requests for total in made):,} "
            f"| {sum(part.seconds for part in expected):.1f} | {sum(total.seconds for total in made):.1f} |"
        )
    print(f"wall time: {found.wall:.1f} s expected, {wall:.1f} s; files: {found.files:,} expected")


def server(options: argparse.Namespace, folder: Path) -> None:
    """The scripted server."""
    for tag in ("fi", "th"):
        documents(folder, tag, options.passages)

    def busy(path: str, body: object) -> None:
        time.sleep(_SERVICE)

    with OpenAIServer(fault=busy) as running:
        text = write_recipe(folder / "recipe.toml", running.url).read_text("utf-8")
        (folder / "recipe.toml").write_text(text.replace("retries = 1", "retries = 1, concurrency = 16"), "utf-8")
        changes = {
            "corpus.source": "files",
            "corpus.paths": [str(folder / "{tag}.jsonl")],
            "corpus.shard_size": options.passages // 10,
            "corpus.filters.language_check": False,
            "corpus.filters.whole_sentences": False,
            "corpus.filters.max_line_documents": 1.0,
            "diversify.quota": options.passages // 2,
        }
        compare(
            lambda limit: load(str(folder / "recipe.toml"), {**changes, "corpus.passages": limit or options.passages}),
            options.passages // 10,
            folder,
            options.workers,
        )


def embedded(options: argparse.Namespace, folder: Path) -> None:
    """The demo."""
    compare(
        lambda limit: load("demo", {"languages": options.languages, "corpus.passages": limit}),
        3,
        folder,
        options.workers,
    )


def sizes(options: argparse.Namespace, folder: Path) -> None:
    """Bytes of rows and answers."""
    run = RunFolder(Path(options.run))
    settings = loads((run.root / "recipe.json").read_text("utf-8"))
    found = measure(settings, run, settings, {})
    print({stage: round(size) for stage, size in found.row_bytes.items()}, round(found.answer_bytes))


def main() -> None:
    """Run a comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["server", "embedded", "sizes"])
    parser.add_argument("run", nargs="?")
    parser.add_argument("--passages", type=int, default=400)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--languages", nargs="+", default=["fi", "th"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"server": server, "embedded": embedded, "sizes": sizes}[options.what](options, Path(folder))


if __name__ == "__main__":
    main()
