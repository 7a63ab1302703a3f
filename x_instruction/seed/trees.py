"""Conversation trees as OASST has them: the first turn, its reply of rank 0 (method.md 3.1).

Two forms are read: a tree a line, with ``prompt`` and its ``replies``; and a message a row, with ``parent_id``. The
unit is the tree: each ends as a pair or as dropped, and later turns do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from x_instruction.corpus.readers import suffix
from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError
from x_instruction.records import Dropped, dropped
from x_instruction.seed.files import read_rows
from x_instruction.seed.pairs import Pair, string

COLUMNS = (
    *("text", "message_id", "parent_id", "role", "lang", "rank", "deleted", "review_result"),
    *("message_tree_id", "prompt", "tree_state"),
)


def read_trees(
    path: Path, limit: int, language: str, instruction_language: str = "en", license: str = "unknown"
) -> Iterator[Pair | Dropped]:
    """Pairs of a file of trees; of messages, in the order of the prompts.

    Of a file of messages the prompts and the replies of rank 0 are held in memory.

    Args:
        path: the file.
        limit: bytes of the longest row that is read.
        language: of replies; what is in another is dropped.
        instruction_language: of prompts, likewise.
        license: of the file.

    Raises:
        CorpusError: the file cannot be read, or holds no trees.
    """
    if suffix(path.name).startswith((".csv", ".tsv")):
        # Everything in them is text, so that a missing parent and a rank are not what they are elsewhere.
        raise CorpusError(f"{path} cannot hold conversation trees; expected .jsonl, .json or .parquet")
    roots: dict[str, Mapping[str, Any]] = {}
    replies: dict[str, list[Mapping[str, Any]]] = {}
    known = False
    for position, row in read_rows(path, COLUMNS, limit):
        id = f"{path.name}:{position}"
        if isinstance(row, RowError):
            yield dropped(id, row.reason, row.detail, row.text)
        elif isinstance(row.get("prompt"), Mapping):
            root = row["prompt"]
            answers = [reply for reply in root.get("replies") or () if isinstance(reply, Mapping)]
            yield _pair(root, answers, path.name, language, instruction_language, license, id)
        elif "parent_id" in row and "text" in row:
            if row["parent_id"] is None:
                roots[string(row.get("message_id")) or id] = row
            elif row.get("rank") == 0:
                replies.setdefault(string(row["parent_id"]), []).append(row)
        elif not known:
            there = ", ".join(map(repr, row)) or "none"
            raise CorpusError(
                f"{path}, row {position}: no tree, wanted prompt with replies, or text and parent_id; there are {there}"
            )
        else:
            yield dropped(id, "wrong_shape", "no tree and no message", str(row))
        known = True
    for id, root in roots.items():
        yield _pair(root, replies.get(id, []), path.name, language, instruction_language, license, id)


def _pair(
    root: Mapping[str, Any],
    replies: list[Mapping[str, Any]],
    source: str,
    language: str,
    instruction_language: str,
    license: str,
    fallback: str,
) -> Pair | Dropped:
    id, text = string(root.get("message_id")) or fallback, string(root.get("text"))
    if _gone(root):
        return dropped(id, "deleted", "the prompt was deleted or rejected by reviewers", text)
    first = [reply for reply in replies if reply.get("rank") == 0 and not _gone(reply)]
    if not first:
        return dropped(id, "no_answer", f"no reply of rank 0 among {len(replies)}", text)
    for what, message, wanted in (("prompt", root, instruction_language), ("reply", first[0], language)):
        if not _is(string(message.get("lang")), wanted):
            return dropped(id, "other_language", f"the {what} is {message.get('lang')}, wanted {wanted}", text)
    return Pair(
        id=id,
        instruction=text,
        output=string(first[0].get("text")),
        language=language,
        instruction_language=instruction_language,
        source=source,
        license=license,
    )


def _gone(message: Mapping[str, Any]) -> bool:
    # Reviewers' verdict is None where nobody looked.
    return bool(message.get("deleted")) or message.get("review_result") is False


def _is(lang: str, wanted: str) -> bool:
    """Whether a message's tag, as ``pt-BR`` or ``en``, is of a language; a message that has none may be of any."""
    return not lang or lang == wanted or lang.split("-")[0] == wanted.split("-")[0]
