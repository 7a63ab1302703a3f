"""Names that come from outside: repositories, files in them, branches and tags. What is not plainly good is refused."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from x_instruction.local_hub.refused import Refused

# Type to the word used in URLs.
PLURALS = {"model": "models", "dataset": "datasets", "space": "spaces"}
TYPES = {plural: kind for kind, plural in PLURALS.items()}
# Words that addresses begin with, or may begin with one day.
RESERVED = {
    "api",
    "datasets",
    "models",
    "spaces",
    "collections",
    "kernels",
    "buckets",
    "jobs",
    "xet",
    "local-hub.css",
    "favicon.ico",
}
MAX_PATH = 1024
MAX_PART = 255

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_OID = re.compile(r"[0-9a-f]{40}")
# Characters that file systems drop when they compare names, so that ".g\u200cit" would be ".git" there.
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_GIT = re.compile(r"\.git|git~[0-9]+|\.gitmodules|gitmod~[0-9]+")
_REF_BAD = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[/-]|[/.]$|^@$")


@dataclass(frozen=True, slots=True)
class RepoId:
    """Type, namespace and name of a repository."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def plural(self) -> str:
        """The word for the type in the API's addresses."""
        return PLURALS[self.kind]

    @property
    def path(self) -> str:
        """The address of the repository's page, without the leading slash."""
        return str(self) if self.kind == "model" else f"{self.plural}/{self}"


def is_name(text: str) -> bool:
    """Whether this may be a namespace or the name of a repository."""
    return bool(_NAME.fullmatch(text)) and "--" not in text and ".." not in text and not text.endswith(".git")


def repo_id(kind: str, namespace: str, name: str) -> RepoId:
    """A repository's id.

    Raises:
        Refused: 400, not a name that the Hub takes.
    """
    if kind not in PLURALS:
        raise Refused(400, f"{kind!r} is no type of repository: one of {', '.join(PLURALS)}")
    check_name(namespace, name)
    return RepoId(kind, namespace, name)


def check_name(namespace: str, name: str) -> None:
    """Refuse a namespace and a name that the Hub does not take.

    Raises:
        Refused: 400.
    """
    if namespace.lower() in RESERVED:
        raise Refused(400, f"{namespace} is a word of this server's own addresses: take another namespace")
    if not is_name(namespace) or not is_name(name):
        raise Refused(
            400,
            f"{namespace}/{name} is not a valid name: letters, digits, '-', '_' and '.', at most 96, "
            "no '--' or '..', neither beginning nor ending with '-' or '.', no '.git' at the end",
        )


def is_oid(text: str) -> bool:
    """Whether this is the full id of a git object."""
    return bool(_OID.fullmatch(text))


def is_sha256(text: object) -> bool:
    """Whether this is a SHA-256 in lower-case hex, which names an LFS object."""
    return isinstance(text, str) and bool(re.fullmatch(r"[0-9a-f]{64}", text))


def file_path(path: object, status: int = 400) -> str:
    """A file's path within a repository, as it came.

    Args:
        path: what came.
        status: HTTP status of a refusal.

    Raises:
        Refused: absolute, leaving the repository, or not fit for a git tree.
    """
    if not isinstance(path, str) or not path or len(path) > MAX_PATH:
        raise Refused(status, f"a path has 1 to {MAX_PATH} characters")
    for part in path.split("/"):
        if not _is_part(part):
            raise Refused(status, f"the path {path!r} cannot be in a repository")
    return path


def _is_part(part: str) -> bool:
    if part in ("", ".", "..") or "\\" in part or any(unicodedata.category(c) in ("Cc", "Cs") for c in part):
        return False
    bare = _IGNORED.sub("", part).lower().split(":")[0].rstrip(". ")
    return len(part.encode()) <= MAX_PART and not _GIT.fullmatch(bare)


def ref_part(text: object) -> str:
    """The name of a branch or tag, as git allows it.

    Raises:
        Refused: 400.
    """
    if not isinstance(text, str) or not 0 < len(text) <= MAX_PART or _REF_BAD.search(text):
        raise Refused(400, f"{text!r} cannot be the name of a branch or tag")
    if any(part.startswith(".") or part.endswith(".lock") for part in text.split("/")) or is_oid(text):
        raise Refused(400, f"{text!r} cannot be the name of a branch or tag")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text) or text == "HEAD" or text.startswith("refs/"):
        raise Refused(400, f"{text!r} cannot be the name of a branch or tag")
    return text
