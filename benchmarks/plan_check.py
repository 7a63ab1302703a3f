"""Seconds that a check of finished shards takes, before a run does any work.

Makes a run folder with reports and empty shards, as a complete run of the recipe ``demo`` with this many shards in one
language would have, and checks it three times: the first check reads every report, the later ones only new ones.

    python benchmarks/plan_check.py 1000 10000
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from x_instruction.config.recipe import Recipe, load
from x_instruction.pipeline import rounds
from x_instruction.pipeline.plan import Plan
from x_instruction.pipeline.snapshot import Snapshot
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import CURATED, PASSAGE, ShardKey


def finished(root: Path, settings: Recipe, shards: int) -> RunFolder:
    """A run folder in which every stage has all of its shards. The shards are empty files."""
    run, tag = RunFolder(root), settings.languages[0]
    for stage in rounds.stages(settings):
        now = Snapshot(run, settings)
        for index in range(1 if stage == CURATED else shards):
            key = stage.shard(tag, index)
            known = now.settings(key.at(stage) if stage != PASSAGE else PASSAGE.shard(tag))
            report = ShardReport(key, known, 2_000, 1_990, {"too_short": 10}, digest=f"{index:064x}")
            _write(run, key, report)
        run.finish(stage, tag, 1 if stage == CURATED else shards)
    return run


def _write(run: RunFolder, key: ShardKey, report: ShardReport) -> None:
    run.path(key).parent.mkdir(parents=True, exist_ok=True)
    run.path(key).touch()
    run.path(key, ".report.json").write_text(json.dumps(report.as_json(), indent=1))


def main() -> None:
    settings = load("demo", {"languages": ["fi"]})
    for shards in map(int, sys.argv[1:] or ["10000"]):
        with tempfile.TemporaryDirectory() as folder:
            run = finished(Path(folder), settings, shards)
            total = shards * (len(rounds.stages(settings)) - 1) + 1
            for name in ("first", "second", "third"):
                start, cpu = time.monotonic(), time.process_time()
                Plan(run, settings).check()
                seconds = time.monotonic() - start
                print(
                    f"{shards:,} shards of a language, {total:,} in all, {name} check: {seconds:.2f} s, "
                    f"{time.process_time() - cpu:.2f} s of CPU time, {seconds / total * 1e6:.0f} µs per shard"
                )
            key = rounds.stages(settings)[1].shard("fi", shards - 1)
            run.path(key).unlink()
            start = time.monotonic()
            Plan(run, settings).check()
            print(f"one shard missing: {time.monotonic() - start:.2f} s")


if __name__ == "__main__":
    main()
