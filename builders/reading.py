"""``load``: one call for a data set on the Hub, a built folder and a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from x_instruction.builders.schema import ALL
from x_instruction.builders.sources import Source
from x_instruction.errors import RecipeError, ShardError, XInstructionError
from x_instruction.languages import language as find_language

ENVIRONMENT = "X_INSTRUCTION_DATASET"


def load(
    language: str,
    source: str | Path | None = None,
    *,
    split: str | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    revision: str | None = None,
    **kwargs: Any,
) -> Any:
    """Load one language.

    Args:
        language: a tag (``sw``), a code (``swh_Latn``, ``swa``), an English name (``Swahili``), or ``all``.
        source: id of a data set on the Hub, a folder that was built, or the folder of a run. When not given, the
            environment variable ``X_INSTRUCTION_DATASET`` names it.
        split: ``train``, ``validation``, ``test`` or a slice such as ``train[:100]``; all of them when not set.
        streaming: read rows as they are asked for, and prepare nothing.
        num_proc: processes that prepare rows.
        revision: for a data set on the Hub: branch, tag or commit.
        kwargs: handed to ``datasets.load_dataset``; for a run also ``validation``, ``test`` and ``seed``.

    Returns:
        What ``datasets.load_dataset`` returns: a data set, or a dictionary of them by split.

    Raises:
        UnknownLanguage: no standard knows the language.
        RecipeError: no source, a folder that is neither, or a language that it does not hold; it lists those held.
        ShardError: a file is damaged. While streaming it shows when its rows are reached.
    """
    place = source if source is not None else os.environ.get(ENVIRONMENT)
    if not place:
        raise RecipeError(
            f"no source for {language!r}: name a data set on the Hub, a built folder or a run, or set {ENVIRONMENT}"
        )
    options = {"split": split, "streaming": streaming, "num_proc": num_proc, **kwargs}
    folder = Path(place).expanduser()
    # An id on the Hub is a name or two with a slash; what is written as a path is one, even where nothing is there.
    if not folder.exists() and not _written_as_path(str(place)):
        return _from_hub(language, str(place), revision=revision, **options)
    if revision is not None:
        raise RecipeError(f"revision {revision!r} was given for the folder {place}: only the Hub has revisions")
    local = Source.at(folder)
    tag = local.tag(language)
    return _from_built(local, tag, options) if local.built else _from_run(local, tag, **options)


def _written_as_path(place: str) -> bool:
    return place.startswith(("/", "./", "../", "~", ".\\", "\\")) or place.count("/") > 1 or Path(place).is_absolute()


def _from_hub(asked: str, repository: str, **options: Any) -> Any:
    import datasets

    tag = asked if asked == ALL else find_language(asked).tag
    try:
        return datasets.load_dataset(repository, tag, **options)
    except ValueError as error:
        # The one message of datasets that lists the configs that a data set has.
        if not str(error).startswith("BuilderConfig"):
            raise
        raise RecipeError(f"the data set {repository} does not hold {asked!r} ({tag}): {error}") from error


def _from_built(source: Source, tag: str, options: dict[str, Any]) -> Any:
    import datasets
    import pyarrow as pa
    from datasets.exceptions import DatasetsError

    if not options["streaming"]:
        source.check(tag)
    try:
        return datasets.load_dataset(str(source.folder), tag, **options)
    except (DatasetsError, pa.ArrowInvalid) as error:
        raise _damage(source, tag, error) from error


def _from_run(
    source: Source,
    tag: str,
    *,
    split: str | None,
    streaming: bool,
    num_proc: int | None,
    cache_dir: str | Path | None = None,
    download_mode: Any = None,
    keep_in_memory: bool = False,
    **config: Any,
) -> Any:
    from datasets.exceptions import DatasetsError

    from x_instruction.builders.x_instruction import XInstruction

    builder = XInstruction(str(cache_dir) if cache_dir else None, config_name=tag, source=source.folder, **config)
    if streaming:
        return builder.as_streaming_dataset(split=split)
    try:
        builder.download_and_prepare(num_proc=num_proc, download_mode=download_mode)
    except DatasetsError as error:
        raise _damage(source, tag, error) from error
    return builder.as_dataset(split=split, in_memory=keep_in_memory)


def _damage(source: Source, tag: str, error: BaseException) -> XInstructionError:
    """What lies behind an error of ``datasets``, which says only that something went wrong."""
    seen: BaseException = error
    while seen.__cause__ is not None and not isinstance(seen, XInstructionError):
        seen = seen.__cause__
    if isinstance(seen, XInstructionError):
        return seen
    return ShardError(f"cannot load {tag!r} from {source.folder}: {seen}; build the data set or run the shard again")
