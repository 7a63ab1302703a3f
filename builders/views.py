"""Views: the rows of the one schema in the shapes that trainers take. Nothing is stored twice.

A view is a function of one row, so it works with plain ``datasets``, too:

    load_dataset("org/x-instruction", "sw", split="train").map(chat)

Of the other columns a view keeps ``KEPT``: ``id`` and ``language``, by which a row is found again, and ``score``, by
which rows are chosen. Trainers pass over columns that they do not know.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from x_instruction.errors import RecipeError

if TYPE_CHECKING:
    import datasets

Row = Mapping[str, Any]

KEPT = ("id", "language", "score")
# What the views read.
READ = ("instruction", "output")


def chat(row: Row) -> dict[str, Any]:
    """``messages``: a user's and an assistant's, as chat templates take them."""
    return {"messages": [_message("user", row["instruction"]), _message("assistant", row["output"])]}


def prompt_completion(row: Row) -> dict[str, Any]:
    """``prompt`` and ``completion``, each a list of one message: TRL trains on the completion alone."""
    return {"prompt": [_message("user", row["instruction"])], "completion": [_message("assistant", row["output"])]}


def alpaca(row: Row) -> dict[str, Any]:
    """``instruction``, ``input`` and ``output``; ``input`` is empty: an instruction of this schema stands by itself."""
    return {"instruction": row["instruction"], "input": "", "output": row["output"]}


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@dataclass(frozen=True, slots=True)
class View:
    """One shape of a row.

    Args:
        name: what it is asked for by.
        row: makes its columns of a row.
        columns: names of its columns, in order.
        messages: whether they hold lists of messages; else they hold texts.
    """

    name: str
    row: Callable[[Row], dict[str, Any]]
    columns: tuple[str, ...]
    messages: bool

    def features(self) -> datasets.Features:
        """Its columns as ``datasets`` features, those that are kept first."""
        import datasets

        from x_instruction.builders.schema import features

        text = datasets.Value("string")
        kind = datasets.List({"role": text, "content": text}) if self.messages else text
        whole = features()
        return datasets.Features({name: whole[name] for name in KEPT} | dict.fromkeys(self.columns, kind))


VIEWS = {
    view.name: view
    for view in (
        View("chat", chat, ("messages",), messages=True),
        View("prompt-completion", prompt_completion, ("prompt", "completion"), messages=True),
        View("alpaca", alpaca, ("instruction", "input", "output"), messages=False),
    )
}


def named(name: str) -> View:
    """The view of a name.

    Raises:
        RecipeError: there is none; it lists those that there are.
    """
    if name not in VIEWS:
        close = difflib.get_close_matches(str(name).replace("_", "-"), VIEWS, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise RecipeError(f"unknown view {name!r}{hint} (there are {', '.join(VIEWS)})")
    return VIEWS[name]


def view(rows: Any, name: str, **options: Any) -> Any:
    """Rows as a view shows them: of a data set or a dictionary of them by split, streamed or not.

    Args:
        rows: what ``load`` or ``datasets.load_dataset`` gave, in the schema that ``build`` writes.
        name: ``chat``, ``prompt-completion`` or ``alpaca``.
        options: handed to ``Dataset.map``, such as ``num_proc``.

    Returns:
        The same kind of data set, with the columns ``id``, ``language`` and ``score`` and those of the view.

    Raises:
        RecipeError: no such view, or a column that it needs is missing.
    """
    found = named(name)
    if isinstance(rows, dict):
        return type(rows)({split: view(part, name, **options) for split, part in rows.items()})
    held = rows.column_names or []
    if missing := [column for column in (*READ, *KEPT) if column not in held]:
        raise RecipeError(
            f"the view {name!r} needs the column {missing[0]!r}, and the rows have {', '.join(held) or 'none named'}: "
            "load all columns of a data set that `build` wrote"
        )
    # What the function gives stays, though it is named among the columns to remove.
    gone = [column for column in held if column not in KEPT]
    return rows.map(found.row, remove_columns=gone, features=found.features(), **options)
