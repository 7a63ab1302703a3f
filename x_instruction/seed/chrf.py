"""chrF: similarity of two texts by their shared character n-grams (Popović 2015, aclanthology W15-3049).

It needs no tokenizer, so all scripts are treated alike. Without word n-grams and with beta 2 this is the chrF2 that
sacreBLEU computes by default, from 0 to 1 instead of in percent.
"""

from __future__ import annotations

from collections import Counter

# Longest n-gram, and the weight of recall relative to precision.
ORDER = 6
BETA = 2.0


def chrf(hypothesis: str, reference: str, order: int = ORDER, beta: float = BETA) -> float:
    """F-score of character n-grams, 0 to 1. White space is ignored.

    Precision and recall are averaged over the lengths for which both texts have n-grams, and then combined.

    Args:
        hypothesis: the text to score. Precision is the share of its n-grams that the reference has.
        reference: the correct text. Recall is the share of its n-grams that the hypothesis has.
        order: the longest n-gram, in characters.
        beta: weight of recall relative to precision.
    """
    hypothesis_text, reference_text = "".join(hypothesis.split()), "".join(reference.split())
    lengths = range(1, min(order, len(hypothesis_text), len(reference_text)) + 1)
    if not lengths:
        return 0.0
    precision = recall = 0.0
    for length in lengths:
        hypothesis_ngrams, reference_ngrams = _ngrams(hypothesis_text, length), _ngrams(reference_text, length)
        shared = (hypothesis_ngrams & reference_ngrams).total()
        precision += shared / hypothesis_ngrams.total() / len(lengths)
        recall += shared / reference_ngrams.total() / len(lengths)
    if not precision:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _ngrams(text: str, length: int) -> Counter[str]:
    return Counter(text[start : start + length] for start in range(len(text) - length + 1))
