"""Listings of many shards, and the summaries of their reports."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from x_instruction.errors import ShardError
from x_instruction.storage.finished import MOST_INPUTS, Finished, fold, split
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import PASSAGE, StageKey

SHARDS = 1_150


def place(run: RunFolder, index: int, kept: int = 1) -> None:
    """A shard with its report, with the parts that a listing reads."""
    key = PASSAGE.shard("fi", index)
    run.path(key).parent.mkdir(parents=True, exist_ok=True)
    run.path(key).touch()
    report = ShardReport(key, {"seed": 1, "input.fi.jsonl": f"{index:x}"}, kept=kept, digest=f"{index:064x}")
    run.path(key, ".report.json").write_text(json.dumps(report.as_json()))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.mark_layout()
    for index in range(SHARDS):
        place(made, index)
    return made


def test_shards_from_1000_on_are_in_subfolders(run: RunFolder) -> None:
    names = sorted(path.name for path in (run.root / "passage" / "fi").iterdir() if path.suffix != ".json")
    assert names[-2:] == ["00999.parquet", "1000"]
    assert run.path(PASSAGE.shard("fi", 1_001)) == run.root / "passage/fi/1000/01001.parquet"
    assert str(PASSAGE.shard("fi", 1_001)) == "passage/fi/01001"
    assert run.path(PASSAGE.shard("fi", 123_456)) == run.root / "passage/fi/123000/123456.parquet"


def test_a_listing_has_every_shard(run: RunFolder) -> None:
    place(run, 100_000)
    run.path(PASSAGE.shard("fi", 3)).unlink()
    listing = run.listing(PASSAGE, "fi")
    assert listing.present == {*range(SHARDS), 100_000}
    assert listing.complete == listing.present - {3}
    assert listing.stamps.keys() == listing.present
    # By number, and not by name: 100000 sorts before 99999.
    assert [report.key.index for report in run.reports(PASSAGE)] == sorted(listing.complete)
    run.finish(PASSAGE, "fi", 1_100)
    assert run.listing(PASSAGE, "fi").present == set(range(1_100))
    run.clear(PASSAGE, "fi")
    assert not run.listing(PASSAGE, "fi").present


def test_shards_of_an_earlier_version_are_reported(run: RunFolder) -> None:
    os.replace(run.path(PASSAGE.shard("fi", 1_149)), run.root / "passage" / "fi" / "01149.parquet")
    with pytest.raises(ShardError, match=r"an earlier version .* made .*passage/fi, which has more than 1,000 shards"):
        run.listing(PASSAGE, "fi")


def test_reports_are_read_once(run: RunFolder) -> None:
    def summaries() -> list[tuple[str, int]]:
        finished = Finished(run)
        found = [finished.summary(PASSAGE.shard("fi", index)) for index in range(SHARDS)]
        finished.save()
        return [(summary.digest, summary.kept) for summary in found]

    first = summaries()
    assert first == [(f"{index:064x}", 1) for index in range(SHARDS)]
    # Same size and time: not read again.
    same = run.path(PASSAGE.shard("fi", 5), ".report.json")
    status = same.stat()
    same.write_text(" " * status.st_size)
    os.utime(same, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert summaries() == first
    place(run, 1_049, kept=7)
    assert summaries()[1_049] == (f"{1_049:064x}", 7)
    # A damaged file of summaries is written anew, and then the damaged report is noticed.
    (run.root / "cache/finished/passage/fi/0.json").write_text("[")
    with pytest.raises(ShardError, match=r"cannot read .*00005.report.json"):
        summaries()


def test_small_runs_keep_no_summaries(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    place(run, 0)
    finished = Finished(run)
    assert finished.complete(PASSAGE.shard("fi"))
    assert not finished.complete(StageKey("rated").shard("fi"))
    assert finished.summary(PASSAGE.shard("fi")).kept == 1
    finished.save()
    assert not (tmp_path / "cache").exists()


def test_many_inputs_are_summarised_as_one_digest() -> None:
    few = {f"input.{number}": str(number) for number in range(MOST_INPUTS)}
    assert fold(few) == few
    many = few | {"input.more": "1"}
    assert fold(many).keys() == {"input.all"}
    assert fold(many) == fold(dict(reversed(many.items()))) != fold(many | {"input.more": "2"})
    # The report of an earlier version lists every input.
    assert split(many | {"seed": 1}) == ({"seed": 1}, fold(many))
