"""``load``: one call for a data set on the Hub, a built folder, a run, or files in the original format."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from x_instruction.builders import original, views
from x_instruction.builders.original import Original
from x_instruction.builders.schema import ALL
from x_instruction.builders.sources import Source
from x_instruction.errors import RecipeError, ShardError, UnknownLanguage, XInstructionError
from x_instruction.languages import language as find_language

ENVIRONMENT = "X_INSTRUCTION_DATASET"


def load(
    language: str,
    source: str | Path | None = None,
    *,
    split: str | None = None,
    view: str | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    revision: str | None = None,
    **kwargs: Any,
) -> Any:
    """Load one language.

    Args:
        language: A tag (``sw``), a code (``swh_Latn``, ``swa``), an English name (``Swahili``), or ``all``.
        source: Id of a data set on the Hub, a built folder, the folder of a run, or a folder with files such as
            ``sw.json`` (``builders.original``). By default the environment variable ``X_INSTRUCTION_DATASET``.
        split: ``train``, ``validation``, ``test`` or a slice such as ``train[:100]``. All splits by default.
        view: ``chat``, ``prompt-completion`` or ``alpaca``: rows in the format that trainers take, with ``id``,
            ``language`` and ``score`` (``builders.views``). Every column by default.
        streaming: Read rows on demand instead of preparing them.
        num_proc: Processes that prepare rows.
        revision: Branch, tag or commit of a data set on the Hub.
        kwargs: Passed to ``datasets.load_dataset``. For a run also ``validation``, ``test`` and ``seed``.

    Returns:
        A data set of ``datasets``, or a dictionary of them by split.

    Raises:
        UnknownLanguage: No standard has the language.
        RecipeError: No source, a folder that is none of these, an unknown view, or a language that the source does
            not have. The message lists its languages.
        ShardError: A file is damaged. With streaming it is raised when its rows are reached.
    """
    if view is not None:
        views.find_view(view)
    source = source if source is not None else os.environ.get(ENVIRONMENT)
    if not source:
        raise RecipeError(
            f"no source for {language!r}: pass a data set on the Hub, a built folder, a run, or a folder with files "
            f"such as sw.json, or set {ENVIRONMENT}"
        )
    options = {"split": split, "streaming": streaming, "num_proc": num_proc, **kwargs}
    if is_hub_id(source):
        loaded = _from_hub(language, str(source), revision=revision, **options)
    else:
        if revision is not None:
            raise RecipeError(
                f"revision is {revision!r}, and {source} is a folder: only data sets on the Hub have revisions"
            )
        local = original.find_source(source)
        tag = local.tag(language)
        if isinstance(local, Source) and local.built:
            loaded = _from_built(local, tag, options)
        else:
            loaded = _from_builder(local, tag, **options)
    if view is None:
        return loaded
    mapping = {} if streaming else {"num_proc": num_proc, "keep_in_memory": kwargs.get("keep_in_memory", False)}
    return views.view(loaded, view, **mapping)


def languages(source: str | Path, revision: str | None = None) -> list[str]:
    """Sorted tags of the languages of a source.

    Raises:
        RecipeError: There is no such source, or a data set on the Hub has no config that is a language.
    """
    if not is_hub_id(source):
        return original.find_source(source).languages()
    import datasets

    with _explained(str(source)):
        configs = datasets.get_dataset_config_names(str(source), revision=revision)
    tags = []
    for config in configs:
        with contextlib.suppress(UnknownLanguage):
            if config != ALL and find_language(config).tag == config:
                tags.append(config)
    if not tags:
        with _explained(str(source)):
            tags = list(original.list_on_hub(str(source), revision))
    if not tags:
        raise RecipeError(f"{source} has no config or file that is named by a language, only {', '.join(configs)}")
    return sorted(tags)


def is_hub_id(source: str | Path) -> bool:
    """True if a source is an id on the Hub, such as ``org/name``, and not a local folder.

    A source that is written as a path is a path, even if nothing is there.
    """
    text = str(source)
    is_path = text.startswith(("/", "./", "../", "~", ".\\", "\\")) or text.count("/") > 1 or Path(text).is_absolute()
    return not is_path and not Path(text).expanduser().exists()


def _from_hub(name: str, repository: str, **options: Any) -> Any:
    import datasets

    tag = name if name == ALL else find_language(name).tag
    try:
        with _explained(repository):
            return datasets.load_dataset(repository, tag, **options)
    except ValueError as error:
        # datasets raises ValueError for other reasons, too. This one lists the configs of the data set.
        if not str(error).startswith("BuilderConfig"):
            raise
        refusal = RecipeError(f"the data set {repository} does not have {name!r} ({tag}): {error}")
        # The original release has files such as sw.json and no configs, which datasets reports as one named default.
        if "['default']" not in str(error):
            raise refusal from error
    identity = {"revision": options.pop("revision"), "token": options.pop("token", None)}
    with _explained(repository):
        files = original.list_on_hub(repository, **identity)
        requested = files if tag == ALL else {tag: files[tag]} if tag in files else {}
        if not requested:
            raise refusal
        local = original.download(repository, requested, **identity)
    return _from_builder(local, tag, **options)


@contextlib.contextmanager
def _explained(repository: str) -> Iterator[None]:
    """Turn a failure to reach a data set on the Hub into one line."""
    from datasets.exceptions import DatasetNotFoundError

    try:
        yield
    except (DatasetNotFoundError, ConnectionError) as error:
        raise RecipeError(
            f"cannot load {repository} from the Hub: {error}; it was read as the id of a data set, because there is no "
            "such folder"
        ) from error


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


def _from_builder(
    source: Source | Original,
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
    if not any(split.num_examples for split in builder.info.splits.values()):
        raise RecipeError(f"{source.folder} has no rows in {tag!r}")
    return builder.as_dataset(split=split, in_memory=keep_in_memory)


def _damage(source: Source | Original, tag: str, error: BaseException) -> XInstructionError:
    """The cause of an error of ``datasets``, which itself only says that something went wrong."""
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, XInstructionError):
        cause = cause.__cause__
    if isinstance(cause, XInstructionError):
        return cause
    return ShardError(f"cannot load {tag!r} from {source.folder}: {cause}; build the data set or run the shard again")
