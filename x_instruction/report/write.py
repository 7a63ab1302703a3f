"""Writing a report: of what the user names, or of a data set while ``build`` writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from x_instruction.builders.layout import REPORT, MakeReport
from x_instruction.builders.manifest import MANIFEST, Manifest
from x_instruction.builders.reading import is_hub_id
from x_instruction.config.recipe import Recipe
from x_instruction.errors import RecipeError
from x_instruction.evaluation.record import read_records
from x_instruction.pages.page import GENERATOR
from x_instruction.report.page import report
from x_instruction.report.source import Subject, of_built, open_subject
from x_instruction.storage.atomic import atomic
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.store import is_store


def write_report(
    source: str | Path, out: Path | None = None, compare: str | Path | None = None, results: Sequence[Path] = ()
) -> Path:
    """Write the page, and return its path. An older page is replaced, and no other file.

    Args:
        source: Folder of a run or of a built data set, or id of a data set on the Hub.
        out: The page.
        compare: A second set.
        results: Records of evaluations, or folders of them.

    Raises:
        RecipeError: What is named is none of these, or another file is in the way.
    """
    subject = open_subject(source)
    target = out or _default(source, subject)
    _check(target)
    other = open_subject(compare) if compare is not None else None
    records = [record for path in results for record in read_records(path)]
    page = report(subject, other, records, target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic(target) as stream:
        stream.write(page)
    return target


def of_build(run: RunFolder, recipe: Recipe) -> MakeReport:
    """What ``build`` makes the report of its data set with."""

    def make(folder: Path, manifest: Manifest) -> bytes:
        return report(of_built(run, recipe, folder, manifest), root=folder)

    return make


def _default(source: str | Path, subject: Subject) -> Path:
    if is_hub_id(source) or is_store(source):
        return Path(f"{str(source).rpartition('/')[2]}-{REPORT}")
    folder = Path(source)
    # A data set has exactly the files that its manifest lists.
    return folder / REPORT if subject.kind == "run" else folder.parent / f"{folder.resolve().name}-{REPORT}"


def _check(target: Path) -> None:
    """Refuse to replace anything but a page of this package.

    Raises:
        RecipeError: Another file is there, or the page belongs to a built data set.
    """
    if target.is_dir():
        raise RecipeError(f"--out {target} is a folder: name a file, such as {target / REPORT}")
    if (target.parent / MANIFEST).is_file():
        raise RecipeError(
            f"{target.parent} is a built data set, which has only the files that `build` wrote: choose another --out"
        )
    if target.exists() and GENERATOR.encode() not in target.read_bytes()[:4_096]:
        raise RecipeError(f"{target} is not a report: choose another --out, or move it away")
