"""What the complete shards of a run are made from, read once.

A report is a few kilobytes, and a check of all shards needs a few digests of each. They are kept below
``cache/finished`` in the run folder, in a file for each thousand shards. An entry counts while the report has the time
and size that the entry names, so a check reads the reports of new shards alone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import astuple, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from x_instruction import hashing
from x_instruction.storage.atomic import atomic
from x_instruction.storage.run_folder import Listing, RunFolder, ShardReport
from x_instruction.storage.shard_key import BLOCK, ShardKey, StageKey

# Inputs that are listed one by one in a report.
MOST_INPUTS = 100
# Shards in a file of summaries at least: reading fewer reports takes no time.
_LEAST = 100
_INPUT = "input."
_ALL = f"{_INPUT}all"
# Digest of the files of a corpus with many, without their folders. Reports of earlier versions have none.
FILES = f"{_INPUT}files"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a check needs of a report.

    Args:
        stamp: of the report, as listings have it.
        settings: digest of the settings without the inputs.
        inputs: digest of the inputs.
        digest: of the shard.
        kept: rows of the shard.
        dropped: the reasons for which rows were dropped.
    """

    stamp: str
    settings: str
    inputs: str
    digest: str
    kept: int
    dropped: list[str]


class Finished:
    """The complete shards of a run at one moment: each folder is listed once.

    Args:
        run: the run.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._languages: dict[tuple[StageKey, str], _Language] = {}

    def complete(self, key: ShardKey) -> bool:
        """Whether a shard is complete."""
        return key.index in self._language(key).listing.complete

    def summary(self, key: ShardKey) -> Summary:
        """The summary of a complete shard.

        Raises:
            ShardError: a report cannot be read.
        """
        return self._language(key).summary(key.index)

    def save(self) -> None:
        """Keep the summaries of new shards for the next check."""
        for found in self._languages.values():
            found.save()

    def _language(self, key: ShardKey) -> _Language:
        place = (key.stage_key, key.language)
        if place not in self._languages:
            self._languages[place] = _Language(self.run, *place)
        return self._languages[place]


class _Language:
    """The complete shards of a language at a stage."""

    def __init__(self, run: RunFolder, stage: StageKey, language: str) -> None:
        self.run = run
        self.stage = stage
        self.language = language
        self.listing: Listing = run.listing(stage, language)
        self._summaries: dict[int, Summary] | None = None
        self._new: set[int] = set()

    def summary(self, index: int) -> Summary:
        if self._summaries is None:
            self._summaries = self._read()
        if index not in self._summaries:
            # Raises an error that names the file.
            return _Summarizer()(self.run.report(self.stage.shard(self.language, index)), "")
        return self._summaries[index]

    def save(self) -> None:
        if self._summaries is None:
            return
        blocks: defaultdict[int, dict[int, Summary]] = defaultdict(dict)
        for index, summary in self._summaries.items():
            blocks[index // BLOCK * BLOCK][index] = summary
        for block in {index // BLOCK * BLOCK for index in self._new}:
            if len(blocks[block]) >= _LEAST:
                with atomic(self._file(block)) as stream:
                    stream.write(json.dumps({index: astuple(kept) for index, kept in blocks[block].items()}).encode())
        self._new.clear()

    def _read(self) -> dict[int, Summary]:
        stamps = self.listing.stamps
        complete = self.listing.complete
        found = {i: kept for i, kept in self._kept().items() if i in complete and stamps.get(i) == kept.stamp}
        missing = sorted(complete - found.keys())
        summarize = _Summarizer()
        for index, report in zip(
            missing, self.run.reports_of(self.stage.shard(self.language, index) for index in missing), strict=True
        ):
            found[index] = summarize(report, stamps.get(index, ""))
        self._new = set(missing)
        return found

    def _kept(self) -> dict[int, Summary]:
        """The summaries of earlier checks. A damaged file is as good as none: it is written anew."""
        found: dict[int, Summary] = {}
        for block in {index // BLOCK * BLOCK for index in self.listing.complete}:
            try:
                table = json.loads(self._file(block).read_text("utf-8"))
                found |= {int(index): Summary(*values) for index, values in table.items()}
            except (OSError, ValueError, TypeError, AttributeError, RecursionError):
                continue
        return found

    def _file(self, block: int) -> Path:
        return self.run.root / "cache" / "finished" / self.stage.path / self.language / f"{block}.json"


class _Summarizer:
    """Makes summaries. Shards of a stage have equal settings, whose digest is computed once."""

    def __init__(self) -> None:
        self._last: tuple[dict[str, Any], str] = ({}, hashing.digest({}))

    def __call__(self, report: ShardReport, stamp: str) -> Summary:
        settings, inputs = split(report.settings)
        if settings != self._last[0]:
            self._last = settings, hashing.digest(settings)
        dropped = sorted(report.dropped)
        return Summary(stamp, self._last[1], hashing.digest(inputs), report.digest, report.kept, dropped)


def split(recorded: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings and the inputs of a report. ``FILES`` is neither: it follows from the inputs."""
    settings = {key: value for key, value in recorded.items() if not key.startswith(_INPUT)}
    inputs = {key: value for key, value in recorded.items() if key.startswith(_INPUT) and key != FILES}
    return settings, fold(inputs)


def fold(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs as a report lists them: one by one, or one digest of them all where they are many.

    Args:
        inputs: ``input.`` and name to digest.
    """
    if len(inputs) <= MOST_INPUTS:
        return inputs
    return {_ALL: f"{len(inputs)} inputs, {hashing.digest(inputs)}"}


def files(inputs: dict[str, Any]) -> dict[str, Any]:
    """What the report of passages lists besides many inputs, so that they may be in another folder later."""
    if len(inputs) <= MOST_INPUTS:
        return {}
    return {FILES: f"{len(inputs)} inputs, {hashing.digest(_without_folders(inputs))}"}


def without_folders(old: dict[str, Any], new: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What passages record then and now, with files by order and name: wherever these are, the rows are equal."""
    less = _ALL if FILES in old and FILES in new else FILES
    tables = (_without_folders(recorded) for recorded in (old, new))
    first, second = ({name: value for name, value in table.items() if name != less} for table in tables)
    return first, second


def _without_folders(recorded: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    numbers = count(1)
    for name, value in recorded.items():
        if name.startswith(_INPUT) and "/" in name:
            kind = "decontaminate." if name.startswith(f"{_INPUT}decontaminate.") else ""
            found[f"{_INPUT}{kind}{next(numbers)}-{name.rpartition('/')[2]}"] = value
        elif name not in ("corpus.paths", "corpus.decontaminate"):
            found[name] = value
    return found
