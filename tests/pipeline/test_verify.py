"""Files that are read again with ``--verify``, and not without it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import factories
import pytest

from x_instruction.config.recipe import load
from x_instruction.corpus import files
from x_instruction.errors import ShardError
from x_instruction.pipeline.verify import verify_shards
from x_instruction.storage import known_digests
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import PASSAGE

HOUR_AGO = 1_700_000_000_000_000_000


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    for tag in ("fi", "th"):
        made.write(ShardReport(PASSAGE.shard(tag)), [factories.passage(f"Text {n}", tag) for n in range(30)])
        made.finish(PASSAGE, tag, 1)
    return made


@pytest.mark.parametrize("name", ["passage/fi/00000.parquet", "passage/th/00000.dropped.parquet"])
def test_flipped_bits_are_detected(run: RunFolder, name: str) -> None:
    recipe = load("demo", {"languages": ["fi", "th"]})
    lines: list[str] = []
    verify_shards(run, recipe, lines.append)
    assert lines == ["verified: 2 shards"]
    data = bytearray((run.root / name).read_bytes())
    data[len(data) // 2] ^= 1
    (run.root / name).write_bytes(data)
    with pytest.raises(ShardError, match=rf"has files whose bytes changed after they were written: {name}; remove"):
        verify_shards(run, recipe, lines.append)


def test_an_unchanged_corpus_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_INSTRUCTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(known_digests, "LEAST", 4)
    corpus = tmp_path / "fi.jsonl"

    def write(text: str, changed: int) -> None:
        corpus.write_text(text)
        os.utime(corpus, ns=(changed, changed))

    write("first", HOUR_AGO)
    first = files.digest(corpus)
    # Other bytes of the same size and time are not noticed, until they are asked for.
    write("other", HOUR_AGO)
    assert files.digest(corpus) == first
    known_digests.forget_digests()
    other = files.digest(corpus)
    assert other != first
    # A file that was touched, or lies elsewhere, has the same digest.
    write("first", HOUR_AGO + 1)
    assert files.digest(corpus) == first
    corpus = tmp_path / "moved.jsonl"
    write("first", HOUR_AGO)
    assert files.digest(corpus) == first


def test_the_digest_of_a_file_that_just_changed_is_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_INSTRUCTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(known_digests, "LEAST", 4)
    corpus = tmp_path / "fi.jsonl"
    corpus.write_text("first")
    status = corpus.stat()
    first = files.digest(corpus)
    corpus.write_text("other")
    os.utime(corpus, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert files.digest(corpus) != first


def test_an_unwritable_cache_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("X_INSTRUCTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(known_digests, "LEAST", 4)
    corpus = tmp_path / "fi.jsonl"
    corpus.write_text("first")
    assert files.digest(corpus) == files.digest(corpus)


def test_an_unusable_digest_cache_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_INSTRUCTION_CACHE", str(tmp_path))
    monkeypatch.setattr(known_digests, "LEAST", 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "digests.sqlite")) as table:
        table.execute("CREATE TABLE digests (of_another_version)")
    file = tmp_path / "corpus.txt"
    file.write_text("text")
    os.utime(file, ns=(HOUR_AGO, HOUR_AGO))
    assert known_digests.known_digest(file, lambda: "read") == "read"
