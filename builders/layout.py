"""A run's curated shards to the folder that the Hub serves: Parquet per language and split, README, manifest.

    <folder>/README.md                                    metadata and card
    <folder>/croissant.json                               the same for machines
    <folder>/manifest.json                                digest of every file and of every config's rows, and what the
                                                          card tells of each language
    <folder>/data/<tag>/<split>-00000-of-00002.parquet    rows

The folder is made beside its place, loaded back and compared, and only then moved there: a folder that exists under
its name is whole. Equal shards and reports give equal bytes: of time it holds but the seconds that the stages took.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from x_instruction.builders.files import check_ids, split_writers
from x_instruction.builders.manifest import MANIFEST, Manifest
from x_instruction.builders.readback import verify
from x_instruction.builders.schema import ALL, published
from x_instruction.builders.splits import Shares, split_of
from x_instruction.cards.croissant import CROISSANT, croissant
from x_instruction.cards.dataset import readme
from x_instruction.cards.dataset_facts import DatasetFacts
from x_instruction.cards.facts import LanguageSet, RowFacts
from x_instruction.cards.run_figures import provenance
from x_instruction.config.recipe import Recipe
from x_instruction.errors import RecipeError, ShardError
from x_instruction.records import Curated
from x_instruction.storage.atomic import atomic
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, ShardKey

__all__ = ["README", "Built", "build", "released", "verify"]

README = "README.md"


@dataclass(frozen=True, slots=True)
class Built:
    """What ``build`` made.

    Args:
        folder: where it stands.
        rows: tag to split to number of rows.
        left_out: tag to the reason why the language is not in the set.
    """

    folder: Path
    rows: dict[str, dict[str, int]]
    left_out: dict[str, str]


def build(run: RunFolder, recipe: Recipe, folder: Path, progress: Callable[[str], None] = lambda line: None) -> Built:
    """Write the data set of a run, check it, and put it in place of an older one.

    Args:
        run: its curated shards are the rows.
        recipe: languages (the first is the default config), splits and sizes.
        folder: where the data set is to stand; its parent holds the unfinished one meanwhile.
        progress: is told a line per language and step.

    Raises:
        RecipeError: a language cannot be a config, or the folder holds something else.
        ShardError: nothing to publish, a damaged shard, a full disk, or what was written does not load back equal.
            What stood in the folder before still does.
    """
    if ALL in recipe.languages:
        raise RecipeError(f"language {ALL!r} (Allar) has the name of the config of all languages: leave it out")
    target = folder.resolve()
    _check_target(target)
    staging = target.with_name(f".{target.name}.building")
    try:
        # Left by a build that was killed.
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        sets, left_out = _write_rows(run, recipe, staging, progress)
        texts, manifest = released(sets, recipe.publish.pretty_name)
        for path, text in texts.items():
            with atomic(staging / path) as stream:
                stream.write(text)
        manifest.write(staging)
        progress("loading back and comparing")
        verify(staging)
        _replace(staging, target)
    except OSError as error:
        raise ShardError(
            f"cannot write {target}: {error.strerror or error}; what stood there before is untouched, "
            "make room or permission and run the same command again"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    rows = {tag: {split: part.rows for split, part in one.splits.items()} for tag, one in sets.items()}
    return Built(target, rows, left_out)


def _write_rows(
    run: RunFolder, recipe: Recipe, root: Path, progress: Callable[[str], None]
) -> tuple[dict[str, LanguageSet], dict[str, str]]:
    """Every language's files, and why others have none."""
    sets: dict[str, LanguageSet] = {}
    left_out: dict[str, str] = {}
    for tag in recipe.languages:
        shards = run.shards(CURATED, tag)
        one = _write_language(run, recipe, root, tag, shards) if shards else None
        if one is not None and one.rows:
            sets[tag] = one
            progress(f"{tag}: {one.rows} rows")
        else:
            left_out[tag] = "its curated shards are not finished" if one is None else "no row was curated"
            progress(f"{tag}: left out, {left_out[tag]}")
    if not sets:
        reasons = "; ".join(f"{tag}: {reason}" for tag, reason in left_out.items())
        raise ShardError(
            f"nothing to publish in {run.root} ({reasons}): finish the run, or lower refine.min_score and the filters"
        )
    return sets, left_out


def _write_language(run: RunFolder, recipe: Recipe, root: Path, tag: str, shards: list[ShardKey]) -> LanguageSet:
    shares = Shares.of(recipe)
    facts = RowFacts()
    with split_writers(root, tag, shares.splits, recipe.publish.rows_per_file) as writers:
        for key in shards:
            for record in run.read(key):
                if not isinstance(record, Curated) or record.language != tag:
                    path = run.path(key)
                    raise ShardError(f"{path} holds a record of {record.language!r}, wanted {tag!r}: remove the shard")
                writers[split_of(record.document_id, shares)].add(published(record))
                facts.add(record)
        # Splits without a row are left out: readers cannot tell the columns of a config without files.
        splits = {split: done for split, writer in writers.items() if (done := writer.finish()).rows}
    check_ids(root, tag, [file for split in splits.values() for file in split.files])
    return LanguageSet(tag, splits, facts, provenance(run, recipe, tag))


def released(
    sets: Mapping[str, LanguageSet], pretty_name: str, repository: str | None = None
) -> tuple[dict[str, bytes], Manifest]:
    """Every file beside the rows, and the manifest: of languages just written, or read from published manifests.

    Args:
        sets: tag to language, the default first.
        pretty_name: title.
        repository: id on the Hub, for the card's examples; None for a folder.
    """
    facts = DatasetFacts.of(sets, pretty_name)
    texts = {README: readme(facts, repository).encode(), CROISSANT: croissant(facts).encode()}
    return texts, Manifest.of(sets, pretty_name, texts)


def _check_target(target: Path) -> None:
    """A folder is only replaced when all that it holds was built: it may be anyone's.

    Raises:
        RecipeError: it holds something else, or a data set could not be loaded from it.
    """
    if unreadable := sorted(set("*?[]") & set(str(target))):
        raise RecipeError(
            f"{target} has {unreadable[0]!r} in it, which datasets takes for a pattern: choose another folder"
        )
    if not target.exists():
        aside = _aside(target)
        if aside.exists():
            # A build was killed between the two renames of ``_replace``.
            aside.rename(target)
        return
    if not target.is_dir():
        raise RecipeError(f"{target} is a file, wanted a folder for the data set")
    present = {path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir()}
    built = _built_files(target) if MANIFEST in present else set()
    # Uploads keep their notes in .cache.
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
    """Put the new folder in the place of the old one, which is removed last."""
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
