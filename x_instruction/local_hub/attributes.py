"""What .gitattributes and .gitignore say of a path: which files are large ones, and which stay out."""

from __future__ import annotations

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
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for line in text.splitlines():
            pattern, *words = line.split() or ["#"]
            if not pattern.startswith(("#", '"')):
                filters = [word for word in words if word.lstrip("-!").split("=")[0] == "filter"]
                if filters:
                    self._rules.append((_pattern(pattern), filters[-1] == "filter=lfs"))

    def large(self, path: str) -> bool:
        """Whether the file at this path is a large one by its name."""
        return next((large for pattern, large in reversed(self._rules) if pattern.fullmatch(path)), False)

    def with_paths(self, paths: list[str]) -> str:
        """The text with a rule for each of these paths that has none yet, so that git-lfs finds them."""
        lines = [f"{_quoted(path)} {_RULE}\n" for path in paths if not self.large(path)]
        return self._text + ("\n" if lines and self._text and not self._text.endswith("\n") else "") + "".join(lines)


class Ignored:
    """The rules of one .gitignore."""

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[re.Pattern[str], bool, bool]] = []
        for raw in text.splitlines():
            line = raw.rstrip()
            if not line or line.startswith("#"):
                continue
            ignore, bare = not line.startswith("!"), line.removeprefix("!")
            self._rules.append((_pattern(bare.rstrip("/")), ignore, bare.endswith("/")))

    def __contains__(self, path: str) -> bool:
        parts = path.split("/")
        # A file stays out when a folder above it does.
        for depth in range(1, len(parts) + 1):
            part, is_folder = "/".join(parts[:depth]), depth < len(parts)
            verdicts = [ig for rule, ig, only in self._rules if rule.fullmatch(part) and (is_folder or not only)]
            if verdicts and verdicts[-1]:
                return True
        return False


def _pattern(glob: str) -> re.Pattern[str]:
    """A pattern of git as a regular expression over whole paths; without a slash inside, it holds in any folder."""
    anchored = "/" in glob
    glob = glob.lstrip("/")
    out, at = "", 0
    while at < len(glob):
        if glob.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
        elif glob.startswith("**", at):
            out, at = out + ".*", at + 2
        elif glob.startswith("[[:space:]]", at):
            out, at = out + r"\s", at + 11
        else:
            out, at = out + {"*": "[^/]*", "?": "[^/]"}.get(glob[at], re.escape(glob[at])), at + 1
    return re.compile(out if anchored else f"(?:.*/)?{out}")


def _quoted(path: str) -> str:
    """A path as a pattern; a leading slash keeps it from holding in other folders."""
    return "/" + re.sub(r"\s", "[[:space:]]", path)
