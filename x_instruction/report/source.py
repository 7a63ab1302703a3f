"""What a report is about: a run, a data set that ``build`` wrote, or a data set on the Hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from x_instruction.builders.manifest import Manifest
from x_instruction.builders.reading import is_hub_id
from x_instruction.builders.schema import DATA
from x_instruction.builders.sources import Source
from x_instruction.builders.splits import SPLITS
from x_instruction.cards.facts import StageFacts
from x_instruction.config.recipe import Recipe, of_run
from x_instruction.errors import HubError, RecipeError, ShardError
from x_instruction.pipeline.rounds import stages, title
from x_instruction.pipeline.status import totals
from x_instruction.records import Dropped
from x_instruction.refine import scores
from x_instruction.storage.location import open_run
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import CURATED, PASSAGE, StageKey
from x_instruction.storage.store import is_store

# Columns that a report reads. They have the names of the published columns.
COLUMNS = (
    *("id", "instruction", "output", "instruction_language", "source", "url", "license", "document_id", "text_hash"),
    *("identified_confidence", "style", "generator", "generator_revision", "rater", "score", "round", "cluster"),
    "rank",
)


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file of rows.

    Args:
        path: The file.
        split: Its split.
    """

    path: Path
    split: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A data set to report on.

    Args:
        name: Its name for people.
        kind: ``run`` or ``data set``.
        folder: The folder that its Parquet files are below.
        rows: Where its rows are.
        run: The run that made it, with its dropped rows and candidates. None for a data set alone.
        recipe: The recipe of the run.
        manifest: The manifest of a built data set.
    """

    name: str
    kind: str
    folder: Path
    rows: Source
    run: RunFolder | None = None
    recipe: Recipe | None = None
    manifest: Manifest | None = None

    @property
    def languages(self) -> list[str]:
        """Tags of the languages with rows, in the order of the recipe or manifest."""
        present = self.rows.languages()
        order = list(self.manifest.languages if self.manifest else self.recipe.languages if self.recipe else ())
        return sorted(present, key=lambda tag: (order.index(tag) if tag in order else len(order), tag))

    @property
    def title(self) -> str:
        """Its title, with its name: many runs and sets have one title."""
        named = self.manifest.pretty_name if self.manifest else self.recipe.publish.pretty_name if self.recipe else ""
        return f"{named}: {self.name}" if named not in ("", self.name) else self.name

    def parts(self, tag: str) -> list[Part]:
        """The Parquet files of a language, in order."""
        if self.rows.built:
            folder = self.rows.folder / DATA / tag
            return [Part(path, split) for split in SPLITS for path in sorted(folder.glob(f"{split}-*.parquet"))]
        run = self.run or self.rows.run
        return [Part(run.sound(key), "") for key in run.shards(CURATED, tag)]

    def stages(self, tag: str) -> list[StageFacts]:
        """What each stage did with the records of a language."""
        if self.run is None or self.recipe is None:
            language_set = self.manifest.languages.get(tag) if self.manifest else None
            return list(language_set.provenance.stages) if language_set else []
        names = StageFacts.__dataclass_fields__.keys() - {"stage"}
        return [
            StageFacts(
                stage=title(StageKey(total.stage, total.round)), **{name: getattr(total, name) for name in names}
            )
            for total in totals(self.run, self.recipe)
            if total.language == tag
        ]

    def dropped(self, tag: str, most: int) -> Iterator[tuple[str, Dropped]]:
        """Up to ``most`` dropped rows of each stage and reason, with the title of the stage."""
        for stage in self._stages():
            counts: dict[str, int] = {}
            for report in self._reports(stage, tag):
                if all(counts.get(reason, 0) >= most for reason in report.dropped):
                    continue
                assert self.run is not None
                for record in self.run.dropped(report.key):
                    counts[record.reason] = counts.get(record.reason, 0) + 1
                    if counts[record.reason] <= most:
                        yield title(stage), record

    def candidates(self, tag: str, passages: set[str]) -> dict[str, list[dict[str, Any]]]:
        """Every candidate of some passages: instruction, score and fate, by id of the passage."""
        found: dict[str, list[dict[str, Any]]] = {}
        for stage in self._stages():
            if stage.stage != "candidate":
                continue
            for report in self._reports(stage, tag):
                fates = self._fates(report, stage.round)
                columns = ["id", "candidate", "instruction", "style", "finish_reason"]
                for row in _read(self._path(report), columns, passages):
                    score, fate = fates.get(f"{row['id']}-{row['candidate']}", (None, ""))
                    found.setdefault(row["id"], []).append(
                        {**row, "round": stage.round, "score": score, "fate": fate or "not rated"}
                    )
        return found

    def passages(self, tag: str, ids: set[str]) -> dict[str, str]:
        """The texts of some passages, by id."""
        return {
            row["id"]: row["text"]
            for report in (self._reports(PASSAGE, tag) if self.run is not None and ids else ())
            for row in _read(self._path(report), ["id", "text"], ids)
        }

    def scores(self, tag: str) -> dict[int, tuple[list[float], list[float]]]:
        """Round to the scores of kept and of dropped candidates."""
        import pyarrow.parquet as pq

        found: dict[int, tuple[list[float], list[float]]] = {}
        for stage in self._stages():
            if stage.stage == "rated":
                kept, lost = found.setdefault(stage.round, ([], []))
                for report in self._reports(stage, tag):
                    assert self.run is not None
                    kept += pq.read_table(self._path(report), columns=["score"])["score"].to_pylist()
                    lost += scores(self.run.dropped(report.key)).values()
        return found

    def _fates(self, report: ShardReport, round: int) -> dict[str, tuple[float | None, str]]:
        """Candidate to its score and what became of it, for the shard of a candidate stage."""
        assert self.run is not None
        rated = report.key.at(StageKey("rated", round))
        if not self.run.complete(rated):
            return {}
        lost = list(self.run.dropped(rated))
        known = scores(lost)
        fates: dict[str, tuple[float | None, str]] = {
            record.id: (known.get(record.id), record.reason) for record in lost
        }
        for row in _read(self.run.sound(rated), ["id", "candidate", "score"]):
            fates[f"{row['id']}-{row['candidate']}"] = (row["score"], "kept")
        return fates

    def _stages(self) -> list[StageKey]:
        return stages(self.recipe) if self.run is not None and self.recipe is not None else []

    def _reports(self, stage: StageKey, tag: str) -> list[ShardReport]:
        assert self.run is not None
        return [self.run.report(key) for key in self.run.shards(stage, tag) if self.run.complete(key)]

    def _path(self, report: ShardReport) -> Path:
        assert self.run is not None
        return self.run.sound(report.key)


def open_subject(source: str | Path) -> Subject:
    """The run, built data set or data set on the Hub that a user names.

    Raises:
        RecipeError: It is none of these, or it has no rows.
        HubError: A data set on the Hub cannot be downloaded, or ``build`` did not write it.
    """
    name = str(source)
    if is_store(source):
        return _checked(_of_run(name))
    if is_hub_id(source) and "/" not in name:
        raise RecipeError(
            f"{name} does not exist: expected the folder of a run or of a built data set, or an id on the Hub, "
            "such as org/name"
        )
    if is_hub_id(source):
        subject = _built(_download(name), name)
    elif (Path(source) / "recipe.json").is_file():
        subject = _of_run(Path(source))
    else:
        subject = _built(Path(source), Path(source).resolve().name)
    return _checked(subject)


def _checked(subject: Subject) -> Subject:
    if not subject.languages:
        raise RecipeError(f"{subject.name} has no rows to report on: see `x-instruction status` and its filters")
    return subject


def apart(one: Subject, other: Subject) -> tuple[Subject, Subject]:
    """Two subjects with names that differ. Equal names become the ends of their folders' paths.

    Raises:
        RecipeError: Both are the same folder.
    """
    if one.name != other.name:
        return one, other
    for length in range(1, 1 + max(len(one.folder.parts), len(other.folder.parts))):
        names = ["/".join(subject.folder.parts[-length:]) for subject in (one, other)]
        if names[0] != names[1]:
            return replace(one, name=names[0]), replace(other, name=names[1])
    raise RecipeError(f"{one.folder} is compared with itself: name another run or data set in --compare")


def of_built(run: RunFolder, recipe: Recipe, folder: Path, manifest: Manifest) -> Subject:
    """The data set that ``build`` is writing into a folder, with the run that it is made of."""
    rows = Source(folder.resolve(), built=True)
    return Subject(
        name=recipe.name, kind="data set", folder=rows.folder, rows=rows, run=run, recipe=recipe, manifest=manifest
    )


def read(part: Part) -> Any:
    """The columns of a file as a table of the published names.

    Raises:
        ShardError: The file is damaged.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(part.path) as file:
            names = set(file.schema_arrow.names)
            if "output" in names:
                return file.read(columns=list(COLUMNS))
            table = file.read(columns=["text", "candidate", *(name for name in COLUMNS if name in names)])
    except (OSError, pa.ArrowException) as error:
        raise ShardError(f"cannot read {part.path}: {error}; remove it and run again") from error
    ids = pc.binary_join_element_wise(table["id"], pc.cast(table["candidate"], "string"), "-")
    rounds = pc.binary_join_element_wise(ids, pc.cast(table["round"], "string"), "-r")
    table = table.set_column(
        table.schema.get_field_index("id"), "id", pc.if_else(pc.equal(table["round"], 0), ids, rounds)
    )
    return table.rename_columns(["output" if name == "text" else name for name in table.column_names]).select(COLUMNS)


def _read(path: Path, columns: list[str], ids: set[str] | None = None) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=columns)
    if ids is not None:
        table = table.filter(pc.is_in(table["id"], pa.array(sorted(ids), pa.string())))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _of_run(location: str | Path) -> Subject:
    run = open_run(location)
    recipe = of_run(location, run.read_file("recipe.json"))
    if not run.languages(CURATED):
        raise RecipeError(f"{location} has no rows to report on: see `x-instruction status {location}`")
    if run.on_store:
        rows = Source(run.root, built=False, location=run.location)
        name = run.location.rpartition("/")[2]
        return Subject(name=name, kind="run", folder=rows.folder, rows=rows, run=run, recipe=recipe)
    rows = Source(run.root.resolve(), built=False)
    # The name of the folder: many runs have one recipe.
    name = rows.folder.name or recipe.name
    return Subject(name=name, kind="run", folder=rows.folder, rows=rows, run=run, recipe=recipe)


def _built(folder: Path, name: str) -> Subject:
    rows = Source.at(folder)
    if not rows.built:
        raise RecipeError(f"{folder} has no recipe.json: expected the folder of a run or of a built data set")
    return Subject(name=name, kind="data set", folder=rows.folder, rows=rows, manifest=Manifest.read(rows.folder))


def _download(repo: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["manifest.json", "README.md", "data/**"]
    try:
        folder = Path(snapshot_download(repo, repo_type="dataset", allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise HubError(
            f"there is no folder {repo}, and it cannot be read from the Hub ({reason}): expected the folder of a run "
            "or of a built data set, or a data set on the Hub"
        ) from error
    if not os.path.isfile(folder / "manifest.json"):
        raise HubError(f"{repo} has no manifest.json: expected a data set that x-instruction published")
    return folder
