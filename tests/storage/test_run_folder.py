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
from x_instruction.storage.run_folder import BATCH, LAYOUT, RunFolder, ShardReport
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


# Reading what is not good


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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"shards": "many"}', '{"shards": null}'])
def test_a_damaged_index_is_reported(run: RunFolder, text: str) -> None:
    run.finish(PASSAGE, "fi", 1)
    (run.root / "passage" / "fi" / "index.json").write_text(text)
    with pytest.raises(ShardError, match=r"cannot read .*index.json"):
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


# Disks that fill and processes that die: for real, in a process of their own

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
    assert json.loads((run.path(key).parent / "index.json").read_text()) == {"shards": 3}
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
    assert json.loads((run.root / "run.json").read_text()) == {"layout": LAYOUT}
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
