"""The vLLM engine: a model in this process, with vLLM's scheduler kept full of requests.

vLLM batches requests dynamically, so an answer may differ in its last bits from run to run. A plan is therefore one
batch that is not atomic: after an interruption only the missing requests are sent again. Prompts are sent in the order
of their tokens, so that prompts with a common prefix are close together and hit vLLM's prefix cache.
"""

from __future__ import annotations

import atexit
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

from x_instruction.config.model import Model
from x_instruction.engines import Batch, Failed, Request, Result, always
from x_instruction.engines.local.prompt_encoder import PromptEncoder
from x_instruction.engines.models import PLAIN, PLAIN_TOKENIZER, locate
from x_instruction.errors import EngineError, MissingExtra, NotCapable

try:
    # Before any import of vllm: this module sets the environment variables that vLLM reads on import.
    from x_instruction.engines.local import vllm_model  # isort: skip
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig
    from vllm.exceptions import VLLMClientError, VLLMServerError
    from vllm.inputs.engine import tokens_input

    from x_instruction.engines.local import vllm_adapter
    from x_instruction.engines.local.vllm_requests import SubRequest, VllmRequests
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "vllm", "vllm") from error

# Requests in flight, as a multiple of what vLLM runs at once: enough that its scheduler never waits for more.
_AHEAD = 2


@dataclass(slots=True)
class _InFlight:
    """A request in flight, as one or several requests to vLLM.

    Args:
        position: position in the batch.
        request: the request.
        parts: the requests to vLLM.
        outputs: vLLM's outputs so far, by position in ``parts``.
    """

    position: int
    request: Request
    parts: list[SubRequest]
    outputs: dict[int, Any] = field(default_factory=dict)


class VllmEngine:
    """A causal language model in vLLM."""

    capabilities = frozenset({"complete", "choose", "score"})

    _loaded: ClassVar[VllmEngine | None] = None

    def __init__(self, settings: Model) -> None:
        vllm_model.check_version()
        self.settings = settings
        self._files = locate(settings.name, settings.revision)
        self.model, self.revision = self._files.name, self._files.revision
        self._adapter = vllm_adapter.find(settings, self._files.folder)
        if self._adapter:
            self.model = f"{self.model}+{self._adapter.name}"
            self.revision = f"{self.revision}+{self._adapter.revision}"
            if not self._adapter.modules:
                self.capabilities = frozenset({"complete", "choose"})
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._files.folder, **PLAIN_TOKENIZER)
            stops = _stops(str(self._files.folder), tokenizer)
        except vllm_model.CANNOT as error:
            reason = vllm_model.reason(error)
            raise EngineError(f"cannot load the tokenizer of {settings.name!r}: {reason}") from error
        self._numbers = count()
        self._llm: Any = None
        llm = self._load()
        encoder = PromptEncoder(tokenizer, self.model, settings.enable_thinking)
        self.truncate, self.chat = encoder.truncate, encoder.chat
        self.context = int(llm.llm_engine.model_config.max_model_len)
        self.window = _AHEAD * int(llm.llm_engine.vllm_config.scheduler_config.max_num_seqs)
        self.halved = False
        self._requests = VllmRequests(encoder, self.model, stops, self.context)

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """One batch of all requests, sorted so that prompts with a common prefix are next to each other.

        Raises:
            EngineError: none of the prompts fits into the model's context.
        """
        if not requests:
            return []
        encoded = self._requests.encode_all(requests)
        problems = (self._requests.too_long(request) for request in requests)
        first = next(problems)
        if first and all(problems):
            raise EngineError(f"{first}: lower passage_tokens or response_tokens")
        rank = {prompt: position for position, prompt in enumerate(sorted(encoded, key=encoded.__getitem__))}
        rows = sorted(range(len(requests)), key=lambda row: (rank[requests[row].prompt], row))
        return [Batch(tuple(rows), atomic=False)]

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        """Answer requests in the order in which vLLM finishes them.

        Raises:
            EngineError: vLLM itself failed. Answers yielded before remain valid.
        """
        engine = self._load().llm_engine
        queue = deque(enumerate(requests))
        # By vLLM's request id: the request in flight, and which of its parts this is.
        in_flight: dict[str, tuple[_InFlight, int]] = {}
        sending = True
        # Half of what vLLM runs at once, where that is too much for the memory.
        window = max(1, self.window // _AHEAD // 2) if self.halved else self.window
        try:
            while True:
                while queue and len(in_flight) < window and (sending := sending and should_continue()):
                    new = _InFlight(*queue.popleft(), parts=[])
                    if failed := self._send(new, in_flight):
                        yield new.position, failed
                if not in_flight:
                    return
                for output in engine.step():
                    if output.finished and (done := self._receive(output, in_flight)):
                        outputs = [done.outputs[n] for n in range(len(done.parts))]
                        yield done.position, self._requests.result(done.request, done.parts, outputs)
        except VLLMServerError as error:
            # The engine core is dead: unload it, so that the next call loads the model again.
            in_flight.clear()
            self.close()
            raise EngineError(f"vLLM failed on {self.model}: {vllm_model.reason(error)}") from error
        finally:
            if in_flight:
                engine.abort_request(list(in_flight))

    def close(self) -> None:
        """Release the model's memory. The next request loads the model again."""
        if self._llm is not None:
            llm, self._llm = self._llm, None
            vllm_model.unload(llm)
            atexit.unregister(self.close)
        if VllmEngine._loaded is self:
            VllmEngine._loaded = None

    def _load(self) -> Any:
        """The loaded model. Only one engine is loaded at a time, since vLLM reserves its share of memory per model."""
        if self._llm is None:
            if VllmEngine._loaded is not None:
                VllmEngine._loaded.close()
            self._llm = vllm_model.load(self.settings, self._files.folder, self._adapter)
            VllmEngine._loaded = self
            # Without an explicit shutdown, a model that is split over processes keeps the interpreter from exiting.
            atexit.register(self.close)
        return self._llm

    def _send(self, new: _InFlight, in_flight: dict[str, tuple[_InFlight, int]]) -> Failed | None:
        """Send all parts of a request to vLLM; a failure if vLLM rejects one of them."""
        if problem := self._requests.too_long(new.request):
            return Failed("engine_too_long", problem)
        sent: list[str] = []
        try:
            new.parts = self._requests.parts(new.request)
            for number, part in enumerate(new.parts):
                sent.append(self._add(part))
                in_flight[sent[-1]] = (new, number)
        except (VLLMClientError, ValueError) as error:
            self._llm.llm_engine.abort_request(sent)
            for name in sent:
                del in_flight[name]
            return Failed("engine_refused", vllm_model.reason(error))
        return None

    def _add(self, part: SubRequest) -> str:
        if part.scored and "score" not in self.capabilities:
            raise NotCapable(
                f"vLLM cannot score more than one token with {self.model}, whose adapter changes the head or experts: "
                "merge the adapter into the model"
            )
        name = str(next(self._numbers))
        adapter = self._adapter.request if self._adapter else None
        self._llm.llm_engine.add_request(name, tokens_input(part.tokens), part.params, lora_request=adapter)
        return name

    def _receive(self, output: Any, in_flight: dict[str, tuple[_InFlight, int]]) -> _InFlight | None:
        """Store the output of a part. Returns its request once all parts have an output."""
        request, number = in_flight.pop(output.request_id)
        part = request.parts[number]
        # vLLM's prefix cache covered scored tokens, for which it then computed no likelihoods: send the part again.
        if part.scored and not part.params.skip_reading_prefix_cache and part.likelihood(output) is None:
            request.parts[number] = part.without_prefix_cache()
            in_flight[self._add(request.parts[number])] = (request, number)
            return None
        request.outputs[number] = output
        return request if len(request.outputs) == len(request.parts) else None


def _stops(folder: str, tokenizer: Any) -> frozenset[int]:
    """End tokens as transformers uses them: those of the generation config and the tokenizer's own."""
    try:
        settings = GenerationConfig.from_pretrained(folder)
    except OSError:
        settings = GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder, **PLAIN))
    listed = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    return frozenset(int(token) for token in [*listed, tokenizer.eos_token_id] if token is not None)
