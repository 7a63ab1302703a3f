"""What a judge's text says: two scores, one of several letters, or an order of answers.

Nothing is guessed. A text that does not say it clearly has no answer, which is counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from x_instruction.prompts.reading import without_thinking

HIGHEST_SCORE = 10
# Between "answer" and what it is: a verb or a colon. "Answer B" alone begins many a sentence that is against B.
_IS = r"\s*(?:(?:is|are|would be|could be|ni)\b\s*[,:]?|:)\s*(?:(?:option|reply|answer|response)\s*)?"
_ANSWER = rf"\b(?:answer|choice|winner|jibu|better|better (?:reply|answer|response))\b{_IS}"
# What may follow a letter that is chosen: the end of the clause, or the reason.
_END = r"(?=\s*(?:$|[.,;:!?)\]\"'”*–—\n(-]|(?:because|since|as|for)\b))"
# In a clause with these words, a letter is not the better one.
_AGAINST = re.compile(
    r"\b(?:worse|worst|not|cannot|never|less|least|neither|nor|wrong|incorrect|bad|poor(?:er)?|weaker|inferior|los(?:er|es|ing))\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[.,;:!?\n]")
_NAME = r"(?:assistant|answer|reply|response|model)\s*#?\s*(\d+|[A-Z])\b"
_CHAIN = re.compile(rf"{_NAME}(?:\s*[>=]\s*{_NAME})+", re.IGNORECASE)
_ALL_EQUAL = re.compile(
    r"\b(?:all|both)\b[^.]{0,40}\b(?:equal|equally|equivalent|the same)\b[^.]*(?:\.|$)", re.IGNORECASE
)


def read_scores(text: str) -> tuple[int, int] | None:
    """The integers in ``<score1>`` and ``<score2>``, 0 to 10 each.

    None if a tag is missing, occurs twice, is not closed, or holds anything else.
    """
    text = without_thinking(text)
    scores: list[int] = []
    for name in ("score1", "score2"):
        found = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        # Whitespace around the number is not part of it; a word, a decimal or a sign is.
        if len(found) != 1 or text.count(f"<{name}>") != 1 or not re.fullmatch(r"\s*\d{1,2}\s*", found[0]):
            return None
        scores.append(int(found[0]))
    return (scores[0], scores[1]) if max(scores) <= HIGHEST_SCORE else None


def read_choice(text: str, labels: Sequence[str]) -> str | None:
    """The label that a text chooses: all of the text, or what it says that the answer is.

    None if it names none, or several.

    Args:
        text: the answer.
        labels: such as ``("A", "B")`` or ``("0", "1")``.
    """
    text = without_thinking(text).strip()
    one = rf"[\"'“(\[*]*({'|'.join(map(re.escape, labels))})(?![\w'’])"
    alone = re.fullmatch(rf"(?i:(?:answer|reply|response|option)\s+)?{one}[\"'”)\]*.\s]*", text)
    if alone:
        return alone[1]
    found = list(re.finditer(rf"(?i:{_ANSWER}){one}{_END}", text))
    if any(_AGAINST.search(_CLAUSE.split(text[: match.start()])[-1]) for match in found):
        return None
    said = [match[1] for match in found]
    # "0" or "1" is no choice.
    unclear = re.search(rf"(?i:{_ANSWER}){one}[\"'”)\]*]*\s*(?:or|and|/)\s*{one}", text)
    return said[-1] if len(set(said)) == 1 and not unclear else None


def read_order(text: str, count: int) -> tuple[int, ...] | None:
    """The rank of each answer in a text such as ``Assistant 2 > Assistant 1 = Assistant 3``.

    Equal answers share the best of their ranks: (2, 1, 2) here. The last order in the text counts. None if no order
    names every answer once, and the text does not end by saying that all are equal.

    Args:
        text: the answer.
        count: number of answers.
    """
    text = without_thinking(text)
    chains = list(_CHAIN.finditer(text))
    for chain in reversed(chains):
        ranks = _ranks(chain[0], count)
        if ranks is not None:
            return ranks
    sentences = _ALL_EQUAL.findall(text)
    ends_equal = bool(sentences) and text.rstrip().endswith(sentences[-1].rstrip())
    return (1,) * count if ends_equal and not chains else None


def _ranks(chain: str, count: int) -> tuple[int, ...] | None:
    numbers = [_number(name) for name in re.findall(_NAME, chain, re.IGNORECASE)]
    if sorted(numbers) != list(range(count)):
        return None
    ranks, rank = [0] * count, 1
    for place, (number, sign) in enumerate(zip(numbers, [">", *re.findall(r"[>=]", chain)], strict=True), start=1):
        rank = place if sign == ">" else rank
        ranks[number] = rank
    return tuple(ranks)


def _number(name: str) -> int:
    return int(name) - 1 if name.isdecimal() else ord(name.upper()) - ord("A")
