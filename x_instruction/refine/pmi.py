"""Rating by pointwise mutual information: how much more likely does the instruction make the response?

``log p(response | instruction) - log p(response)``, in nats per token of the response. By Bayes it equals
``log p(instruction | response) - log p(instruction)``, here in nats or, with ``per_token``, nats per token. The latter
is much cheaper: the candidates of a passage share its computation, and only the few tokens of the instruction need
logits. No training, no parsing.
"""

from __future__ import annotations

from collections.abc import Sequence

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Engine, Failed, Scored, Scoring
from x_instruction.errors import EngineError
from x_instruction.languages import language
from x_instruction.prompts import instruction as prompts
from x_instruction.records import Candidate
from x_instruction.refine import Rating

needs = ("score",)


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """One rating per candidate; ``score`` is the mutual information."""
    shown = truncated(candidates, settings, engine)
    request_pair = _by_response if settings.direction == "response" else _by_instruction
    requests = [request for c in candidates for request in request_pair(c, shown[c.text], settings)]
    # The unconditional requests repeat, so that each is made once.
    distinct = list(dict.fromkeys(requests))
    answers = dict(zip(distinct, ask(distinct), strict=True))
    per_token = settings.per_token or settings.direction == "response"
    ratings: list[Rating | Failed] = []
    for number in range(0, len(requests), 2):
        conditional, unconditional = answers[requests[number]], answers[requests[number + 1]]
        failed = next((answer for answer in (conditional, unconditional) if isinstance(answer, Failed)), None)
        if failed is not None:
            ratings.append(failed)
            continue
        assert isinstance(conditional, Scored)
        assert isinstance(unconditional, Scored)
        gain = conditional.log_likelihood - unconditional.log_likelihood
        ratings.append(Rating(gain / conditional.tokens if per_token else gain))
    return ratings


def truncated(candidates: Sequence[Candidate], settings: Refine, engine: Engine) -> dict[str, str]:
    """The part of each page that is read. The candidates of a page share it, and tokenizing takes long."""
    pages = dict.fromkeys(candidate.text for candidate in candidates)
    return {text: engine.truncate(text, settings.response_tokens) for text in pages}


def _by_response(candidate: Candidate, shown: str, settings: Refine) -> tuple[Scoring, Scoring]:
    prompt = f"Answer in {language(candidate.language).name}:\n"
    return (
        Scoring(f"Question: {candidate.instruction}\n{prompt}", shown, settings.response_tokens),
        Scoring(prompt, shown, settings.response_tokens),
    )


def _by_instruction(candidate: Candidate, shown: str, settings: Refine) -> tuple[Scoring, Scoring]:
    return given(candidate, shown), given(candidate, "")


def given(candidate: Candidate, shown: str) -> Scoring:
    """The request for the likelihood of an instruction given a page in its language, or given none (empty text)."""
    source, into = language(candidate.language), language(candidate.instruction_language)
    prompt, _ = prompts.ask(prompts.choose("base-title", chat=False), shown, source, into, "search", 0)
    if not isinstance(prompt, str):
        raise EngineError("the pmi rater needs a plain prompt")
    return Scoring(prompt, f" {candidate.instruction}")
