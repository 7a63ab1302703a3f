"""The manifest of a built folder: what every file and every config must hold, to compare with what is read back."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from x_instruction.builders.schema import VERSION
from x_instruction.errors import ShardError
from x_instruction.shards import atomic

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one split of one config.

    Args:
        rows: how many.
        content: digest of all of them in order (``schema.Content``).
    """

    rows: int
    content: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that a built folder must hold.

    Args:
        default: the default config.
        configs: config to split to its rows.
        files: path to SHA-256 of every file but the manifest.
        version: version of the layout.
    """

    default: str
    configs: dict[str, dict[str, Rows]]
    files: dict[str, str]
    version: str = VERSION

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        text = json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=True)
        with atomic(folder / MANIFEST) as stream:
            stream.write(f"{text}\n".encode())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a built folder.

        Raises:
            ShardError: it is missing or damaged.
        """
        path = folder / MANIFEST
        try:
            loaded = json.loads(path.read_text("utf-8"))
            configs = {
                str(name): {str(split): Rows(**rows) for split, rows in splits.items()}
                for name, splits in loaded["configs"].items()
            }
            return cls(loaded["default"], configs, dict(loaded["files"]), loaded["version"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ShardError(f"cannot read {path}: {error}; build the data set again") from error
