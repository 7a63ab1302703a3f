"""Every error of the package.

XInstructionError
 ├─ RecipeError            a recipe, a key or a command-line value is wrong
 │   └─ UnknownLanguage    a language tag that no standard knows
 ├─ CorpusError            a corpus cannot be read, or holds nothing to use
 ├─ EngineError            a language model cannot be loaded or run
 │   ├─ MissingExtra       an optional package is not installed
 │   └─ NotCapable         this engine cannot do what was asked of it
 ├─ TuningError            a model cannot be tuned, or what it learns from is of no use
 ├─ BudgetReached          the money that a run may spend is spent
 ├─ ShardError             a shard cannot be read or written
 ├─ HubError               the Hub refuses, or what is published is not what was sent
 └─ RunChanged             output made under other settings is in the way

A message says what came, what was wanted and what to do. The command line prints it and exits with 1;
any other exception is a defect and keeps its traceback.
"""


class XInstructionError(Exception):
    """The root: catch this to catch everything that the package raises on purpose."""


class RecipeError(XInstructionError):
    """A recipe, a key or a command-line value is wrong."""


class UnknownLanguage(RecipeError):
    """A language tag that no standard knows."""


class CorpusError(XInstructionError):
    """A corpus cannot be read, or holds nothing to use."""


class EngineError(XInstructionError):
    """A language model cannot be loaded or run."""


class MissingExtra(EngineError):
    """An optional package is not installed.

    Args:
        package: the import name that was not found.
        extra: the extra of this project that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"the package {package!r} is not installed: pip install 'x_instruction[{extra}]'")


class NotCapable(EngineError):
    """This engine cannot do what was asked of it."""


class TrainingError(XInstructionError):
    """A model cannot be tuned, or what it learns from is of no use."""


class BudgetReached(XInstructionError):
    """The money that a run may spend is spent."""


class ShardError(XInstructionError):
    """A shard cannot be read or written."""


class HubError(XInstructionError):
    """The Hub refuses, or what is published is not what was sent."""


class RunChanged(XInstructionError):
    """Output made under other settings is in the way.

    Args:
        what: the shard or folder that was found.
        differences: one phrase per setting that differs.
    """

    def __init__(self, what: str, differences: list[str]) -> None:
        self.differences = differences
        shown = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
        super().__init__(
            f"{what} was made under other settings ({shown}): "
            "run with --overwrite to make it again, or choose another --out folder"
        )


def rebuild_error(name: str, message: str) -> XInstructionError:
    """An error that another process told by its class name and message; of the root where no such class is here."""
    error: XInstructionError = XInstructionError.__new__(globals().get(name, XInstructionError))
    # Not by ``__init__``: a class may make its message from other arguments.
    error.args = (message,)
    return error
