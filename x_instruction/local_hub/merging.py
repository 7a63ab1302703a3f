"""Joining a pull request with the main branch, file by file."""

from __future__ import annotations

from dataclasses import dataclass

from x_instruction.local_hub.objects import Commit
from x_instruction.local_hub.refs import MAIN
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.repository import Files, Repository


@dataclass(frozen=True, slots=True)
class Merge:
    """What joining would give: the files, and the paths that both sides changed in different ways."""

    files: Files
    conflicts: list[str]


def three_way(base: Files, ours: Files, theirs: Files) -> Merge:
    """Take each file from the side that changed it."""
    files, conflicts = dict(ours), []
    for path in sorted(theirs.keys() | base.keys()):
        was, here, there = base.get(path), ours.get(path), theirs.get(path)
        if there in (was, here):
            continue
        if here != was:
            conflicts.append(path)
        elif there is None:
            del files[path]
        else:
            files[path] = there
    return Merge(files, conflicts)


def attempt(repository: Repository, ref: str, base: str) -> tuple[Commit, Commit, Merge]:
    """The main branch, the pull request, and what joining them would give.

    Args:
        repository: where.
        ref: the pull request's ref.
        base: the commit that it began at, used when the histories have nothing in common any more.
    """
    main, pull = repository.find(MAIN), repository.find(ref)
    common = repository.common(main, pull) or repository.find(base)
    return main, pull, three_way(repository.files(common), repository.files(main), repository.files(pull))


def merge(repository: Repository, ref: str, base: str, author: str, message: str) -> str:
    """Join a pull request with the main branch.

    Raises:
        Refused: 409, both sides changed the same files.
    """
    with repository.lock:
        main, pull, joined = attempt(repository, ref, base)
        if joined.conflicts:
            raise Refused(409, f"Merge conflict in {', '.join(joined.conflicts[:10])}: resolve it on {ref}, then merge")
        return repository.write(MAIN, joined.files, (main.oid, pull.oid), author, message)
