"""Rows to look at: of a run, a built folder, a data set on the Hub, or one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from x_instruction.errors import CorpusError, RecipeError
from x_instruction.records import as_row
from x_instruction.storage.location import open_run
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import ROUND_STAGES, ShardKey, StageKey
from x_instruction.storage.store import is_store

if TYPE_CHECKING:
    from x_instruction.config.recipe import Recipe

# Bytes of the longest row of a file that is read.
_ROW_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Entry:
    """A row as it is shown.

    Args:
        id: id of the row; of a dropped one, as its stage names it.
        facts: what else to say about it in its first line, such as its score.
        prompt: the instruction, or empty.
        text: the response, or the text that was dropped.
        reason: why it was dropped, or empty.
    """

    id: str
    facts: str
    prompt: str
    text: str
    reason: str = ""

    def has(self, text: str) -> bool:
        """Whether the instruction or the text contains some text, in any case."""
        return any(text.casefold() in own.casefold() for own in (self.prompt, self.text))


class Rows(Protocol):
    """Rows by language."""

    languages: list[str]
    """Tags of the languages."""

    def entries(self, tag: str) -> Iterator[Entry]:
        """The rows of a language, in order."""


class RunRows:
    """The rows of a run at one stage.

    Args:
        folder: folder of the run.
        stage: name of the stage; None takes the last one that has rows.
        round: of refinement, for candidates and ratings; None takes the last one that has rows.

    Raises:
        RecipeError: the folder holds no run.
    """

    def __init__(self, folder: str | Path, stage: str | None, round: int | None) -> None:
        self.run, recipe = _run(folder)
        self.languages = list(recipe.languages)
        possible = _stages(recipe, stage, round)
        self.stage = next((key for key in possible if any(r.kept for r in self.run.reports(key))), possible[0])

    def entries(self, tag: str) -> Iterator[Entry]:
        """The rows of a language, in order."""
        for report in self.run.reports(self.stage):
            if report.key.language == tag:
                yield from (entry(as_row(record)) for record in self.run.read(report.key))


class DroppedRows:
    """The dropped rows of a run.

    Args:
        folder: folder of the run.
        reason: why they were dropped; empty for any reason.
        stage: name of the stage that dropped them; None for all stages.
        round: of refinement, for candidates and ratings; None for all rounds.

    Raises:
        RecipeError: the folder holds no run, or no row was dropped for the reason.
    """

    def __init__(self, folder: str | Path, reason: str, stage: str | None, round: int | None) -> None:
        self.run, recipe = _run(folder)
        self.languages = list(recipe.languages)
        self.reason = reason
        self.stages = _stages(recipe, stage, round)[::-1]
        counts: Counter[str] = Counter()
        for key in self.stages:
            for report in self.run.reports(key):
                counts.update(report.dropped)
        if reason and reason not in counts:
            known = ", ".join(f"{name} {number:,}" for name, number in counts.most_common())
            at = f" at the stage {stage}" if stage else ""
            raise RecipeError(f"{folder} dropped no row as {reason!r}{at}; its reasons are {known or 'none'}")

    def entries(self, tag: str) -> Iterator[Entry]:
        """The dropped rows of a language, by stage."""
        for key in self.stages:
            for report in self.run.reports(key):
                if report.key.language == tag and (not self.reason or self.reason in report.dropped):
                    yield from self._read(report.key, str(key))

    def _read(self, key: ShardKey, stage: str) -> Iterator[Entry]:
        for row in self.run.dropped(key):
            if not self.reason or row.reason == self.reason:
                yield Entry(row.id, f"{stage}  {row.detail}".rstrip(), "", row.text, row.reason)


class SetRows:
    """The rows of a built folder, of files in the original format, or of a data set on the Hub.

    Args:
        source: the folder or the id.
    """

    def __init__(self, source: str) -> None:
        from x_instruction.builders import reading

        self.source = source
        self.languages = reading.languages(source)

    def entries(self, tag: str) -> Iterator[Entry]:
        """The rows of a language, split after split."""
        from x_instruction.builders import reading

        for rows in reading.load(tag, self.source, streaming=True).values():
            yield from map(entry, rows)


class FileRows:
    """The rows of one file, of every language that they name.

    Args:
        path: a Parquet, JSON or JSON Lines file, compressed or not.

    Raises:
        CorpusError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = list(self._read())
        self.languages = list(dict.fromkeys(str(row.get("language") or "") for row in self.rows))

    def entries(self, tag: str) -> Iterator[Entry]:
        """The rows of a language, in order."""
        for number, row in enumerate(self.rows, start=1):
            if str(row.get("language") or "") == tag:
                yield entry(row, f"row {number}")

    def _read(self) -> Iterator[Mapping[str, Any]]:
        from x_instruction.corpus.readers import rows
        from x_instruction.corpus.rows import RowError

        if self.path.suffix == ".parquet":
            yield from _parquet(self.path)
            return
        with open(self.path, "rb") as stream:
            for number, row in rows(stream, str(self.path), ("text",), _ROW_BYTES):
                if isinstance(row, RowError):
                    yield {"id": f"row {number}", "reason": row.reason, "detail": row.detail, "text": row.text}
                else:
                    yield row


def find_rows(source: str, stage: str | None, round: int | None, dropped: str | None) -> Rows:
    """The rows of a source.

    Args:
        source: folder of a run or a data set, a file, or id of a data set on the Hub.
        stage, round: which rows of a run.
        dropped: show dropped rows of a run instead, of this reason, or of any if it is empty.

    Raises:
        RecipeError: there is no such source, or an option is for runs and it is none.
    """
    from x_instruction.builders.reading import is_hub_id

    if is_store(source):
        return RunRows(source, stage, round) if dropped is None else DroppedRows(source, dropped, stage, round)
    path = Path(source).expanduser()
    if path.is_file():
        _only_of_runs(source, "a file", stage, round, dropped)
        return FileRows(path)
    if (path / "recipe.json").is_file() and (path / "run.json").is_file():
        return RunRows(path, stage, round) if dropped is None else DroppedRows(path, dropped, stage, round)
    if not path.exists() and not is_hub_id(source):
        raise RecipeError(f"{source} does not exist: expected a run, a built folder, a file, or an id on the Hub")
    _only_of_runs(source, "a data set", stage, round, dropped)
    return SetRows(source)


def entry(row: Mapping[str, Any], place: str = "") -> Entry:
    """A row of any of the formats that this package writes and reads."""
    if row.get("messages"):
        prompt, text = ("\n".join(_texts(row["messages"], role)) for role in ("user", "assistant"))
    else:
        prompt = _joined(_first(row, "instruction", "prompt", "question"), row.get("input"))
        text = _first(row, "output", "text", "response", "completion", "answer")
    facts = []
    if row.get("score") is not None and row.get("rater") != "none":
        score = row["score"]
        facts.append(f"score {score:.3f}" if isinstance(score, int | float) else f"score {score}")
    facts += [f"{name} {row[name]}" for name in ("rank", "candidate", "style") if row.get(name) is not None]
    if row.get("detail"):
        facts.append(str(row["detail"]))
    return Entry(str(row.get("id") or place), "  ".join(facts), prompt, text, str(row.get("reason") or ""))


def _first(row: Mapping[str, Any], *names: str) -> str:
    value = next((row[name] for name in names if row.get(name)), "")
    return "\n".join(_texts(value)) if isinstance(value, list) else str(value)


def _texts(messages: Any, role: str = "") -> list[str]:
    return [str(m.get("content", "")) for m in messages if isinstance(m, Mapping) and role in ("", m.get("role"))]


def _joined(prompt: str, more: Any) -> str:
    return f"{prompt}\n{more}" if more else prompt


def _only_of_runs(source: str, kind: str, stage: str | None, round: int | None, dropped: str | None) -> None:
    given = {"--stage": stage, "--round": round, "--dropped": dropped}
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise RecipeError(f"{' and '.join(names)} needs a run, and {source} is {kind}: name the folder of the run")


def _run(folder: str | Path) -> tuple[RunFolder, Recipe]:
    from x_instruction.api import read_run

    recipe = read_run(folder)
    return open_run(folder), recipe


def _stages(recipe: Recipe, stage: str | None, round: int | None) -> list[StageKey]:
    """The stages that are meant, the last one first.

    Raises:
        RecipeError: the run has no such round, or the stage has no rounds.
    """
    most = recipe.refine.rounds
    if round is not None and not 0 <= round <= most:
        raise RecipeError(f"--round is {round}, and the last round of the run is {most}")
    if round and stage is not None and stage not in ROUND_STAGES:
        raise RecipeError(f"--round is {round}, and the stage {stage} has no rounds: leave it out")
    rounds = range(most, -1, -1) if round is None else [round]
    made = [StageKey("curated"), *(StageKey(name, n) for n in rounds for name in ("rated", "candidate"))]
    made.append(StageKey("passage"))
    if round:
        made = [key for key in made if key.stage in ROUND_STAGES]
    return [key for key in made if stage in (None, key.stage)]


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1_000):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise CorpusError(f"cannot read {path}: {error}; is it a Parquet file?") from error


def dropped_as(folder: str, id: str) -> str:
    """Where a run dropped a row, as a clause of a sentence; empty if the source is no run or dropped no such row."""
    if not is_store(folder) and not (Path(folder) / "recipe.json").is_file():
        return ""
    rows = DroppedRows(folder, "", None, None)
    for tag in rows.languages:
        for found in rows.entries(tag):
            if found.id == id:
                return f"; it was dropped as {found.reason}: see `--dropped --id {id}`"
    return ""
