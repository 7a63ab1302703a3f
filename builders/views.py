"""Views: rows in the formats that trainers take. Nothing is stored twice.

A view is a function of one row, so it also works with plain ``datasets``:

    load_dataset("org/x-instruction", "sw", split="train").map(chat)

A view keeps the columns ``id`` and ``language``, to find a row again, and ``score``, to filter rows. Trainers ignore
columns that they do not know.
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

KEPT_COLUMNS = ("id", "language", "score")
READ_COLUMNS = ("instruction", "output")


def chat(row: Row) -> dict[str, Any]:
    """``messages``: one of the user and one of the assistant, as chat templates take them."""
    return {"messages": [_message("user", row["instruction"]), _message("assistant", row["output"])]}


def prompt_completion(row: Row) -> dict[str, Any]:
    """``prompt`` and ``completion``, each a list of one message. TRL trains on the completion alone."""
    return {"prompt": [_message("user", row["instruction"])], "completion": [_message("assistant", row["output"])]}


def alpaca(row: Row) -> dict[str, Any]:
    """``instruction``, ``input`` and ``output``. ``input`` is empty, as instructions in this schema need none."""
    return {"instruction": row["instruction"], "input": "", "output": row["output"]}


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@dataclass(frozen=True, slots=True)
class View:
    """A format of rows.

    Args:
        name: Its name.
        row: Computes its columns from a row.
        columns: Names of its columns, in order.
        messages: Whether the columns hold lists of messages. Otherwise they hold text.
    """

    name: str
    row: Callable[[Row], dict[str, Any]]
    columns: tuple[str, ...]
    messages: bool

    def features(self) -> datasets.Features:
        """The columns as ``datasets`` features, the kept ones first."""
        import datasets

        from x_instruction.builders.schema import features

        text = datasets.Value("string")
        kind = datasets.List({"role": text, "content": text}) if self.messages else text
        published = features()
        return datasets.Features({name: published[name] for name in KEPT_COLUMNS} | dict.fromkeys(self.columns, kind))


VIEWS = {
    view.name: view
    for view in (
        View("chat", chat, ("messages",), messages=True),
        View("prompt-completion", prompt_completion, ("prompt", "completion"), messages=True),
        View("alpaca", alpaca, ("instruction", "input", "output"), messages=False),
    )
}


def find_view(name: str) -> View:
    """The view of a name.

    Raises:
        RecipeError: There is none. The message lists the names.
    """
    if name not in VIEWS:
        close = difflib.get_close_matches(str(name).replace("_", "-"), VIEWS, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise RecipeError(f"unknown view {name!r}{hint} (known: {', '.join(VIEWS)})")
    return VIEWS[name]


def view(rows: Any, name: str, **options: Any) -> Any:
    """Convert a data set, or a dictionary of them by split, to a view. Streams work, too.

    Args:
        rows: From ``load`` or ``datasets.load_dataset``, in the schema that ``build`` writes.
        name: ``chat``, ``prompt-completion`` or ``alpaca``.
        options: Passed to ``Dataset.map``, such as ``num_proc``.

    Returns:
        The same kind of data set, with the columns ``id``, ``language`` and ``score`` and those of the view.

    Raises:
        RecipeError: Unknown view, or a column that it needs is missing.
    """
    target = find_view(name)
    if isinstance(rows, dict):
        return type(rows)({split: view(part, name, **options) for split, part in rows.items()})
    columns = rows.column_names or []
    if missing := [column for column in (*READ_COLUMNS, *KEPT_COLUMNS) if column not in columns]:
        raise RecipeError(
            f"the view {name!r} needs the column {missing[0]!r}, and the rows have {', '.join(columns) or 'no names'}: "
            "load all columns of a data set that `build` wrote"
        )
    # map keeps the columns that the function returns, also if they are among those to remove.
    removed = [column for column in columns if column not in KEPT_COLUMNS]
    return rows.map(target.row, remove_columns=removed, features=target.features(), **options)
