"""How many passages a shard of a language has."""

from __future__ import annotations

import math

from x_instruction.config.corpus import Corpus

# Passages of a shard where the recipe does not say it, with the number of such shards: from 1 million passages on, and
# so that 1 billion passages are 10,000 shards.
SHARD_SIZES = ((2_000, 50), (20_000, 50))
LARGEST_SHARD = 100_000


def shard_size(corpus: Corpus, index: int) -> int:
    """The number of passages in a shard of a language, which depends on its index alone."""
    if corpus.shard_size is not None:
        return corpus.shard_size
    for size, shards in SHARD_SIZES:
        if index < shards:
            return size
        index -= shards
    return LARGEST_SHARD


def shard_count(corpus: Corpus, passages: int) -> int:
    """The number of shards of a language with so many passages, at least 1."""
    if corpus.shard_size is not None:
        return max(1, math.ceil(passages / corpus.shard_size))
    count = 0
    for size, shards in SHARD_SIZES:
        if passages <= size * shards:
            return max(1, count + math.ceil(passages / size))
        passages, count = passages - size * shards, count + shards
    return count + math.ceil(passages / LARGEST_SHARD)
