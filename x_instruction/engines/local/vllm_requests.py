"""Convert requests into vLLM's requests (token ids and sampling parameters), and its outputs into results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vllm import SamplingParams
from vllm.sampling_params import MAX_LOGPROB_TOKEN_IDS, RequestOutputKind

from x_instruction.engines import (
    Chosen,
    Completed,
    Completion,
    Failed,
    Prompt,
    Request,
    Result,
    Scored,
    Scoring,
)
from x_instruction.engines.local.prompt_encoder import PromptEncoder
from x_instruction.engines.truncation import cut_at_stop
from x_instruction.errors import EngineError


@dataclass(frozen=True, slots=True)
class SubRequest:
    """One request to vLLM. A request becomes one, or one per answer of a choice.

    Args:
        tokens: the prompt, followed by the continuation to score if there is one.
        params: sampling parameters.
        scored: number of tokens at the end of ``tokens`` to score; 0 for none.
    """

    tokens: list[int]
    params: SamplingParams
    scored: int = 0

    def without_prefix_cache(self) -> SubRequest:
        """The same request, computed from its first token."""
        return replace(self, params=_scoring_params(skip_reading_prefix_cache=True))

    def likelihood(self, output: Any) -> float | None:
        """Log-likelihood of the scored tokens; None if the prefix cache covered them, so that none was computed."""
        rows = output.prompt_logprobs
        # Each token is predicted at the position before it, so the last position of the prompt must be computed too.
        first = len(self.tokens) - self.scored - 1
        if (output.num_cached_tokens or 0) > first:
            return None
        if rows is None or rows.token_ids[-self.scored :] != self.tokens[-self.scored :]:
            return None
        return math.fsum(rows.logprobs[-self.scored :])


class VllmRequests:
    """Builds and reads vLLM's requests for one model.

    Args:
        encoder: of the model's tokenizer.
        model: the model's name, for messages.
        stops: end tokens.
        context: maximum sequence length in tokens.
    """

    def __init__(self, encoder: PromptEncoder, model: str, stops: frozenset[int], context: int) -> None:
        self.encoder = encoder
        self.tokenizer = encoder.tokenizer
        self.model = model
        self.stops = stops
        self.context = context
        self._encoded: dict[Prompt, list[int]] = {}
        self._continuations: dict[str, list[int]] = {}

    def encode_all(self, requests: Sequence[Request]) -> dict[Prompt, list[int]]:
        """Token ids of all prompts. They and the token ids of continuations are cached until the next call."""
        self._continuations = {}
        self._encoded = self.encoder.prompts(request.prompt for request in requests)
        return self._encoded

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt.

        Raises:
            EngineError: the prompt is empty, or a chat prompt for a model without a chat template.
        """
        if prompt in self._encoded:
            return self._encoded[prompt]
        return self.encoder.prompt(prompt)

    def too_long(self, request: Request) -> str | None:
        """Why a request does not fit into the context; None if it does."""
        prompt, new = len(self.encode(request.prompt)), self._new_tokens(request)
        if prompt + new <= self.context:
            return None
        return (
            f"a prompt of {prompt} tokens and {new} new ones do not fit into the {self.context} tokens of {self.model}"
        )

    def parts(self, request: Request) -> list[SubRequest]:
        """The requests to vLLM that answer a request."""
        prompt = self.encode(request.prompt)
        if isinstance(request, Completion):
            return [SubRequest(prompt, self._writing(request))]
        if isinstance(request, Scoring):
            return [self._scoring(prompt, self._continuation(request.continuation, request.max_tokens))]
        answers = [self._continuation(answer) for answer in request.answers]
        if _distinct_tokens(answers):
            params = _params(logprob_token_ids=[token for (token,) in answers], detokenize=False)
            return [SubRequest(prompt, params)]
        return [self._scoring(prompt, answer) for answer in answers]

    def result(self, request: Request, parts: Sequence[SubRequest], outputs: Sequence[Any]) -> Result:
        """The result of a request, from the outputs of its parts."""
        for output in outputs:
            if output.outputs[0].finish_reason not in ("stop", "length"):
                return Failed("engine_bad_answer", f"vLLM ended with {output.outputs[0].finish_reason!r}")
        first = parts[0]
        if isinstance(request, Completion):
            return self._completed(request, list(outputs[0].outputs[0].token_ids), len(first.tokens))
        if first.scored:
            read = [part.likelihood(output) for part, output in zip(parts, outputs, strict=True)]
            likelihoods = [likelihood for likelihood in read if likelihood is not None]
            if len(likelihoods) < len(read):
                return Failed("engine_bad_answer", "vLLM returned no log-probabilities of the prompt")
            if isinstance(request, Scoring):
                return Scored(likelihoods[0], first.scored, len(first.tokens))
            return Chosen(_softmax(likelihoods), len(first.tokens))
        row = outputs[0].outputs[0].logprobs[0]
        return Chosen(_softmax([row[token].logprob for token in first.params.logprob_token_ids]), len(first.tokens) + 1)

    def _writing(self, request: Completion) -> SamplingParams:
        return _params(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            # For vLLM a seed of -1 means no seed.
            seed=request.seed % (1 << 63) if request.temperature > 0 else None,
            stop=list(request.stop) or None,
            stop_token_ids=sorted(self.stops),
            # vLLM needs the text during generation only to find stop strings.
            detokenize=bool(request.stop),
        )

    def _scoring(self, prompt: list[int], continuation: list[int]) -> SubRequest:
        params = _scoring_params(skip_reading_prefix_cache=False)
        return SubRequest(prompt + continuation, params, len(continuation))

    def _completed(self, request: Completion, tokens: list[int], prompt_tokens: int) -> Completed:
        """Decode all tokens at once with transformers; vLLM's incremental decoding can give a different text."""
        ended = next((n for n, token in enumerate(tokens) if token in self.stops), None)
        tokens = tokens if ended is None else tokens[:ended]
        text, stopped = self._cut(tokens, request)
        while stopped and len(tokens) > 1 and self._cut(tokens[:-1], request)[1]:
            tokens = tokens[:-1]
        return Completed(text, "stop" if stopped or ended is not None else "length", prompt_tokens, len(tokens))

    def _cut(self, tokens: list[int], request: Completion) -> tuple[str, bool]:
        return cut_at_stop(self.tokenizer.decode(tokens, skip_special_tokens=True), request.stop)

    def _continuation(self, text: str, max_tokens: int = 0) -> list[int]:
        if text not in self._continuations:
            self._continuations[text] = self.encoder.text(text)
        tokens = self._continuations[text]
        if not tokens:
            raise EngineError("an empty continuation cannot be scored")
        return tokens[:max_tokens] if max_tokens else tokens

    def _new_tokens(self, request: Request) -> int:
        """Tokens after the prompt, with the one that vLLM always generates."""
        if isinstance(request, Completion):
            return request.max_tokens
        if isinstance(request, Scoring):
            return len(self._continuation(request.continuation, request.max_tokens)) + 1
        answers = [self._continuation(answer) for answer in request.answers]
        return 1 if _distinct_tokens(answers) else max(map(len, answers)) + 1


def _params(**given: Any) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 1, "temperature": 0.0} | given, output_kind=RequestOutputKind.FINAL_ONLY)


def _scoring_params(skip_reading_prefix_cache: bool) -> SamplingParams:
    """Parameters that return the log-probabilities of the prompt's tokens.

    vLLM computes none for tokens from its prefix cache, so by default it does not use the cache for such requests. Here
    only those at the end are needed, so the shared prefix may come from the cache; ``SubRequest.likelihood`` checks
    whether the cache covered scored tokens.
    """
    return _params(
        prompt_logprobs=0,
        flat_logprobs=True,
        detokenize=False,
        skip_reading_prefix_cache=skip_reading_prefix_cache,
    )


def _distinct_tokens(answers: Sequence[Sequence[int]]) -> bool:
    """Whether each answer is a single token, all different: then one pass gives the probabilities of all."""
    return len({tuple(a) for a in answers}) == len(answers) <= MAX_LOGPROB_TOKEN_IDS and all(
        len(a) == 1 for a in answers
    )


def _softmax(likelihoods: Sequence[float]) -> tuple[float, ...]:
    top = max(likelihoods)
    weights = [math.exp(likelihood - top) for likelihood in likelihoods]
    return tuple(weight / math.fsum(weights) for weight in weights)
