"""Where a run is: a folder, or a prefix of an object store."""

from __future__ import annotations

import re
from pathlib import Path

from x_instruction.errors import ShardError
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.store import PROTOCOLS, is_store


def open_run(location: str | Path) -> RunFolder:
    """Open the run at a location. Nothing is written.

    Args:
        location: a folder, as a path or ``file://`` URL, or a prefix of an object store such as
            ``s3://bucket/prefix``; what ``RunFolder.location`` of another process says.

    Raises:
        ShardError: it holds a run of another layout, or the store cannot be read.
        MissingExtra: the package for the store is not installed.
    """
    if isinstance(location, str) and is_store(location):
        from x_instruction.storage.store_run import StoreRun

        return StoreRun(location)
    text = str(location).removeprefix("file://")
    if found := re.match(rf"({'|'.join(PROTOCOLS)}):/+", text):
        # A path has lost a slash of a URL.
        raise ShardError(
            f"{text} is a URL of a store read as a path: `run`, `preview`, `plan`, `status`, `cancel`, `show`, `build` "
            f"and `report` take {found[1]}://{text[found.end() :]}, and other commands a folder"
        )
    return RunFolder(Path(text))
