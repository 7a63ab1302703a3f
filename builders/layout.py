"""``build``: from the curated shards of a run to the folder of a data set, in the layout of the Hub.

    <folder>/README.md                                    metadata and card
    <folder>/languages.svg                                the plot of the card
    <folder>/croissant.json                               the same for machines
    <folder>/report.html                                  a page to look at the rows, if one was made
    <folder>/manifest.json                                digests of every file and of every config's rows, and the
                                                          facts that the card shows
    <folder>/data/<tag>/<split>-00000-of-00002.parquet    rows

The folder is written beside its target, loaded back and compared, and only then renamed, so a folder that exists is
complete. Equal shards and reports give equal bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from x_instruction.builders.corrections import corrected
from x_instruction.builders.corrections import read as read_corrections
from x_instruction.builders.files import ROW_GROUP, check_ids, split_writers
from x_instruction.builders.manifest import MANIFEST, Manifest
from x_instruction.builders.readback import verify
from x_instruction.builders.schema import ALL, published
from x_instruction.builders.splits import Shares, parts
from x_instruction.cards.croissant import CROISSANT, croissant
from x_instruction.cards.dataset import readme
from x_instruction.cards.dataset_facts import DatasetFacts
from x_instruction.cards.facts import LanguageSet, RowFacts
from x_instruction.cards.plot import PLOT, plot
from x_instruction.cards.run_figures import SelectedRows, provenance
from x_instruction.cards.templates import counted
from x_instruction.config.recipe import Recipe
from x_instruction.errors import RecipeError, ShardError
from x_instruction.storage.atomic import atomic
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, ShardKey

__all__ = ["README", "REPORT", "Built", "MakeReport", "build", "texts_and_manifest", "verify"]

README = "README.md"
REPORT = "report.html"
# Makes the page of a report from a folder whose rows are complete, and its manifest.
MakeReport = Callable[[Path, Manifest], bytes]


@dataclass(frozen=True, slots=True)
class Built:
    """What ``build`` wrote.

    Args:
        folder: The folder.
        rows: Tag to split to number of rows.
        skipped: Tag to the reason why the language is not in the data set.
    """

    folder: Path
    rows: dict[str, dict[str, int]]
    skipped: dict[str, str]


def build(
    run: RunFolder,
    recipe: Recipe,
    folder: Path,
    progress: Callable[[str], None] = lambda line: None,
    report: MakeReport | None = None,
    corrections: Sequence[Path] = (),
) -> Built:
    """Write the data set of a run, check it, and replace an older one.

    Args:
        run: The run. Its curated shards are the rows.
        recipe: Languages (the first is the default config), splits and file sizes.
        folder: Folder of the data set. Until it is complete, a hidden folder beside it holds the files.
        progress: Receives a line per language and step.
        report: Makes the report that is written beside the card. None for a data set without one.
        corrections: Files of instructions that people corrected (``builders.corrections``).

    Raises:
        RecipeError: A language cannot be a config, or the folder holds other files.
        ShardError: There are no rows, a shard is damaged, the disk is full, or the data set does not load back equal.
            The folder is unchanged then.
    """
    if ALL in recipe.languages:
        raise RecipeError(f"the language {ALL!r} (Allar) has the name of the config with all languages: leave it out")
    target = folder.resolve()
    _check_target(target)
    edits = read_corrections(corrections)
    staging = target.with_name(f".{target.name}.building")
    try:
        # Left behind by an interrupted build.
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        sets, skipped = _write_rows(run, recipe, staging, progress, edits)
        texts, manifest = texts_and_manifest(sets, recipe.publish.pretty_name)
        if report is not None:
            progress("writing the report")
            texts, manifest = texts_and_manifest(sets, recipe.publish.pretty_name, report=report(staging, manifest))
        for path, text in texts.items():
            with atomic(staging / path) as stream:
                stream.write(text)
        manifest.write(staging)
        progress("loading the data set and comparing it with the run")
        verify(staging)
        _replace(staging, target)
    except OSError as error:
        raise ShardError(
            f"cannot write {target}: {error.strerror or error}; the folder is unchanged, free some space or fix its "
            "permissions, then rerun the same command"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    rows = {tag: {name: split.rows for name, split in made.splits.items()} for tag, made in sets.items()}
    return Built(target, rows, skipped)


def _write_rows(
    run: RunFolder,
    recipe: Recipe,
    root: Path,
    progress: Callable[[str], None],
    corrections: Mapping[tuple[str, str], str],
) -> tuple[dict[str, LanguageSet], dict[str, str]]:
    """Write every language. Returns those with rows, and the reasons why others have none."""
    sets: dict[str, LanguageSet] = {}
    skipped: dict[str, str] = {}
    for tag in recipe.languages:
        shards = run.shards(CURATED, tag)
        language_set = _write_language(run, recipe, root, tag, shards, corrections) if shards else None
        if language_set is not None and language_set.rows:
            sets[tag] = language_set
            progress(f"{tag}: {counted(language_set.rows, 'row')}")
        else:
            skipped[tag] = "its curated shards are not complete" if language_set is None else "it has no curated rows"
            progress(f"{tag}: skipped, {skipped[tag]}")
    if not sets:
        reasons = "; ".join(f"{tag}: {reason}" for tag, reason in skipped.items())
        raise ShardError(
            f"{run.location} has no rows to build a data set from ({reasons}): finish the run, or relax "
            "refine.min_score and the filters"
        )
    return sets, skipped


def _write_language(
    run: RunFolder,
    recipe: Recipe,
    root: Path,
    tag: str,
    shards: list[ShardKey],
    corrections: Mapping[tuple[str, str], str],
) -> LanguageSet:
    shares = Shares.of(recipe)
    facts, selected = RowFacts(), SelectedRows()
    with split_writers(root, tag, shares.splits, recipe.publish.rows_per_file) as writers:
        for key in shards:
            for batch in run.batches(key, ROW_GROUP):
                for other in set(batch["language"].to_pylist()) - {tag}:
                    raise ShardError(f"{run.path(key)} has a record in {other!r}, expected {tag!r}: remove the shard")
                selected.add(batch)
                records = corrected(batch, corrections)
                facts.add(records)
                for split, part in parts(published(records), shares).items():
                    writers[split].add(part)
        # Empty splits are left out, as readers cannot infer the columns of a split without files.
        splits = {split: done for split, writer in writers.items() if (done := writer.finish()).rows}
    check_ids(root, tag, [file for split in splits.values() for file in split.files])
    return LanguageSet(tag, splits, facts, provenance(run, recipe, tag, selected))


def texts_and_manifest(
    sets: Mapping[str, LanguageSet], pretty_name: str, repository: str | None = None, report: bytes | None = None
) -> tuple[dict[str, bytes], Manifest]:
    """Every file beside the rows, and the manifest.

    Args:
        sets: Tag to language, the default first. Just written, or read from published manifests.
        pretty_name: Title.
        repository: Id on the Hub that the card's examples load. None for the folder of the card.
        report: The page of the report, if there is one.
    """
    facts = DatasetFacts.of(sets, pretty_name)
    pages = {} if report is None else {REPORT: report}
    card = readme(facts, repository, REPORT if pages else "")
    texts = {README: card.encode(), PLOT: plot(sets).encode(), CROISSANT: croissant(facts).encode(), **pages}
    return texts, Manifest.of(sets, pretty_name, texts)


def _check_target(target: Path) -> None:
    """A folder is replaced only if ``build`` wrote all of its files.

    Raises:
        RecipeError: It holds other files, or ``datasets`` cannot load from a folder of this name.
    """
    if unreadable := sorted(set("*?[]") & set(str(target))):
        raise RecipeError(
            f"{target} has {unreadable[0]!r} in its name, which datasets reads as a pattern: choose another folder"
        )
    if not target.exists():
        aside = _aside(target)
        if aside.exists():
            # A build was interrupted between the two renames of ``_replace``.
            aside.rename(target)
        return
    if not target.is_dir():
        raise RecipeError(f"{target} is a file, expected a folder for the data set")
    present = {path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir()}
    built = _built_files(target) if MANIFEST in present else set()
    # The Hub client keeps the state of uploads in .cache.
    if foreign := sorted(path for path in present - built if not path.startswith(".cache/")):
        raise RecipeError(
            f"{target} has {len(foreign)} files that `build` did not write and that would be lost, such as "
            f"{foreign[0]!r}: choose another folder, or move them away"
        )


def _built_files(target: Path) -> set[str]:
    """Paths of the files that an earlier build wrote."""
    try:
        return {MANIFEST, *Manifest.parse((target / MANIFEST).read_bytes()).files}
    except ValueError as error:
        raise RecipeError(
            f"{target} may hold files that would be lost, as its {MANIFEST} is {error}: remove the folder, or choose "
            "another one"
        ) from error


def _replace(staging: Path, target: Path) -> None:
    """Move the new folder to the name of the old one, which is removed last."""
    aside = _aside(target)
    shutil.rmtree(aside, ignore_errors=True)
    if target.exists():
        target.rename(aside)
    try:
        staging.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")
