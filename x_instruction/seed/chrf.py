"""chrF: how alike two texts are, by the runs of characters that they share (Popović 2015, aclanthology W15-3049).

No tokenizer and no words are needed, so every script counts alike. Without word n-grams and with beta 2 this is the
chrF2 that sacreBLEU computes by default, as a share instead of percent.
"""

from __future__ import annotations

from collections import Counter

# Longest run of characters, and how many times more recall weighs than precision.
ORDER = 6
BETA = 2.0


def chrf(hypothesis: str, reference: str, order: int = ORDER, beta: float = BETA) -> float:
    """F-score of character n-grams, 0 to 1; space does not count.

    Precision and recall are averaged over the lengths of which both texts have n-grams, and then put together.

    Args:
        hypothesis: the text in question; precision is of its n-grams.
        reference: the text that it should be; recall is of its n-grams.
        order: n-grams of 1 to so many characters.
        beta: recall weighs ``beta`` times as much as precision.
    """
    ours, wanted = "".join(hypothesis.split()), "".join(reference.split())
    lengths = range(1, min(order, len(ours), len(wanted)) + 1)
    if not lengths:
        return 0.0
    precision = recall = 0.0
    for length in lengths:
        found, sought = _ngrams(ours, length), _ngrams(wanted, length)
        shared = (found & sought).total()
        precision += shared / found.total() / len(lengths)
        recall += shared / sought.total() / len(lengths)
    if not precision:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _ngrams(text: str, length: int) -> Counter[str]:
    return Counter(text[start : start + length] for start in range(len(text) - length + 1))
