"""How the final pairs are selected."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import model_validator

from x_instruction.config.fields import INPUT_ONLY, RUNTIME_ONLY, Invalid, Positive, PositiveShare, Share
from x_instruction.config.section import Section


class Diversify(Section):
    """How the final pairs are selected (paper, section 3.3; docs/method.md 2.4)."""

    embedder: str
    """Sentence encoder of the instructions: a Hub id, a folder or `embedded`."""
    revision: str = "main"
    """Branch, tag or commit of the sentence encoder on the Hub."""
    selector: Literal["kmeans", "sampled-kmeans", "mmr", "k-center", "top", "random"] = "kmeans"
    """`kmeans` (the paper's), `sampled-kmeans` (finds the clusters on 200,000 pairs, for languages with millions),
    `mmr`, `k-center`, `top` or `random`."""
    quota: Positive = 32_000
    """Most pairs per language. If not set, `target`, or 32,000 as in the paper."""
    target: Annotated[Positive | None, INPUT_ONLY] = None
    """Pairs per language to reach: the run draws more of the corpus until each language has them, its corpus ends, or
    `corpus.passages` or the budget is reached. If not set, the corpus is drawn once."""
    relevance: Share = 0.5
    """For `mmr`: weight of the score against the similarity to pairs that are selected already. 1 selects the best
    scores, 0 the least similar pairs."""
    max_per_domain: PositiveShare | None = None
    """Largest share of the quota from 1 host of `url`, but at least 1 pair. Pairs without a URL are not limited."""
    max_per_verb: PositiveShare | None = None
    """Largest share of the quota with the same verb or question word, but at least 1 pair. Instructions without one are
    not limited."""
    clusters: Positive | None = None
    """Clusters per language. If not set, the square root of the number of pairs."""
    embed_shards_above: Annotated[Positive, RUNTIME_ONLY] = 100_000
    """Pairs of a language above which all workers embed the instructions, shard by shard. Up to this number, the worker
    that selects the pairs does."""
    batch_size: Annotated[Positive, RUNTIME_ONLY] = 64
    """Sentences in one forward pass of the encoder."""
    threads: Annotated[Positive, RUNTIME_ONLY] = 1
    """CPU threads of the encoder."""

    @model_validator(mode="before")
    @classmethod
    def _quota_of_target(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("target") is not None:
            return {"quota": values["target"], **values}
        return values

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.target is not None and self.quota < self.target:
            raise Invalid("target", f"is {self.target}, expected at most quota, which is {self.quota}")
        return self
