"""Every error of the package.

XInstructionError
 ├─ RecipeError            a recipe, a key or a command-line value is wrong
 │   └─ UnknownLanguage    a language tag that no standard knows
 ├─ CorpusError            a corpus cannot be read, or holds nothing to use
 ├─ EngineError            a language model cannot be loaded or run
 │   ├─ MissingExtra       an optional package is not installed
 │   ├─ NotCapable         this engine cannot do what was asked of it
 │   └─ OutOfMemory        the memory of a GPU is too small for a shard
 ├─ TuningError            a model cannot be tuned, or what it learns from is of no use
 ├─ BudgetReached          the money that a run may spend is spent
 ├─ ShardError             a shard cannot be read or written
 ├─ ShardsMissing          a part of a run needs shards or models that another part makes
 ├─ ShardsSetAside         shards could not be made, and the run made all others
 ├─ HubError               the Hub refuses, or what is published is not what was sent
 └─ RunChanged             existing output was made with other settings

A message says what came, what was expected and what to do. The command line prints it and exits with 1;
any other exception is a defect and keeps its traceback.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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


class OutOfMemory(EngineError):
    """The memory of a GPU is too small for a shard, also in smaller batches.

    Args:
        message: what happened.
        attempts: how often the shard was tried.
    """

    def __init__(self, message: str, attempts: int) -> None:
        super().__init__(message)
        self.attempts = attempts


class TrainingError(XInstructionError):
    """A model cannot be tuned, or what it learns from is of no use."""


class BudgetReached(XInstructionError):
    """The money that a run may spend is spent."""


class ShardError(XInstructionError):
    """A shard cannot be read or written."""


class ShardsMissing(XInstructionError):
    """A part of a run needs shards or models that another part makes."""


class ShardsSetAside(XInstructionError):
    """Shards could not be made, and the run made all others that do not need them.

    Args:
        reasons: names of the shards, and why each was set aside.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        shown = "; ".join(f"{name}: {reason}" for name, reason in list(self.reasons.items())[:4])
        more = f"; and {len(self.reasons) - 4} more" if len(self.reasons) > 4 else ""
        count = "1 shard was" if len(self.reasons) == 1 else f"{len(self.reasons)} shards were"
        super().__init__(f"{count} set aside ({shown}{more}): rerun the same command to try again")


class HubError(XInstructionError):
    """The Hub refuses, or what is published is not what was sent."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that differs between existing output and the recipe.

    Args:
        key: dotted name of the setting, such as ``generate.candidates``.
        old, new: the values as text; ``not set`` for none. Both are empty if the values say nothing to a reader.
    """

    key: str
    old: str = ""
    new: str = ""

    def text(self, name: str = "") -> str:
        """What changed, in a few words.

        Args:
            name: how the reader knows the setting, if not by its key.
        """
        name = name or self.key
        return f"{name} was {self.old}, is {self.new}" if self.old or self.new else f"{name} changed"


def differences(old: Mapping[str, Any], new: Mapping[str, Any], show: Callable[[Any], str] = repr) -> list[Difference]:
    """The settings that differ, the most telling first: settings before inputs.

    Args:
        old, new: dotted key to value.
        show: the text of a value; long texts are cut.
    """
    keys = sorted(old.keys() | new.keys(), key=lambda key: (key.startswith("input."), key))
    return [
        Difference(key, _short(old.get(key), show), _short(new.get(key), show))
        for key in keys
        if old.get(key) != new.get(key)
    ]


def _short(value: Any, show: Callable[[Any], str]) -> str:
    text = "" if value is None else show(value)
    return (text if len(text) <= 40 else f"{text[:24]}…") or "not set"


class RunChanged(XInstructionError):
    """Existing output was made with other settings.

    Args:
        what: the shard, model or folder.
        differences: the settings that differ.
    """

    def __init__(self, what: str, differences: Sequence[Difference]) -> None:
        self.what = what
        self.differences = differences
        super().__init__(self.text({}))

    def text(self, names: Mapping[str, str]) -> str:
        """The message.

        Args:
            names: how the reader knows a setting or an argument, by its key; the key itself for those that are missing.
        """
        shown = "; ".join(found.text(names.get(found.key, "")) for found in self.differences[:4])
        shown += f"; and {len(self.differences) - 4} more" if len(self.differences) > 4 else ""
        return (
            f"{self.what} was made with other settings ({shown}): pass {names.get('overwrite', 'overwrite=True')} to "
            f"replace it, or choose another folder with {names.get('out', 'out')}"
        )


def rebuild_error(name: str, message: str) -> XInstructionError:
    """An error of another process, from its class name and message; the root class if the name is unknown."""
    error: XInstructionError = XInstructionError.__new__(globals().get(name, XInstructionError))
    # Not by ``__init__``: a class may make its message from other arguments.
    error.args = (message,)
    return error
