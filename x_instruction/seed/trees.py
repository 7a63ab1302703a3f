"""Seeds from conversation trees such as OASST: the first prompt and its reply of rank 0, as Humpback's seeds.

Two layouts are read: one tree per row, with ``prompt`` and its ``replies``, and one message per row, with
``parent_id``. Each tree becomes a pair or is dropped; that it has later turns is counted with ``later_turn``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from x_instruction.corpus.cells import text_of
from x_instruction.corpus.readers import suffix
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError
from x_instruction.records import Dropped, dropped
from x_instruction.seed.files import read_rows
from x_instruction.seed.pairs import Pair

COLUMNS = (
    *("text", "message_id", "parent_id", "role", "lang", "rank", "deleted", "review_result"),
    *("message_tree_id", "prompt", "tree_state"),
)


def read_trees(
    path: Path, limit: int, language: str, instruction_language: str = "en", license: str = "unknown"
) -> Iterator[Pair | Dropped]:
    """Pairs of a file of trees, in the order of the prompts.

    With one message per row, the prompts and the replies of rank 0 are held in memory.

    Args:
        path: the file.
        limit: bytes of the longest row that is read.
        language: language tag of replies; trees with another are dropped.
        instruction_language: language tag of prompts, likewise.
        license: licence of the file.

    Raises:
        CorpusError: the file cannot be read, or holds no trees.
    """
    if suffix(path.name).startswith((".csv", ".tsv")):
        # All values of CSV are strings: a missing parent is not null there, and a rank is not a number.
        raise CorpusError(f"{path} cannot hold conversation trees; expected .jsonl, .json or .parquet")
    roots: dict[str, Mapping[str, Any]] = {}
    replies: dict[str, list[Mapping[str, Any]]] = {}
    parents: set[str] = set()
    known = False
    for position, row in read_rows(path, COLUMNS, limit):
        id = f"{path.name}:{position}"
        if isinstance(row, RowError):
            yield dropped(id, row.reason, row.detail, row.text)
        elif isinstance(row.get("prompt"), Mapping):
            root = row["prompt"]
            answers = [reply for reply in root.get("replies") or () if isinstance(reply, Mapping)]
            yield from _pair(root, answers, path.name, language, instruction_language, license, id, _continued)
        elif "parent_id" in row and "text" in row:
            parents.add(text_of(row["parent_id"]))
            if row["parent_id"] is None:
                roots[text_of(row.get("message_id")) or id] = row
            elif row.get("rank") == 0:
                replies.setdefault(text_of(row["parent_id"]), []).append(row)
        elif not known:
            available = ", ".join(map(repr, row)) or "none"
            raise CorpusError(
                f"{path}, row {position}: expected a tree (columns prompt with replies, or text and parent_id), "
                f"got columns {available}"
            )
        else:
            yield dropped(id, "wrong_shape", "no tree and no message", text_of(row))
        known = True
    for id, root in roots.items():
        yield from _pair(
            root,
            replies.get(id, []),
            path.name,
            language,
            instruction_language,
            license,
            id,
            lambda reply: text_of(reply.get("message_id")) in parents,
        )


def _continued(reply: Mapping[str, Any]) -> bool:
    """Whether other messages reply to a reply, in a tree per row."""
    return bool(reply.get("replies"))


def _pair(
    root: Mapping[str, Any],
    replies: list[Mapping[str, Any]],
    source: str,
    language: str,
    instruction_language: str,
    license: str,
    fallback: str,
    continued: Callable[[Mapping[str, Any]], bool],
) -> Iterator[Pair | Dropped]:
    """The pair of a tree, or why there is none, and whether later turns are left out."""
    id, text = text_of(root.get("message_id")) or fallback, text_of(root.get("text"))
    if _gone(root):
        yield dropped(id, "deleted", "the prompt was deleted or rejected by reviewers", text)
        return
    first = [reply for reply in replies if reply.get("rank") == 0 and not _gone(reply)]
    if not first:
        yield dropped(id, "no_answer", f"no reply of rank 0 among {len(replies)}", text)
        return
    for name, message, expected in (("prompt", root, instruction_language), ("reply", first[0], language)):
        if not _is(text_of(message.get("lang")), expected):
            yield dropped(id, "other_language", f"the {name} is {message.get('lang')}, expected {expected}", text)
            return
    yield Pair(
        id=id,
        instruction=text,
        output=text_of(first[0].get("text")),
        language=language,
        instruction_language=instruction_language,
        source=source,
        license=license,
    )
    if continued(first[0]):
        yield dropped(f"{id}#2", "later_turn", "later turns depend on the turns before them", text)


def _gone(message: Mapping[str, Any]) -> bool:
    # review_result is None if the message was not reviewed.
    return bool(message.get("deleted")) or message.get("review_result") is False


def _is(lang: str, expected: str) -> bool:
    """True if the tag of a message, such as ``pt-BR``, is of a language. A message without a tag matches any."""
    return not lang or lang == expected or lang.split("-")[0] == expected.split("-")[0]
