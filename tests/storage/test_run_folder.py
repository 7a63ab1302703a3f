"""A shard is whole or absent, whatever goes wrong while it is written."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import factories
import pyarrow.parquet as pq
import pytest

from x_instruction.errors import RecipeError, ShardError
from x_instruction.records import Candidate, Dropped, Passage, dropped, extend, schema
from x_instruction.storage.atomic import atomic, file_digest, sweep
from x_instruction.storage.lock import RunBusy
from x_instruction.storage.run_folder import BATCH, LAYOUT, RunFolder, ShardFailure, ShardReport
from x_instruction.storage.shard_key import PASSAGE, ShardKey, StageKey

CANDIDATE, RATED = StageKey("candidate"), StageKey("rated")
FI = PASSAGE.shard("fi")
TEXTS = {"fi": "Järvi jäätyy yöllä.\nSauna on lämmin.", "th": "น้ำขึ้นน้ำลงเกิดจากดวงจันทร์", "bn": "জোয়ার কেন আসে?"}


def passage(number: int, tag: str = "fi") -> Passage:
    return factories.passage(f"{TEXTS[tag]} {number}", tag, id=f"{tag}-{number:016d}", document_id=f"d:{number}")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def files(run: RunFolder) -> set[str]:
    """Files of the run, without the one that holds the version of the layout."""
    found = {str(path.relative_to(run.root)) for path in run.root.rglob("*") if path.is_file()}
    return found - {"run.json"}


WHOLE = {
    "passage/fi/00000.parquet",
    "passage/fi/00000.report.json",
    "passage/fi/00000.dropped.parquet",
}


# One file


def test_an_exception_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    with atomic(path) as stream:
        stream.write(b"old")
    with pytest.raises(ZeroDivisionError), atomic(path) as stream:
        stream.write(b"new" * 10_000 + bytes(1 // 0))
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_an_exception_leaves_no_new_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "file"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic(path) as stream:
        stream.write(b"x" * 100_000)
        assert not path.exists()
    assert path.stat().st_size == 100_000


def test_a_file_in_place_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("in the way")
    with (
        pytest.raises(ShardError, match=r"cannot write .*folder/file: (File exists|Not a directory)"),
        atomic(tmp_path / "folder" / "file"),
    ):
        pass


# Damaged files


def test_a_missing_shard_is_reported(run: RunFolder) -> None:
    with pytest.raises(ShardError, match=r"cannot read shard .*passage/fi/00003.parquet"):
        list(run.read(PASSAGE.shard("fi", 3)))
    with pytest.raises(ShardError, match=r"00003.report.json"):
        run.report(PASSAGE.shard("fi", 3))
    assert run.count(PASSAGE, "fi") is None
    assert not run.complete(PASSAGE.shard("fi", 3))
    assert list(run.reports(PASSAGE)) == []


@pytest.mark.parametrize("keep", [0, 3, 0.3, 0.7, 0.99])
def test_a_truncated_shard_is_reported(run: RunFolder, keep: float) -> None:
    run.write(ShardReport(FI), (passage(number) for number in range(50)))
    path = run.path(FI)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(ShardError, match=r"passage/fi/00000.parquet is damaged: its bytes are not those"):
        list(run.read(FI))


def test_bytes_changed_in_the_middle_are_detected(run: RunFolder) -> None:
    report = run.write(ShardReport(FI), (passage(number) for number in range(500)))
    path = run.path(FI)
    changed = bytearray(path.read_bytes())
    changed[200:260] = b"\0" * 60
    path.write_bytes(changed)
    assert file_digest(path) != report.digest
    with pytest.raises(ShardError, match=r"00000\.parquet"):
        list(run.read(FI))


def test_a_shard_of_another_stage_is_reported(run: RunFolder) -> None:
    run.write(ShardReport(FI), [passage(0)])
    run.path(CANDIDATE.shard("fi")).parent.mkdir(parents=True)
    for suffix in (".parquet", ".report.json"):
        os.replace(run.path(FI, suffix), run.path(CANDIDATE.shard("fi"), suffix))
    with pytest.raises(
        ShardError, match=r"candidate/round-0/fi/00000.parquet has other columns than a candidate shard"
    ):
        list(run.read(CANDIDATE.shard("fi")))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"stage": "passage"}', '{"unknown": 1}', "\xff"])
def test_a_damaged_report_is_reported(run: RunFolder, text: str) -> None:
    run.write(ShardReport(FI), [passage(0)])
    run.path(FI, ".report.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ShardError, match=r"cannot read .*00000.report.json"):
        run.report(FI)


def test_an_edited_report_is_named(run: RunFolder) -> None:
    run.write(ShardReport(FI, {"corpus.min_chars": 20, "digits": {10: 0.1, 9: None}}, rows_in=4), [passage(0)])
    path, report = run.path(FI, ".report.json"), run.report(FI)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"kept": 1', b'"kept": 7'))
    with pytest.raises(ShardError, match=r"cannot read .*00000.report.json: its fields are not those that were writ"):
        run.report(FI)
    for bit in range(0, 8 * len(content), 5):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        # A change of the spaces between fields is none.
        with contextlib.suppress(ShardError):
            assert run.report(FI) == report
    # Earlier versions wrote no checksum.
    path.write_text(json.dumps({name: value for name, value in json.loads(content).items() if name != "checksum"}))
    assert run.report(FI) == report


def test_a_changed_number_of_shards_is_named(run: RunFolder) -> None:
    run.finish(PASSAGE, "fi", 3)
    path = run.root / "passage" / "fi" / "index.json"
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with contextlib.suppress(ShardError):
            assert run.count(PASSAGE, "fi") == 3
    path.write_text('{"shards": 2}')
    assert run.count(PASSAGE, "fi") == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Expecting value"),
        ("[]", "it has a list, expected an object"),
        ("{}", "it has the fields none, expected 'shards'"),
        ('{"shards": 1, "more": 2}', "it has the fields shards, more, expected 'shards'"),
        ('{"shards": "many"}', "invalid literal"),
        ('{"shards": null}', "int"),
    ],
)
def test_a_damaged_index_is_reported(run: RunFolder, text: str, says: str) -> None:
    run.finish(PASSAGE, "fi", 1)
    (run.root / "passage" / "fi" / "index.json").write_text(text)
    with pytest.raises(ShardError, match=rf"cannot read .*index.json: .*{says}.*; remove its shard and run again"):
        run.count(PASSAGE, "fi")


# Writing


@pytest.mark.parametrize("tag", TEXTS)
def test_shards_round_trip(run: RunFolder, tag: str) -> None:
    records = [passage(number, tag) for number in range(BATCH * 2 + 3)]
    report = run.write(ShardReport(PASSAGE.shard(tag, 7)), iter(records))
    assert run.complete(PASSAGE.shard(tag, 7))
    assert list(run.read(PASSAGE.shard(tag, 7))) == records
    assert run.report(PASSAGE.shard(tag, 7)) == report
    assert report.kept == len(records)
    assert report.digest == file_digest(run.path(PASSAGE.shard(tag, 7)))


def test_an_empty_shard_is_complete(run: RunFolder) -> None:
    run.write(ShardReport(FI), [])
    assert files(run) == WHOLE
    assert list(run.read(FI)) == []
    assert pq.read_schema(run.path(FI)).equals(schema(Passage))


def test_reports_have_counts_and_reasons(run: RunFolder) -> None:
    records: list[Passage | Dropped] = []
    for number in range(30):
        records += [passage(number), dropped(f"a{number}", "too_short", text="น้ำ")]
        records += [dropped(f"b{number}", "broken", "2 %")] * (number % 2)
    report = run.write(ShardReport(FI, settings={"corpus.source": "sample"}), records)
    assert (report.kept, report.dropped) == (30, {"broken": 15, "too_short": 30})
    assert run.report(FI) == report
    assert report.settings == {"corpus.source": "sample"}
    gone = pq.read_table(run.path(FI, ".dropped.parquet"))
    assert gone.schema.equals(schema(Dropped))
    assert [Dropped(**row) for row in gone.to_pylist()] == [r for r in records if isinstance(r, Dropped)]


def test_the_report_is_completed_after_the_records(run: RunFolder) -> None:
    def fill(report: ShardReport) -> None:
        report.seconds = 1.5
        report.rows_in = report.kept + sum(report.dropped.values())

    run.write(ShardReport(FI), [passage(0), dropped("a", "broken")], fill)
    found = run.report(FI)
    assert (found.seconds, found.rows_in) == (1.5, 2)


def test_two_writes_give_the_same_bytes(run: RunFolder) -> None:
    first = run.write(ShardReport(FI), [passage(0), passage(1)]).digest
    assert run.write(ShardReport(PASSAGE.shard("fi", 1)), [passage(0), passage(1)]).digest == first


def test_an_exception_in_a_stage_leaves_no_shard(run: RunFolder) -> None:
    def stage() -> Iterator[Passage]:
        yield passage(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run.write(ShardReport(FI), stage())
    assert files(run) == set()


def test_an_error_of_the_system_in_a_stage_names_the_shard_that_was_made(run: RunFolder) -> None:
    def records() -> Iterator[Passage]:
        yield passage(0)
        raise OSError("no disk")

    with pytest.raises(ShardError, match=r"^making .*passage/fi/00000\.parquet failed: no disk; fix this and run the"):
        run.write(ShardReport(FI), records())


def test_an_exception_in_a_stage_keeps_the_old_shard(run: RunFolder) -> None:
    def stage() -> Iterator[Passage]:
        yield passage(9)
        raise ZeroDivisionError

    report = run.write(ShardReport(FI), [passage(0)])
    with pytest.raises(ZeroDivisionError):
        run.write(ShardReport(FI), stage())
    assert files(run) == WHOLE
    assert list(run.read(FI)) == [passage(0)]
    assert run.report(FI) == report


def test_the_shard_is_written_after_its_report(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = os.replace

    def remember(source: Path, target: Path) -> None:
        order.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", remember)
    run.write(ShardReport(FI), [passage(0)])
    assert set(order) == {"run.json", *(Path(name).name for name in WHOLE)}
    assert order[-1] == "00000.parquet"


def test_a_record_of_another_stage_is_refused(run: RunFolder) -> None:
    with pytest.raises((AttributeError, ValueError)):
        run.write(ShardReport(RATED.shard("fi")), [passage(0)])
    assert files(run) == set()


def test_reports_are_ordered_by_language_and_index(run: RunFolder) -> None:
    for tag, index in (("th", 0), ("fi", 10), ("fi", 2)):
        run.write(ShardReport(PASSAGE.shard(tag, index)), [])
    assert [(r.key.language, r.key.index) for r in run.reports(PASSAGE)] == [("fi", 2), ("fi", 10), ("th", 0)]


# Removing

GROWN = {
    "instruction": "Why?",
    "instruction_language": "en",
    "style": "question",
    "candidate": 0,
    "round": 0,
    "finish_reason": "stop",
    "generator": "g",
    "generator_revision": "r",
    "generator_prompt": "p",
}


@pytest.mark.parametrize("how", ["remove", "clear", "finish"])
def test_removing_deletes_the_shard_before_its_report(
    run: RunFolder, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.write(ShardReport(CANDIDATE.shard("fi")), [extend(passage(0), Candidate, **GROWN)])
    run.finish(CANDIDATE, "fi", 1)
    order: list[str] = []
    unlink = Path.unlink

    def remember(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            order.append(path.name)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", remember)
    if how == "remove":
        run.remove(CANDIDATE.shard("fi"))
    elif how == "clear":
        run.clear(CANDIDATE, "fi")
    else:
        run.finish(CANDIDATE, "fi", 0)
    assert next(name for name in order if name != "index.json") == "00000.parquet"
    assert {path.name for path in run.path(CANDIDATE.shard("fi")).parent.iterdir()} <= {"index.json"}


def test_removing_a_missing_shard_does_nothing(run: RunFolder) -> None:
    run.remove(FI)
    run.clear(PASSAGE, "fi")


def test_finish_removes_only_shards_above_the_number(run: RunFolder) -> None:
    for index in range(4):
        run.write(ShardReport(PASSAGE.shard("fi", index)), [passage(index)])
    run.write(ShardReport(PASSAGE.shard("th", 3)), [passage(3, "th")])
    run.finish(PASSAGE, "fi", 2)
    assert run.count(PASSAGE, "fi") == 2
    assert [run.complete(PASSAGE.shard("fi", index)) for index in range(4)] == [True, True, False, False]
    assert run.complete(PASSAGE.shard("th", 3))
    assert not [name for name in files(run) if "/fi/" in name and name.split("/")[-1].startswith(("00002", "00003"))]


def test_clear_removes_shards_and_their_number(run: RunFolder) -> None:
    run.write(ShardReport(FI), [passage(0)])
    run.finish(PASSAGE, "fi", 1)
    run.clear(PASSAGE, "fi")
    assert run.count(PASSAGE, "fi") is None
    assert files(run) == set()


# What is there


def test_a_listing_sees_every_folder_of_shards(run: RunFolder) -> None:
    """Each thousand shards after the first have a folder, in no order that the system promises."""
    numbers = [0, 1, 999, 1_000, 1_001, 2_500]
    for number in numbers:
        run.write(ShardReport(PASSAGE.shard("fi", number)), [])
    run.write(ShardReport(PASSAGE.shard("th", 7)), [])
    # A shard of which the file itself is missing, and one that was set aside.
    run.path(PASSAGE.shard("fi", 1)).unlink()
    run.path(PASSAGE.shard("fi", 1_001)).unlink()
    run.set_aside(PASSAGE.shard("fi", 2_501), "killed", 3)
    run.finish(PASSAGE, "th", 8)
    (run.root / "passage" / "fi" / "notes").mkdir()
    found = run.listing(PASSAGE, "fi")
    assert found.present == {*numbers, 2_501}
    assert found.complete == {0, 999, 1_000, 2_500}
    assert found.stamps.keys() == set(numbers)
    assert run.listing(PASSAGE, "th").present == {7}
    assert run.listing(PASSAGE, "bn").present == set()
    assert [report.key.index for report in run.reports(PASSAGE)] == [0, 999, 1_000, 2_500, 7]


def test_the_stamp_of_a_report_changes_with_it_alone(run: RunFolder) -> None:
    stamps = []
    for number in (0, 1_000):
        key = PASSAGE.shard("fi", number)
        run.write(ShardReport(key, rows_in=1), [])
        before = run.listing(PASSAGE, "fi").stamps[number]
        os.utime(run.path(key), (0, 0))
        assert run.listing(PASSAGE, "fi").stamps[number] == before
        os.utime(run.path(key, ".report.json"), ns=(0, 5))
        size = run.path(key, ".report.json").stat().st_size
        stamps.append(run.listing(PASSAGE, "fi").stamps[number])
        assert stamps[-1] == f"5-{size}" != before
    assert len(stamps) == 2


def test_more_than_a_thousand_shards_in_one_folder_are_of_an_earlier_version(run: RunFolder) -> None:
    run.write(ShardReport(PASSAGE.shard("fi", 999)), [])
    run.write(ShardReport(PASSAGE.shard("fi", 1_000)), [])
    assert run.listing(PASSAGE, "fi").complete == {999, 1_000}
    (run.root / "passage" / "fi" / "01000.parquet").touch()
    with pytest.raises(
        ShardError, match=r"made .*passage/fi, which has more than 1,000 shards in one folder: use that"
    ):
        run.listing(PASSAGE, "fi")


def test_the_shards_of_a_language_are_known_once_their_number_is(run: RunFolder) -> None:
    run.write(ShardReport(FI), [])
    assert run.shards(PASSAGE, "fi") == []
    run.finish(PASSAGE, "fi", 2)
    assert run.shards(PASSAGE, "fi") == [PASSAGE.shard("fi", 0), PASSAGE.shard("fi", 1)]
    assert run.shards(PASSAGE, "th") == []


def test_languages_are_folders_in_order(run: RunFolder) -> None:
    for tag in ("th", "bn", "fi"):
        run.write(ShardReport(PASSAGE.shard(tag)), [])
    (run.root / "passage" / "notes.txt").touch()
    assert run.languages(PASSAGE) == ["bn", "fi", "th"]
    assert run.languages(RATED) == []


def test_why_a_shard_was_set_aside(run: RunFolder) -> None:
    """Of passages, the first shards may be complete, and the task has the number 0."""
    candidate, second = CANDIDATE.shard("fi"), CANDIDATE.shard("fi", 1)
    for key in (FI, candidate, second):
        run.set_aside(key, f"3 workers died of {key}", 3)
    assert run.failure(candidate) == ShardFailure(f"3 workers died of {candidate}", 3)
    assert run.failure(PASSAGE.shard("th")) is None
    assert [key for key, _ in run.failures(CANDIDATE)] == [candidate, second]
    assert list(run.failures(RATED)) == []
    run.write(ShardReport(candidate), [])
    assert run.failure(candidate) is None
    run.set_aside(candidate, "of an earlier attempt", 1)
    assert [key for key, _ in run.failures(CANDIDATE)] == [second]
    run.remove(candidate)
    assert run.failure(candidate) is None
    run.write(ShardReport(FI), [passage(0)])
    run.set_aside(FI, "after its first shard", 1)
    assert [(key, failure.reason) for key, failure in run.failures(PASSAGE)] == [(FI, "after its first shard")]
    run.path(second, ".failed.json").write_text("{}")
    with pytest.raises(ShardError, match=r"cannot read .*00001\.failed\.json: .*; remove it"):
        run.failure(second)


def test_files_whose_bytes_are_not_those_of_the_report(run: RunFolder) -> None:
    report = run.write(ShardReport(FI), [passage(0), dropped("a", "broken")])
    assert run.damaged(report) == []
    with open(run.path(FI, ".dropped.parquet"), "ab") as stream:
        stream.write(b" ")
    assert run.damaged(report) == ["passage/fi/00000.dropped.parquet"]
    run.path(FI).unlink()
    assert run.damaged(report) == ["passage/fi/00000.parquet", "passage/fi/00000.dropped.parquet"]
    # Earlier versions recorded no digest of dropped rows.
    report.digest = report.dropped_digest = ""
    assert run.damaged(report) == []


def test_columns_and_dropped_rows(run: RunFolder) -> None:
    lost = [dropped(f"a{number}", "broken", "2 %", "text") for number in range(3)]
    run.write(ShardReport(FI), [passage(0), *lost, passage(1)])
    assert list(run.dropped(FI)) == lost
    table = run.columns(FI, ["text", "id"])
    assert (table.column_names, table.num_rows) == (["text", "id"], 2)
    assert run.columns(FI).to_pylist() == pq.read_table(run.path(FI)).to_pylist()
    os.utime(run.path(FI, ".dropped.parquet"), (0, 0))
    run.path(FI, ".dropped.parquet").write_bytes(b"PAR1")
    with pytest.raises(ShardError, match=r"00000\.dropped\.parquet is damaged"):
        list(run.dropped(FI))
    run.path(FI, ".dropped.parquet").unlink()
    with pytest.raises(ShardError, match=r"cannot read shard .*00000\.dropped\.parquet: .*No such file"):
        list(run.dropped(FI))


def test_a_shard_is_compared_once_and_again_when_it_was_replaced(run: RunFolder) -> None:
    run.write(ShardReport(FI), [passage(0)])
    assert list(run.read(FI)) == [passage(0)]
    content, before = bytearray(run.path(FI).read_bytes()), run.path(FI).stat()
    content[40] ^= 1
    run.path(FI).write_bytes(content)
    os.utime(run.path(FI), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run.sound(FI) == run.path(FI), "a file of the same size and time is that which was compared"
    os.utime(run.path(FI), ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(
        ShardError, match=r"is damaged: .*; remove the files of this shard and run the same command again"
    ):
        list(run.read(FI))


def test_dropped_rows_and_columns_of_another_schema_are_named(run: RunFolder) -> None:
    run.write(ShardReport(FI), [passage(0), dropped("a", "broken")])
    kept, lost = run.path(FI).read_bytes(), run.path(FI, ".dropped.parquet").read_bytes()
    run.path(FI, ".report.json").write_text(json.dumps(ShardReport(FI).as_json()))
    run.path(FI).write_bytes(lost)
    run.path(FI, ".dropped.parquet").write_bytes(kept)
    with pytest.raises(
        ShardError, match=r"00000\.dropped\.parquet has other columns than the dropped rows of a shard of"
    ):
        list(run.dropped(FI))
    for read in (run.columns, lambda key: list(run.batches(key))):
        with pytest.raises(ShardError, match=r"00000\.parquet has other columns than a passage shard of this version"):
            read(FI)


def test_batches_are_the_records_of_a_shard(run: RunFolder) -> None:
    run.write(ShardReport(FI), [passage(number) for number in range(BATCH + 1)])
    batches = list(run.batches(FI))
    assert [batch.num_rows for batch in batches] == [BATCH, 1]
    assert [row for batch in batches for row in batch["id"].to_pylist()] == run.columns(FI)["id"].to_pylist()
    os.utime(run.path(FI), (0, 0))
    run.path(FI).write_bytes(run.path(FI).read_bytes() + b" ")
    with pytest.raises(ShardError, match="is damaged"):
        next(run.batches(FI))


def test_models_are_in_a_folder_of_their_own(run: RunFolder) -> None:
    folder = run.model("rater-1")
    assert folder == run.root / "models" / "rater-1"
    for name in ("rater-1", "rater-2"):
        (run.model(name) / "part").mkdir(parents=True)
    run.remove_model("rater-1")
    assert list((run.root / "models").iterdir()) == [run.model("rater-2")]


def test_a_run_is_held_once_and_by_ranks_beside_each_other(run: RunFolder) -> None:
    with run.lock():
        assert (run.root / ".lock").exists()
        with pytest.raises(RunBusy, match="another run is at work in"), RunFolder(run.root).lock():
            pass
    with run.lock(0, 2), run.lock(1, 2):
        assert sorted(path.name for path in run.root.glob(".lock*")) == [".lock-0-of-2", ".lock-1-of-2"]


def test_request_caches_and_where_they_are_used(run: RunFolder, tmp_path: Path) -> None:
    first, second, other = CANDIDATE.shard("fi"), CANDIDATE.shard("th", 1_000), RATED.shard("fi")
    (tmp_path / "made").write_bytes(b"answers")
    for key in (second, first, other):
        run.keep_cache(key, tmp_path / "made")
    assert run.caches(CANDIDATE) == [run.cache(first), run.cache(second)]
    assert run.caches(PASSAGE) == []
    # A killed process left its log.
    Path(f"{run.cache(first)}-wal").write_bytes(b"log")
    for key, files_there in ((first, {"copy", "copy-wal"}), (second, {"copy"}), (RATED.shard("bn"), set())):
        target = tmp_path / key.language
        target.mkdir()
        run.fetch_cache(key, target / "copy")
        assert {path.name for path in target.iterdir()} == files_there
    assert (tmp_path / "fi" / "copy").read_bytes() == b"answers"
    assert (tmp_path / "fi" / "copy-wal").read_bytes() == b"log"
    (tmp_path / "made").write_bytes(b"more answers")
    run.keep_cache(first, tmp_path / "made")
    assert run.cache(first).read_bytes() == b"more answers"
    assert not Path(f"{run.cache(first)}-wal").exists()


def test_a_preview_is_a_run_in_the_run(run: RunFolder) -> None:
    key = CANDIDATE.shard("fi")
    assert run.preview().root == run.root / "preview"
    assert run.preview_cache(key) == run.root / "preview" / "cache" / "candidate" / "round-0" / "fi" / "00000.sqlite"
    run.mark_layout()
    run.preview().mark_layout(preview=True)
    assert (run.is_preview, run.preview().is_preview) == (False, True)
    # It is marked once.
    run.mark_layout(preview=True)
    assert not run.is_preview
    assert not RunFolder(run.root / "elsewhere").is_preview


def test_files_of_a_run(run: RunFolder) -> None:
    run.write_file("work/3.json", b"[]")
    run.write_file("work/inner/1.json", b"{}")
    assert run.names("work") == ["work/3.json", "work/inner/1.json"]
    assert run.names("none") == []
    assert run.read_file("work/3.json") == b"[]"
    assert run.read_file("work/4.json") is run.read_file("work/3.json/none") is None
    with pytest.raises(ShardError, match=r"cannot read .*/work: Is a directory"):
        run.read_file("work")
    run.remove_file("work/3.json")
    run.remove_file("work/3.json")
    assert run.names("work") == ["work/inner/1.json"]
    assert run.location == str(run.root)
    assert (run.on_store, run.one_process) == (False, False)


def test_the_bytes_of_a_shard_do_not_depend_on_how_rows_are_batched_with_dropped_ones(run: RunFolder) -> None:
    """Kept and dropped rows fill batches of their own."""
    kept = [passage(number) for number in range(BATCH + 1)]
    lost = [dropped(f"a{number}", "broken") for number in range(BATCH + 1)]
    mixed = [record for both in zip(kept, lost, strict=True) for record in both]
    apart = run.write(ShardReport(FI), [*kept, *lost])
    other = run.write(ShardReport(PASSAGE.shard("fi", 1)), mixed)
    assert (apart.digest, apart.dropped_digest) == (other.digest, other.dropped_digest)
    assert (list(run.read(FI)), list(run.dropped(FI))) == (kept, lost)
    for suffix in (".parquet", ".dropped.parquet"):
        with pq.ParquetFile(run.path(FI, suffix)) as file:
            assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [BATCH, 1]
            assert file.metadata.row_group(0).column(0).compression == "ZSTD"


# Full disks and killed processes, in processes of their own

CHILD = """
import os, resource, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_run_folder import FI, passage
from x_instruction.errors import ShardError
from x_instruction.records import dropped
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import PASSAGE

def noise(number):
    return dropped(f"a{number}", "broken", os.urandom(100).hex(), os.urandom(900).hex())

run = RunFolder(Path(sys.argv[1]))
"""


def child(run: RunFolder, body: str) -> subprocess.CompletedProcess[str]:
    """Runs code against the same run in another process, with this module's ``passage``."""
    code = CHILD + textwrap.dedent(body)
    return subprocess.run(
        [sys.executable, "-c", code, str(run.root), str(Path(__file__).parent), str(Path(__file__).parents[1])],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="the file size limit is of POSIX")
@pytest.mark.parametrize("kind", ["kept", "dropped"])
def test_a_full_disk_is_reported_and_leaves_no_shard(run: RunFolder, kind: str) -> None:
    made = "passage(number)" if kind == "kept" else "noise(number)"
    done = child(
        run,
        f"""
        run.write(ShardReport(FI), [passage(0)])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
        try:
            run.write(ShardReport(PASSAGE.shard("fi", 1)), ({made} for number in range(5_000)))
        except ShardError as error:
            print(error)
        # Coverage writes its data at the end of the process.
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert "parquet: File too large; complete files are kept: free some space" in done.stdout
    assert "passage/fi/00001." in done.stdout
    assert files(run) == WHOLE
    assert list(run.read(FI)) == [passage(0)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL is of POSIX")
def test_a_killed_writer_leaves_no_partial_shard(run: RunFolder) -> None:
    done = child(
        run,
        """
        def stage():
            yield from (passage(number) for number in range(3_000))
            os.kill(os.getpid(), signal.SIGKILL)

        run.write(ShardReport(FI), [passage(0)])
        run.write(ShardReport(PASSAGE.shard("fi", 1)), stage())
        """,
    )
    assert done.returncode == -signal.SIGKILL
    assert run.complete(FI)
    assert not run.complete(PASSAGE.shard("fi", 1))
    assert [report.key.index for report in run.reports(PASSAGE)] == [0]
    run.write(ShardReport(PASSAGE.shard("fi", 1)), [passage(1)])
    assert list(run.read(PASSAGE.shard("fi", 1))) == [passage(1)]


# Keys and the layout


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (ShardKey("passage", 0, "sw", 12), "passage/sw/00012"),
        (ShardKey("candidate", 0, "sw", 0), "candidate/round-0/sw/00000"),
        (ShardKey("rated", 2, "zh-Hant", 3), "rated/round-2/zh-Hant/00003"),
        (ShardKey("curated", 0, "sw", 0), "curated/sw/00000"),
    ],
)
def test_paths_are_as_documented(run: RunFolder, key: ShardKey, path: str) -> None:
    assert str(key) == path
    assert run.path(key) == run.root / f"{path}.parquet"
    assert run.cache(key) == run.root / "cache" / f"{path}.sqlite"
    run.finish(key.stage_key, key.language, 3)
    assert json.loads((run.path(key).parent / "index.json").read_text())["shards"] == 3
    assert [shard.index for shard in run.shards(key.stage_key, key.language)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("stage", "round", "message"),
    [
        ("rated_1", 0, "stage is 'rated_1', expected one of passage, candidate, rated, curated"),
        ("passage", 1, "round is 1, expected 0: the stage passage has no rounds"),
    ],
)
def test_an_invalid_stage_key_is_refused(stage: str, round: int, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        StageKey(stage, round)


@pytest.mark.parametrize("name", ["recipe.json", "passage", "curated"])
def test_a_run_of_the_old_layout_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ShardError, match=r"has run layout 1, and .* reads layout 2: use the version that made it, or"):
        RunFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_of_a_later_layout_is_refused(run: RunFolder) -> None:
    run.write(ShardReport(FI), [passage(0)])
    assert json.loads((run.root / "run.json").read_text())["layout"] == LAYOUT
    assert RunFolder(run.root).complete(FI)
    (run.root / "run.json").write_text('{"layout": 3}')
    with pytest.raises(ShardError, match="has run layout 3"):
        RunFolder(run.root)
    (run.root / "run.json").write_text("{")
    with pytest.raises(ShardError, match=r"cannot read .*run\.json: .*write \{\"layout\": 2\} into it"):
        RunFolder(run.root)


def test_changed_bytes_are_detected(tmp_path: Path) -> None:
    """A flipped bit in a Parquet file is often read as another value, without an error."""
    run = RunFolder(tmp_path)
    key = FI
    run.write(ShardReport(key), [passage(n) for n in range(20)])
    path = run.path(key)
    content = bytearray(path.read_bytes())
    for bit in range(0, 8 * len(content), 997):
        changed = content.copy()
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(ShardError, match=r"passage/fi/00000\.parquet is damaged: its bytes are not those"):
            list(RunFolder(tmp_path).read(key))
    path.write_bytes(content)
    assert len(list(RunFolder(tmp_path).read(key))) == 20


def test_an_abandoned_folder_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".model.0123abcd.tmp"
    (left / "inner").mkdir(parents=True)
    sweep([left])
    assert left.exists()
    os.utime(left, (0, 0))
    sweep([left])
    assert not left.exists()
