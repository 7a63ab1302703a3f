"""What a request is for vLLM, and what its output means: token ids and parameters in, results out."""

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
from x_instruction.engines.truncation import cut_at_stop, truncate_to_tokens
from x_instruction.errors import EngineError


@dataclass(frozen=True, slots=True)
class Piece:
    """One request to vLLM: all of ours, or one answer of a choice.

    Args:
        tokens: the prompt, and the continuation where one is scored.
        params: how to write or to read.
        scored: tokens at the end of ``tokens`` whose likelihood is wanted.
    """

    tokens: list[int]
    params: SamplingParams
    scored: int = 0

    def afresh(self) -> Piece:
        """The same, read anew from its first token."""
        return replace(self, params=_reading(skip_reading_prefix_cache=True))

    def likelihood(self, output: Any) -> float | None:
        """Log-likelihood of the scored tokens; None when the cache took them in, so that nothing was computed there."""
        rows = output.prompt_logprobs
        # The row before a token predicts it, so the row of the last token of the prompt has to be there, too.
        first = len(self.tokens) - self.scored - 1
        if (output.num_cached_tokens or 0) > first:
            return None
        if rows is None or rows.token_ids[-self.scored :] != self.tokens[-self.scored :]:
            return None
        return math.fsum(rows.logprobs[-self.scored :])


class Requests:
    """Requests of one model.

    Args:
        tokenizer: of the model, as transformers loads it.
        model: for messages.
        stops: tokens that end a text.
        context: the longest sequence.
    """

    def __init__(self, tokenizer: Any, model: str, stops: frozenset[int], context: int) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.stops = stops
        self.context = context
        self._encoded: dict[Prompt, list[int]] = {}
        self._continued: dict[str, list[int]] = {}

    def encode_all(self, requests: Sequence[Request]) -> dict[Prompt, list[int]]:
        """Token ids of every prompt; they, and those of continuations, are kept until the next call."""
        self._continued = {}
        self._encoded = {
            prompt: self.encode(prompt) for prompt in dict.fromkeys(request.prompt for request in requests)
        }
        return self._encoded

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt.

        Raises:
            EngineError: it is empty, or a chat for a model without a template.
        """
        if prompt in self._encoded:
            return self._encoded[prompt]
        if isinstance(prompt, str):
            encoded = list(self.tokenizer(prompt)["input_ids"])
            if not encoded:
                raise EngineError("an empty prompt cannot be continued")
            return encoded
        if not self.tokenizer.chat_template:
            raise EngineError(f"{self.model} has no chat template: use a plain prompt, or a model tuned for chat")
        messages = [{"role": role, "content": content} for role, content in prompt]
        return list(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))

    def truncate(self, text: str, tokens: int) -> str:
        """The longest start of the text that has at most this many tokens."""
        return truncate_to_tokens(
            text,
            tokens,
            lambda t: self.tokenizer(t, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"],
        )

    def too_long(self, request: Request) -> str | None:
        """Why a request does not fit into the context, if so."""
        prompt, new = len(self.encode(request.prompt)), self._wanted(request)
        if prompt + new <= self.context:
            return None
        return (
            f"a prompt of {prompt} tokens and {new} new ones do not fit into the {self.context} tokens of {self.model}"
        )

    def pieces(self, request: Request) -> list[Piece]:
        """What vLLM is asked for a request."""
        prompt = self.encode(request.prompt)
        if isinstance(request, Completion):
            return [Piece(prompt, self._writing(request))]
        if isinstance(request, Scoring):
            return [self._scoring(prompt, self._continuation(request.continuation, request.max_tokens))]
        answers = [self._continuation(answer) for answer in request.answers]
        if _one_each(answers):
            return [Piece(prompt, _params(logprob_token_ids=[token for (token,) in answers], detokenize=False))]
        return [self._scoring(prompt, answer) for answer in answers]

    def result(self, request: Request, pieces: Sequence[Piece], outputs: Sequence[Any]) -> Result:
        """What the outputs of its pieces say of a request."""
        for output in outputs:
            if output.outputs[0].finish_reason not in ("stop", "length"):
                return Failed("engine_bad_answer", f"vLLM ended with {output.outputs[0].finish_reason!r}")
        first = pieces[0]
        if isinstance(request, Completion):
            return self._completed(request, list(outputs[0].outputs[0].token_ids), len(first.tokens))
        if first.scored:
            found = [piece.likelihood(output) for piece, output in zip(pieces, outputs, strict=True)]
            likelihoods = [likelihood for likelihood in found if likelihood is not None]
            if len(likelihoods) < len(found):
                return Failed("engine_bad_answer", "vLLM gave no likelihoods")
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
            # vLLM takes -1 as no seed at all.
            seed=request.seed % (1 << 63) if request.temperature > 0 else None,
            stop=list(request.stop) or None,
            stop_token_ids=sorted(self.stops),
            # Text is needed while writing only where stops are looked for in it.
            detokenize=bool(request.stop),
        )

    def _scoring(self, prompt: list[int], continuation: list[int]) -> Piece:
        return Piece(prompt + continuation, _reading(skip_reading_prefix_cache=False), len(continuation))

    def _completed(self, request: Completion, tokens: list[int], prompt_tokens: int) -> Completed:
        """The text as transformers decodes it in one piece: vLLM decodes as it writes, which differs in odd places."""
        ended = next((n for n, token in enumerate(tokens) if token in self.stops), None)
        tokens = tokens if ended is None else tokens[:ended]
        text, stopped = self._cut(tokens, request)
        while stopped and len(tokens) > 1 and self._cut(tokens[:-1], request)[1]:
            tokens = tokens[:-1]
        return Completed(text, "stop" if stopped or ended is not None else "length", prompt_tokens, len(tokens))

    def _cut(self, tokens: list[int], request: Completion) -> tuple[str, bool]:
        return cut_at_stop(self.tokenizer.decode(tokens, skip_special_tokens=True), request.stop)

    def _continuation(self, text: str, max_tokens: int = 0) -> list[int]:
        if text not in self._continued:
            self._continued[text] = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        tokens = self._continued[text]
        if not tokens:
            raise EngineError("an empty continuation cannot be scored")
        return tokens[:max_tokens] if max_tokens else tokens

    def _wanted(self, request: Request) -> int:
        """Tokens after the prompt; vLLM always writes one."""
        if isinstance(request, Completion):
            return request.max_tokens
        if isinstance(request, Scoring):
            return len(self._continuation(request.continuation, request.max_tokens)) + 1
        answers = [self._continuation(answer) for answer in request.answers]
        return 1 if _one_each(answers) else max(map(len, answers)) + 1


def _params(**chosen: Any) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 1, "temperature": 0.0} | chosen, output_kind=RequestOutputKind.FINAL_ONLY)


def _reading(skip_reading_prefix_cache: bool) -> SamplingParams:
    """Likelihoods of the prompt's own tokens.

    vLLM computes none for what it takes from its prefix cache and so reads everything anew where they are asked for.
    Ours are wanted at the end alone, so the shared start may come from the cache; ``Piece.likelihood`` looks whether
    the cache reached farther.
    """
    return _params(
        prompt_logprobs=0,
        flat_logprobs=True,
        detokenize=False,
        skip_reading_prefix_cache=skip_reading_prefix_cache,
    )


def _one_each(answers: Sequence[Sequence[int]]) -> bool:
    """Whether all answers are single tokens, each another: one pass gives the probability of all."""
    return len({tuple(a) for a in answers}) == len(answers) <= MAX_LOGPROB_TOKEN_IDS and all(
        len(a) == 1 for a in answers
    )


def _softmax(likelihoods: Sequence[float]) -> tuple[float, ...]:
    top = max(likelihoods)
    weights = [math.exp(likelihood - top) for likelihood in likelihoods]
    return tuple(weight / math.fsum(weights) for weight in weights)
