"""Where a run is: a folder, or a prefix of an object store."""

from __future__ import annotations

from pathlib import Path

from x_instruction.storage.run_folder import RunFolder


def open_run(location: str | Path) -> RunFolder:
    """Open the run at a location. Nothing is written.

    Args:
        location: a folder, as a path or ``file://`` URL; what ``RunFolder.location`` of another process says.

    Raises:
        ShardError: it holds a run of another layout.
    """
    return RunFolder(Path(str(location).removeprefix("file://")))
