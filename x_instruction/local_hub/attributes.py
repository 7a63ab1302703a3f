"""What .gitattributes and .gitignore say of a path: which files are large ones, and which stay out."""

from __future__ import annotations

import fnmatch
import re

from x_instruction.local_hub.refused import Refused

NAME = ".gitattributes"
_RULE = "filter=lfs diff=lfs merge=lfs -text"
# Kinds of files that are binary as a rule; others are large files by their size or their first bytes.
_ENDINGS = (
    "7z arrow avro bin bz2 ckpt feather flac ftz gguf gif gz h5 jpeg jpg joblib lz4 mds mlmodel model mp3 mp4 msgpack "
    "npy npz ogg onnx orc ot parquet pb pdf pickle pkl png pt pth rar safetensors sqlite tar tflite tgz tiff wasm wav "
    "webm webp xz zip zst"
)
_MAX_LINE = 2000
_SPACE = "[[:space:]]"
_SPACES = f"[{''.join(filter(str.isspace, map(chr, range(0x3001))))}]"


def initial() -> str:
    """The .gitattributes that a new repository begins with."""
    return "".join(f"*.{ending} {_RULE}\n" for ending in _ENDINGS.split())


def check(data: bytes) -> None:
    """See to it that git itself would take this .gitattributes.

    Raises:
        Refused: 400, a line is too long.
    """
    if any(len(line) > _MAX_LINE for line in data.split(b"\n")):
        raise Refused(400, f"a line of {NAME} has at most {_MAX_LINE} bytes")


class Attributes:
    """The rules of one .gitattributes for large files."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._rules: list[tuple[_Pattern, bool]] = []
        for line in text.splitlines():
            pattern, *words = line.split() or ["#"]
            if not pattern.startswith(("#", '"')):
                filters = [word for word in words if word.lstrip("-!").split("=")[0] == "filter"]
                if filters:
                    self._rules.append((_Pattern(pattern), filters[-1] == "filter=lfs"))

    def large(self, path: str) -> bool:
        """Whether the file at this path is a large one by its name."""
        return next((large for pattern, large in reversed(self._rules) if pattern.matches(path)), False)

    def with_paths(self, paths: list[str]) -> str:
        """The text with a rule for each of these paths that has none yet, so that git-lfs finds them."""
        lines = [f"{_quoted(path)} {_RULE}\n" for path in paths if not self.large(path)]
        return self._text + ("\n" if lines and self._text and not self._text.endswith("\n") else "") + "".join(lines)


class Ignored:
    """The rules of one .gitignore."""

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[_Pattern, bool, bool]] = []
        for raw in text.splitlines():
            line = raw.rstrip()
            if not line or line.startswith("#"):
                continue
            ignore, bare = not line.startswith("!"), line.removeprefix("!")
            self._rules.append((_Pattern(bare.rstrip("/")), ignore, bare.endswith("/")))

    def __contains__(self, path: str) -> bool:
        parts = path.split("/")
        # A file stays out when a folder above it does.
        for depth in range(1, len(parts) + 1):
            part, is_folder = "/".join(parts[:depth]), depth < len(parts)
            verdicts = [ig for rule, ig, only in self._rules if rule.matches(part) and (is_folder or not only)]
            if verdicts and verdicts[-1]:
                return True
        return False


class _Pattern:
    """A pattern of git for whole paths. Without a slash inside, it holds in any folder.

    Each part between slashes is an expression of its own without backtracking, so that a hostile pattern costs no more
    than its length times that of the path.
    """

    def __init__(self, glob: str) -> None:
        parts = glob.lstrip("/").split("/")
        if "/" not in glob:
            parts = ["**", *parts]
        self._parts = [None if part == "**" else _part(part) for part in parts]

    def matches(self, path: str) -> bool:
        """Whether the pattern holds for a path."""
        # Numbers of parts that can match the names so far.
        reached = self._skip({0})
        for name in path.split("/"):
            after: set[int] = set()
            for at in reached - {len(self._parts)}:
                expression = self._parts[at]
                if expression is None:
                    # It may match further names too, and at the end of the pattern this one may be the last.
                    after |= {at, at + 1} if at == len(self._parts) - 1 else {at}
                elif expression.match(name):
                    after.add(at + 1)
            reached = self._skip(after)
        return len(self._parts) in reached

    def _skip(self, reached: set[int]) -> set[int]:
        """What is reached if ``**`` matches no name. At the end of a pattern it matches at least one."""
        found = set(reached)
        for at in range(len(self._parts) - 1):
            if at in found and self._parts[at] is None:
                found.add(at + 1)
        return found


def _part(glob: str) -> re.Pattern[str]:
    """A part of a pattern, without slashes. ``fnmatch`` translates stars to groups that are not tried again."""
    # Python's classes do not have the names of POSIX. A space of any kind is the only one that git-lfs writes.
    return re.compile(fnmatch.translate(glob.replace(_SPACE, _SPACES)))


def _quoted(path: str) -> str:
    """A path as a pattern; a leading slash keeps it from holding in other folders."""
    return "/" + re.sub(r"\s", _SPACE, path)
