"""Comparing the files of complete shards with the digests in their reports."""

from __future__ import annotations

from collections.abc import Callable

from x_instruction.config.recipe import Recipe
from x_instruction.errors import ShardError
from x_instruction.pipeline.rounds import stages
from x_instruction.storage.run_folder import RunFolder

# Files that an error names.
_NAMED = 10


def verify_shards(run: RunFolder, settings: Recipe, say: Callable[[str], None]) -> None:
    """Read every complete shard and its dropped rows.

    Args:
        run: the run.
        settings: the recipe.
        say: receives the number of shards.

    Raises:
        ShardError: files have other bytes than when they were written.
    """
    shards, damaged = 0, []
    for stage in stages(settings):
        for report in run.reports(stage):
            shards += 1
            damaged += run.damaged(report)
    if damaged:
        more = f" and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
        raise ShardError(
            f"{run.location} has files whose bytes changed after they were written: "
            f"{', '.join(damaged[:_NAMED])}{more}; remove the files of these shards and run the same command again"
        )
    say(f"verified: {shards:,} shard{'' if shards == 1 else 's'}")
