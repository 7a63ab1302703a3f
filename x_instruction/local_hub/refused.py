"""What the server answers when it does not do what was asked."""

from __future__ import annotations

from collections.abc import Mapping

from x_instruction.errors import XInstructionError


class Refused(XInstructionError):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: one line for the person behind the client.
        code: the Hub's name of the error, by which clients choose their exception.
        headers: further headers of the answer.
        details: further keys of the answer's JSON.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.details = dict(details or {})


def revision_not_found(revision: str) -> Refused:
    """The repository has no such branch, tag or commit."""
    return Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(path: str, commit: str | None = None) -> Refused:
    """The revision has no such file or folder."""
    headers = {"X-Repo-Commit": commit} if commit else {}
    return Refused(404, f"{path} does not exist", "EntryNotFound", headers)
