"""The vLLM engine: a model in this process, its scheduler kept full of requests.

vLLM mixes requests as they come and go, so an answer may differ in its last bits from run to run, and a batch is one
long stream of which only what is missing is asked again. Prompts are sent in the order of their tokens: what starts
alike stands together, where vLLM's prefix cache still holds the start.
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
from x_instruction.engines.models import locate
from x_instruction.errors import EngineError, MissingExtra, NotCapable

try:
    # First: it sets what vLLM reads from the environment when it is imported.
    from x_instruction.engines.local import vllm_model  # isort: skip
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig
    from vllm.exceptions import VLLMClientError, VLLMServerError
    from vllm.inputs.engine import tokens_input

    from x_instruction.engines.local import vllm_adapter
    from x_instruction.engines.local.vllm_requests import Piece, Requests
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "vllm", "vllm") from error

# Requests under way, in multiples of what vLLM runs at once: enough that it never waits for the next.
_AHEAD = 2


@dataclass(slots=True)
class _Asked:
    """A request under way."""

    position: int
    request: Request
    pieces: list[Piece]
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
            tokenizer = AutoTokenizer.from_pretrained(self._files.folder)
            stops = _stops(str(self._files.folder), tokenizer)
        except vllm_model.CANNOT as error:
            reason = vllm_model.reason(error)
            raise EngineError(f"cannot load the tokenizer of {settings.name!r}: {reason}") from error
        self._numbers = count()
        self._llm: Any = None
        llm = self._load()
        self.chat = bool(tokenizer.chat_template)
        self.context = int(llm.llm_engine.model_config.max_model_len)
        self.window = _AHEAD * int(llm.llm_engine.vllm_config.scheduler_config.max_num_seqs)
        self._requests = Requests(tokenizer, self.model, stops, self.context)

    def truncate(self, text: str, tokens: int) -> str:
        """The longest start of the text that has at most this many tokens."""
        return self._requests.truncate(text, tokens)

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """One stream of all requests, prompts that start alike next to each other.

        Raises:
            EngineError: no prompt fits into the model's context.
        """
        if not requests:
            return []
        encoded = self._requests.encode_all(requests)
        problems = (self._requests.too_long(request) for request in requests)
        first = next(problems)
        if first and all(problems):
            raise EngineError(f"{first}: lower passage_tokens or response_tokens")
        places = {prompt: place for place, prompt in enumerate(sorted(encoded, key=encoded.__getitem__))}
        rows = sorted(range(len(requests)), key=lambda row: (places[requests[row].prompt], row))
        return [Batch(tuple(rows), atomic=False)]

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        """Answers as vLLM finishes them.

        Raises:
            EngineError: vLLM itself failed; what was answered before stands.
        """
        engine = self._load().llm_engine
        waiting = deque(enumerate(requests))
        under_way: dict[str, tuple[_Asked, int]] = {}
        going = True
        try:
            while True:
                while waiting and len(under_way) < self.window and (going := going and should_continue()):
                    asked = _Asked(*waiting.popleft(), pieces=[])
                    if failed := self._send(asked, under_way):
                        yield asked.position, failed
                if not under_way:
                    return
                for output in engine.step():
                    if output.finished and (done := self._receive(output, under_way)):
                        yield (
                            done.position,
                            self._requests.result(
                                done.request, done.pieces, [done.outputs[n] for n in range(len(done.pieces))]
                            ),
                        )
        except VLLMServerError as error:
            # Whatever is left of it is given up; who asks again has it loaded anew.
            under_way.clear()
            self.close()
            raise EngineError(f"vLLM failed on {self.model}: {vllm_model.reason(error)}") from error
        finally:
            if under_way:
                engine.abort_request(list(under_way))

    def close(self) -> None:
        """Give the model's memory back; it is loaded again when it is asked again."""
        if self._llm is not None:
            llm, self._llm = self._llm, None
            vllm_model.unload(llm)
            atexit.unregister(self.close)
        if VllmEngine._loaded is self:
            VllmEngine._loaded = None

    def _load(self) -> Any:
        """The model, loaded. One at a time: vLLM takes its whole share of the memory for each."""
        if self._llm is None:
            if VllmEngine._loaded is not None:
                VllmEngine._loaded.close()
            self._llm = vllm_model.load(self.settings, self._files.folder, self._adapter)
            VllmEngine._loaded = self
            # Left to the interpreter, a model that is split over processes keeps this one from ending.
            atexit.register(self.close)
        return self._llm

    def _send(self, asked: _Asked, under_way: dict[str, tuple[_Asked, int]]) -> Failed | None:
        """Ask vLLM for every piece of a request; why not, if it does not take one."""
        if problem := self._requests.too_long(asked.request):
            return Failed("engine_too_long", problem)
        sent: list[str] = []
        try:
            asked.pieces = self._requests.pieces(asked.request)
            for number, piece in enumerate(asked.pieces):
                sent.append(self._add(piece))
                under_way[sent[-1]] = (asked, number)
        except (VLLMClientError, ValueError) as error:
            self._llm.llm_engine.abort_request(sent)
            for name in sent:
                del under_way[name]
            return Failed("engine_refused", vllm_model.reason(error))
        return None

    def _add(self, piece: Piece) -> str:
        if piece.scored and "score" not in self.capabilities:
            raise NotCapable(
                f"vLLM reads no likelihoods of more than a token from {self.model}, whose adapter changes the head or "
                "experts: merge the adapter into the model"
            )
        name = str(next(self._numbers))
        adapter = self._adapter.request if self._adapter else None
        self._llm.llm_engine.add_request(name, tokens_input(piece.tokens), piece.params, lora_request=adapter)
        return name

    def _receive(self, output: Any, under_way: dict[str, tuple[_Asked, int]]) -> _Asked | None:
        """Take in the output of a piece; its request, once that is complete."""
        asked, number = under_way.pop(output.request_id)
        piece = asked.pieces[number]
        if piece.scored and not piece.params.skip_reading_prefix_cache and piece.likelihood(output) is None:
            asked.pieces[number] = piece.afresh()
            under_way[self._add(asked.pieces[number])] = (asked, number)
            return None
        asked.outputs[number] = output
        return asked if len(asked.outputs) == len(asked.pieces) else None


def _stops(folder: str, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a text, as transformers has them: of the generation settings, and the tokenizer's own."""
    try:
        settings = GenerationConfig.from_pretrained(folder)
    except OSError:
        settings = GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder))
    listed = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    return frozenset(int(token) for token in [*listed, tokenizer.eos_token_id] if token is not None)
