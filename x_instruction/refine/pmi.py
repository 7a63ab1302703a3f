"""Rating by pointwise mutual information: how much more likely does the instruction make the response?

``log p(response | instruction) - log p(response)``, in nats per token of the response. By Bayes it equals
``log p(instruction | response) - log p(instruction)``, here in nats. The latter is much cheaper: the candidates of a
passage share its computation, and only the few tokens of the instruction need logits. No training, no parsing.
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
    request_pair = _by_response if settings.direction == "response" else _by_instruction
    requests = [request for candidate in candidates for request in request_pair(candidate, settings, engine)]
    # The unconditional requests repeat, so that each is made once.
    distinct = list(dict.fromkeys(requests))
    answers = dict(zip(distinct, ask(distinct), strict=True))
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
        ratings.append(Rating(gain / conditional.tokens if settings.direction == "response" else gain))
    return ratings


def _by_response(candidate: Candidate, settings: Refine, engine: Engine) -> tuple[Scoring, Scoring]:
    name = language(candidate.language).name
    text = engine.truncate(candidate.text, settings.response_tokens)
    prompt = f"Answer in {name}:\n"
    return (
        Scoring(f"Question: {candidate.instruction}\n{prompt}", text, settings.response_tokens),
        Scoring(prompt, text, settings.response_tokens),
    )


def _by_instruction(candidate: Candidate, settings: Refine, engine: Engine) -> tuple[Scoring, Scoring]:
    source, into = language(candidate.language), language(candidate.instruction_language)
    template = prompts.choose("base-title", chat=False)
    passage = engine.truncate(candidate.text, settings.response_tokens)
    conditional, _ = prompts.ask(template, passage, source, into, "search", 0)
    unconditional, _ = prompts.ask(template, "", source, into, "search", 0)
    if not isinstance(conditional, str) or not isinstance(unconditional, str):
        raise EngineError("the pmi rater needs a plain prompt")
    continuation = f" {candidate.instruction}"
    return Scoring(conditional, continuation), Scoring(unconditional, continuation)
