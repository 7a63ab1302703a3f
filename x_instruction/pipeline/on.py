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
        address: ``HOST:PORT`` of a Ray cluster; empty for the one that this machine belongs to.
    """

    kind: Kind = "local"
    address: str = ""

    @property
    def detached(self) -> bool:
        """Whether jobs are submitted, so that the command returns before the run is complete."""
        return self.kind in ("slurm", "hf-jobs")


LOCAL = On()


def read_on(text: str) -> On:
    """The place in a value of ``--on``.

    Raises:
        RecipeError: it names no place.
    """
    if text in ("local", "ray", "slurm", "hf-jobs"):
        return On(cast(Kind, text))
    if text.startswith("ray://"):
        address = text.removeprefix("ray://")
        host, _, port = address.rpartition(":")
        if not host or not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65_536:
            raise RecipeError(f"--on is {text!r}, expected ray://HOST:PORT, such as ray://10.0.0.5:6379")
        return On("ray", address)
    raise RecipeError(f"--on is {text!r}, expected local, ray, ray://HOST:PORT, slurm or hf-jobs")
