"""``load``: one call for a data set on the Hub, a built folder, a run, and files of the original layout."""

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
        language: a tag (``sw``), a code (``swh_Latn``, ``swa``), an English name (``Swahili``), or ``all``.
        source: id of a data set on the Hub, a folder that was built, the folder of a run, or a folder with files such
            as ``sw.json`` (``builders.original``). When not given, the environment variable ``X_INSTRUCTION_DATASET``
            names it.
        split: ``train``, ``validation``, ``test`` or a slice such as ``train[:100]``; all of them when not set.
        view: ``chat``, ``prompt-completion`` or ``alpaca``: rows as trainers take them, with ``id``, ``language`` and
            ``score`` (``builders.views``); every column as it is when not set.
        streaming: read rows as they are asked for, and prepare nothing.
        num_proc: processes that prepare rows.
        revision: for a data set on the Hub: branch, tag or commit.
        kwargs: handed to ``datasets.load_dataset``; for a run also ``validation``, ``test`` and ``seed``.

    Returns:
        What ``datasets.load_dataset`` returns: a data set, or a dictionary of them by split.

    Raises:
        UnknownLanguage: no standard knows the language.
        RecipeError: no source, a folder that is neither, a view that there is not, or a language that the source does
            not hold; it lists those held.
        ShardError: a file is damaged. While streaming it shows when its rows are reached.
    """
    if view is not None:
        views.named(view)
    place = source if source is not None else os.environ.get(ENVIRONMENT)
    if not place:
        raise RecipeError(
            f"no source for {language!r}: name a data set on the Hub, a built folder, a run, or a folder with files "
            f"such as sw.json; or set {ENVIRONMENT}"
        )
    options = {"split": split, "streaming": streaming, "num_proc": num_proc, **kwargs}
    if on_hub(place):
        loaded = _from_hub(language, str(place), revision=revision, **options)
    else:
        if revision is not None:
            raise RecipeError(f"revision {revision!r} was given for the folder {place}: only the Hub has revisions")
        local = original.place(place)
        tag = local.tag(language)
        if isinstance(local, Source) and local.built:
            loaded = _from_built(local, tag, options)
        else:
            loaded = _from_builder(local, tag, **options)
    if view is None:
        return loaded
    shown = {} if streaming else {"num_proc": num_proc, "keep_in_memory": kwargs.get("keep_in_memory", False)}
    return views.view(loaded, view, **shown)


def languages(source: str | Path, revision: str | None = None) -> list[str]:
    """Tags of the languages that a source holds, sorted.

    Raises:
        RecipeError: there is no such source, or a data set on the Hub has no config that is a language.
    """
    if not on_hub(source):
        return original.place(source).languages()
    import datasets

    with _told(str(source)):
        configs = datasets.get_dataset_config_names(str(source), revision=revision)
    held = []
    for config in configs:
        with contextlib.suppress(UnknownLanguage):
            if config != ALL and find_language(config).tag == config:
                held.append(config)
    if not held:
        with _told(str(source)):
            held = list(original.on_hub(str(source), revision))
    if not held:
        raise RecipeError(f"no config or file of {source} is a language; its configs are {', '.join(configs)}")
    return sorted(held)


def on_hub(source: str | Path) -> bool:
    """Whether a source is an id on the Hub: a name or two with a slash, and no folder of this machine.

    What is written as a path is one, even where nothing is there.
    """
    place = str(source)
    return not Path(place).expanduser().exists() and not _written_as_path(place)


def _written_as_path(place: str) -> bool:
    return place.startswith(("/", "./", "../", "~", ".\\", "\\")) or place.count("/") > 1 or Path(place).is_absolute()


def _from_hub(asked: str, repository: str, **options: Any) -> Any:
    import datasets

    tag = asked if asked == ALL else find_language(asked).tag
    try:
        with _told(repository):
            return datasets.load_dataset(repository, tag, **options)
    except ValueError as error:
        # The one message of datasets that lists the configs that a data set has.
        if not str(error).startswith("BuilderConfig"):
            raise
        refusal = RecipeError(f"the data set {repository} does not hold {asked!r} ({tag}): {error}")
        # The original release has no configs, which datasets calls one named default, and files such as sw.json.
        if "['default']" not in str(error):
            raise refusal from error
    identity = {"revision": options.pop("revision"), "token": options.pop("token", None)}
    with _told(repository):
        files = original.on_hub(repository, **identity)
        wanted = files if tag == ALL else {tag: files[tag]} if tag in files else {}
        if not wanted:
            raise refusal
        found = original.download(repository, wanted, **identity)
    return _from_builder(found, tag, **options)


@contextlib.contextmanager
def _told(repository: str) -> Iterator[None]:
    """What keeps a client from the Hub, in one line."""
    from datasets.exceptions import DatasetNotFoundError

    try:
        yield
    except (DatasetNotFoundError, ConnectionError) as error:
        raise RecipeError(
            f"cannot load {repository} from the Hub: {error}; it was taken for the id of a data set because there is "
            "no such folder here"
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
    if not any(found.num_examples for found in builder.info.splits.values()):
        raise RecipeError(f"{source.folder} holds no row of {tag!r}")
    return builder.as_dataset(split=split, in_memory=keep_in_memory)


def _damage(source: Source | Original, tag: str, error: BaseException) -> XInstructionError:
    """What lies behind an error of ``datasets``, which says only that something went wrong."""
    seen: BaseException = error
    while seen.__cause__ is not None and not isinstance(seen, XInstructionError):
        seen = seen.__cause__
    if isinstance(seen, XInstructionError):
        return seen
    return ShardError(f"cannot load {tag!r} from {source.folder}: {seen}; build the data set or run the shard again")
