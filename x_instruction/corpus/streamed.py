"""Rows of a data set on the Hub, or of a local folder with its layout, streamed with ``datasets``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from x_instruction.corpus.rows import Row
from x_instruction.errors import CorpusError

# What Arrow says about two columns of one name.
_TWIN = re.compile(r"Multiple matches for FieldRef\.Name\((.*?)\)")


def stream(dataset: str, config: str | None, split: str, revision: str) -> Iterator[Row]:
    """Rows of one split, without downloading all of it.

    Args:
        dataset: a Hub id or a local folder.
        config: name of the config; None if there is only one.
        split: name of the split.
        revision: branch, tag or commit; ignored for a local folder.

    Raises:
        CorpusError: no such data set, config or split, no access, no connection, or a damaged file.
    """
    import datasets

    with _as_corpus_error(f"data set {dataset!r}, config {config!r}, split {split!r}, revision {revision!r}"):
        table = datasets.load_dataset(dataset, config, split=split, revision=revision, streaming=True)
        for position, row in enumerate(table, start=1):
            yield position, dict(row)


def size(dataset: str, config: str | None, split: str, revision: str) -> int | None:
    """Number of rows of one split according to the card of the data set, or None.

    Raises:
        CorpusError: no such data set or config, no access or no connection.
    """
    import datasets

    with _as_corpus_error(f"data set {dataset!r}, config {config!r}, revision {revision!r}"):
        splits = datasets.load_dataset_builder(dataset, config, revision=revision).info.splits
    rows = splits[split].num_examples if splits and split in splits else None
    return int(rows) if rows else None


def configs(dataset: str) -> list[str]:
    """Names of the configs of a data set.

    Raises:
        CorpusError: no such data set, no access or no connection.
    """
    import datasets

    with _as_corpus_error(f"data set {dataset!r}"):
        return list(datasets.get_dataset_config_names(dataset))


def splits(dataset: str, config: str) -> list[str]:
    """Names of the splits of a config.

    Raises:
        CorpusError: no such data set or config, no access or no connection.
    """
    import datasets

    with _as_corpus_error(f"data set {dataset!r}, config {config!r}"):
        return list(datasets.get_dataset_split_names(dataset, config))


@contextlib.contextmanager
def _as_corpus_error(where: str) -> Iterator[None]:
    """Raise errors of the Hub and of its files as ``CorpusError``."""
    import datasets
    import huggingface_hub.errors
    import pyarrow as pa

    try:
        yield
    except huggingface_hub.errors.GatedRepoError as error:
        raise CorpusError(f"{where} is gated: accept its terms on the Hub and log in with `hf auth login`") from error
    except (datasets.exceptions.DatasetNotFoundError, huggingface_hub.errors.RepositoryNotFoundError) as error:
        raise CorpusError(f"{where}: {error}; check the name, and log in if it is private") from error
    except (
        datasets.exceptions.DatasetsError,
        OSError,  # includes errors of the Hub and of the connection
        EOFError,
        ValueError,
        RuntimeError,
        pa.ArrowException,
    ) as error:
        if twin := _TWIN.match(str(error)):
            raise CorpusError(f"{where}: two columns are called {twin[1]!r}; rename one of them") from error
        # Some of these errors list the columns of a file on further lines.
        raise CorpusError(f"cannot read {where}: {' '.join(str(error).split())}") from error


def revision(dataset: str, name: str) -> str:
    """The commit that a branch or tag of a data set on the Hub refers to now.

    Raises:
        CorpusError: the Hub has no such revision, or cannot be reached.
    """
    import huggingface_hub

    try:
        sha = huggingface_hub.HfApi().dataset_info(dataset, revision=name).sha
    except (huggingface_hub.errors.HfHubHTTPError, OSError, ValueError) as error:
        raise CorpusError(f"cannot look up data set {dataset!r}, revision {name!r}: {error}") from error
    return sha or name
