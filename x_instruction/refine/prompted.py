"""Rating by a rubric of five levels (Humpback, arXiv 2308.06259, section 2.3), read as probabilities.

The model generates no text: the probabilities of the answers 1 to 5 are computed in one forward pass. So there are no
unparsable ratings, to which an unofficial reproduction of Humpback lost 45 % of its candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Choice, Chosen, Engine, Failed
from x_instruction.engines.truncation import shorten
from x_instruction.languages import language
from x_instruction.prompts import template
from x_instruction.records import Candidate
from x_instruction.refine import Rating

needs = ("choose",)
SLOTS = frozenset({"passage", "language", "instruction", "instruction_language"})
# Whether a response ends where it should is seen at its end.
_TAIL_SHARE = 1 / 3


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """One rating per candidate; ``score`` is the expected level, 1 to 5. Levels 4 and 5 count as best, 3 as flawed."""
    name = settings.prompt if settings.prompt != "auto" else "rate-chat" if engine.chat else "rate-base"
    prompt = template(name, SLOTS)
    share = _TAIL_SHARE if settings.tail_share is None else settings.tail_share
    # The candidates of a passage are rated on one shortened text.
    shown = {
        text: shorten(text, settings.response_tokens, engine.truncate, share) for text in {c.text for c in candidates}
    }
    requests = [
        Choice(
            prompt.fill(
                passage=shown[candidate.text],
                language=language(candidate.language).name,
                instruction=candidate.instruction,
                instruction_language=language(candidate.instruction_language).name,
            ),
            tuple(str(level) if prompt.chat else f" {level}" for level in range(1, 6)),
        )
        for candidate in candidates
    ]
    ratings: list[Rating | Failed] = []
    for answer in ask(requests):
        if isinstance(answer, Failed):
            ratings.append(answer)
            continue
        assert isinstance(answer, Chosen)
        p = answer.probabilities
        score = sum(level * share for level, share in enumerate(p, start=1))
        ratings.append(Rating(score, p_best=p[3] + p[4], p_flawed=p[2], p_worst=p[0] + p[1]))
    return ratings
