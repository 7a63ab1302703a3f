"""Where a run works: ``--on``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from x_instruction.errors import RecipeError

Kind = Literal["local", "ray", "slurm", "hf-jobs"]


@dataclass(frozen=True, slots=True)
class On:
    """The place that makes the shards of a run.

    Args:
        kind: the processes of this machine, a Ray cluster, a Slurm cluster or Hugging Face Jobs.
        address: of a Ray cluster, as Ray takes it: ``HOST:PORT`` or ``ray://HOST:PORT``; empty for the one that this
            machine belongs to.
    """

    kind: Kind = "local"
    address: str = ""

    @property
    def detached(self) -> bool:
        """Whether jobs are submitted, so that the command returns before the run is complete."""
        return self.kind in ("slurm", "hf-jobs")


LOCAL = On()
# A Ray cluster as Ray's own functions take it.
ADDRESS = re.compile(r"(ray://)?[^/\s]+:[1-9][0-9]{0,4}")


def read_on(text: str) -> On:
    """The place in a value of ``--on``.

    Raises:
        RecipeError: it names no place.
    """
    if text in ("local", "ray", "slurm", "hf-jobs"):
        return On(cast(Kind, text))
    if text.startswith("ray:"):
        address = text if text.startswith("ray://") else text.removeprefix("ray:")
        if ADDRESS.fullmatch(address):
            return On("ray", address)
        raise RecipeError(
            f"--on is {text!r}, expected ray:HOST:PORT on a node of the cluster, such as ray:10.0.0.5:6379, or "
            "ray://HOST:PORT for the Ray client, such as ray://10.0.0.5:10001"
        )
    raise RecipeError(f"--on is {text!r}, expected local, ray, ray:HOST:PORT, ray://HOST:PORT, slurm or hf-jobs")
