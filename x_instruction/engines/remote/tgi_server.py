"""A Text Generation Inference server: its routes, its limits and its probed capabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from x_instruction.engines.remote import tgi_protocol
from x_instruction.engines.remote.endpoints import Endpoint
from x_instruction.engines.remote.http import Client, RequestRejected, RetriesExhausted, unanswered
from x_instruction.engines.remote.openai_protocol import MALFORMED, first_choice, messages
from x_instruction.errors import EngineError

# Numbers of most likely tokens to try: a server returns up to 5 unless started with another --max-top-n-tokens.
_LOGPROBS = (100, 20, 5, 1)
# Some servers answer an unknown parameter with a 500, so retrying for long is useless.
_RETRIES = 3
_PROBE = "1 2 3"
_CHAT = (("system", "Answer with one word."), ("user", "Say yes."))
# Has different numbers of characters and bytes.
_OFFSETS_PROBE = "é 1 2"
_CHECK_ADDRESS = "check the address, and that it is a Text Generation Inference server"


@dataclass(frozen=True, slots=True)
class ServerCapabilities:
    """What a server supports for its model.

    Args:
        counts: /tokenize works.
        unit: unit of the token offsets: ``bytes``, ``characters``, or empty if unknown.
        logprobs: number of most likely tokens that /generate returns; 0 for none.
        grammar: accepts a grammar.
        prefill: returns log-probabilities of a prompt.
        renders: /chat_tokenize works.
        chat: how chat prompts are sent: ``rendered`` by /chat_tokenize for /generate, ``routed`` to
            /v1/chat/completions, or empty if not at all.
        bos: start of a rendered prompt that /generate adds by itself.
        chat_logprobs: number of most likely tokens that /v1/chat/completions returns.
        system_role: the chat template takes a system message.
        notes: the server's error messages about what it does not support, by capability or route.
    """

    counts: bool = False
    unit: str = ""
    logprobs: int = 0
    grammar: bool = False
    prefill: bool = False
    renders: bool = False
    chat: str = ""
    bos: str = ""
    chat_logprobs: int = 0
    system_role: bool = True
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def capabilities(self) -> frozenset[str]:
        """A subset of ``complete``, ``choose`` and ``score``."""
        score = bool(self.prefill and self.unit)
        supported = {"complete": True, "choose": score or self.logprobs or self.chat_logprobs, "score": score}
        return frozenset(name for name, yes in supported.items() if yes)

    def why_not(self, capability: str) -> str:
        """Why a capability is missing, with the server's error message if there was one."""
        if capability == "choose":
            reason = "it returns no most likely tokens"
        elif not self.unit:
            reason = "/tokenize returns no offsets of tokens"
        else:
            reason = "it returns no log-probabilities of a prompt"
        note = self.notes.get("tokenize" if capability == "score" and not self.unit else capability)
        return f"{reason} (its answer: {note!r})" if note else reason


def limits(
    client: Client, check: Callable[[tgi_protocol.Limits, str], None] = lambda limits, url: None
) -> tgi_protocol.Limits:
    """The server's limits from ``/info``. Removes ``/v1`` from the client's address, since the API is above it.

    Args:
        client: connects to the server, or to several of one model.
        check: called with the limits and the address of each server.

    Raises:
        EngineError: the server cannot be reached, is not Text Generation Inference, or rejects the key.
    """

    async def read(endpoint: Endpoint) -> tgi_protocol.Limits:
        endpoint.url = endpoint.url.removesuffix("/v1").rstrip("/")
        try:
            found = tgi_protocol.limits(await client.get(endpoint, "/info"))
        except RequestRejected as error:
            raise EngineError(f"{endpoint.url}/info answers {error.status} {error.message}: {_CHECK_ADDRESS}") from None
        except ValueError as error:
            raise EngineError(
                f"{endpoint.url} is not a Text Generation Inference server ({error}): {_CHECK_ADDRESS}"
            ) from None
        check(found, endpoint.url)
        return found

    return client.connect(read)


class TgiServer:
    """The routes of one server.

    Args:
        client: connects to the server.
        adapter: id of one of the server's LoRA adapters; None for the base model.
    """

    def __init__(self, client: Client, adapter: str | None) -> None:
        self.client = client
        self.adapter = adapter

    async def generate(
        self, inputs: str, parameters: Mapping[str, Any], stream: bool = False, retries: int | None = None
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Generate text after ``inputs``: the answer and its headers."""
        body = {"inputs": inputs, "parameters": {**tgi_protocol.common_parameters(self.adapter), **parameters}}
        path, read = ("/generate_stream", tgi_protocol.last_event) if stream else ("/generate", None)
        answer, headers = await self.client.exchange(path, body, retries, read)
        if not isinstance(answer, dict):
            raise TypeError(f"{path} returned {type(answer).__name__}, expected an object")
        return answer, headers

    async def tokenize(self, inputs: str, retries: int | None = None) -> Sequence[Mapping[str, Any]]:
        """The tokens of a text as a prompt, with the tokenizer's special tokens."""
        tokens: list[dict[str, Any]] = await self.client.post("/tokenize", {"inputs": inputs}, retries)
        return [{"id": int(t["id"]), "start": int(t["start"]), "stop": int(t["stop"])} for t in tokens]

    async def render(self, messages: Sequence[Mapping[str, str]], retries: int | None = None) -> tuple[str, list[Any]]:
        """A conversation rendered by the chat template, and its tokens."""
        answer = await self.client.post("/chat_tokenize", {"messages": list(messages)}, retries)
        return str(answer["templated_text"]), list(answer["tokenize_response"])

    async def chat(self, body: Mapping[str, Any], retries: int | None = None) -> Mapping[str, Any]:
        """The first choice of /v1/chat/completions, together with its ``usage``."""
        named = {"model": self.adapter or "tgi", **body}
        return first_choice(await self.client.post("/v1/chat/completions", named, retries))


def probe(server: TgiServer) -> ServerCapabilities:
    """Find out what the server supports, with requests of one token each.

    Raises:
        EngineError: the server generates nothing at all, or rejects the key.
    """
    try:
        capabilities: ServerCapabilities = server.client.run(_Probes(server).run())
    except MALFORMED as error:
        raise EngineError(
            f"{server.client.url} does not answer in the format of its API ({type(error).__name__} {error}): "
            f"{_CHECK_ADDRESS}"
        ) from None
    return capabilities


class _Probes:
    """The probes of one token each. Error messages of the server are collected in ``notes``."""

    def __init__(self, server: TgiServer) -> None:
        self.server = server
        self.notes: dict[str, str] = {}
        self.renders = False
        self.system_role = True

    async def run(self) -> ServerCapabilities:
        if await self.generate("complete") is None:
            url, note = self.server.client.url, self.notes["complete"]
            raise EngineError(f"{url} completes no prompt: it answered {note!r}")
        counts, unit = await self.offset_unit()
        logprobs, grammar = await self.logprobs()
        answer = await self.generate("score", decoder_input_details=True)
        prefill = answer["details"].get("prefill") or [] if answer else []
        chat, bos, chat_logprobs = await self.chat(counts)
        return ServerCapabilities(
            counts=counts,
            unit=unit,
            logprobs=logprobs,
            grammar=grammar,
            prefill=len(prefill) > 1 and prefill[-1]["logprob"] is not None,
            renders=self.renders,
            chat=chat,
            bos=bos,
            chat_logprobs=chat_logprobs,
            system_role=self.system_role,
            notes=self.notes,
        )

    async def generate(self, capability: str, **parameters: Any) -> dict[str, Any] | None:
        """Generate one token with these parameters; None if the server rejects them."""
        try:
            answer, _ = await self.server.generate(_PROBE, {"max_new_tokens": 1, **parameters}, retries=_RETRIES)
            return answer if isinstance(answer.get("details"), dict) else {**answer, "details": {}}
        except (RequestRejected, RetriesExhausted, *MALFORMED) as error:
            self.note(capability, error)
            return None

    async def offset_unit(self) -> tuple[bool, str]:
        """Whether /tokenize works, and the unit of its offsets."""
        try:
            tokens = await self.server.tokenize(_OFFSETS_PROBE, _RETRIES)
        except (RequestRejected, RetriesExhausted, *MALFORMED) as error:
            self.note("tokenize", error)
            return False, ""
        end = max((token["stop"] for token in tokens), default=0)
        return True, {len(_OFFSETS_PROBE.encode()): "bytes", len(_OFFSETS_PROBE): "characters"}.get(end, "")

    async def logprobs(self) -> tuple[int, bool]:
        """Number of most likely tokens that are returned, and whether a grammar is accepted."""
        for number in _LOGPROBS:
            answer = await self.generate("choose", top_n_tokens=number)
            if answer and answer["details"].get("top_tokens"):
                grammar = tgi_protocol.only(["1", "2"])
                restricted = await self.generate("grammar", top_n_tokens=number, grammar=grammar)
                return number, restricted is not None
        return 0, False

    async def chat(self, counts: bool) -> tuple[str, str, int]:
        """How chat prompts are sent, the start to remove from them, and the number of log-probabilities."""
        try:
            text, tokens = await self.rendered()
            ids = [token["id"] for token in tokens]
            self.renders = True
            # A rendered prompt may go to /generate if it gives the same tokens there, with or without its first token.
            for bos in dict.fromkeys(("", tokens[0]["text"])) if counts else ():
                sent = text.removeprefix(bos)
                if [token["id"] for token in await self.server.tokenize(sent, _RETRIES)] == ids:
                    return "rendered", bos, 0
        except (RequestRejected, RetriesExhausted, *MALFORMED) as error:
            self.note("chat", error)
            # The model has no chat template.
            if isinstance(error, RequestRejected) and error.status == 422:
                return "", "", 0
        return await self.routed()

    async def rendered(self) -> tuple[str, list[Any]]:
        """A conversation rendered by the chat template, with a system message if that is accepted."""
        try:
            return await self.server.render(messages(_CHAT, True), _RETRIES)
        except RequestRejected as error:
            if error.status != 422:
                raise
            self.system_role = False
            return await self.server.render(messages(_CHAT, False), _RETRIES)

    async def routed(self) -> tuple[str, str, int]:
        """The same for /v1/chat/completions."""
        for system_role in (True, False) if self.system_role else (False,):
            self.system_role = system_role
            body = {"messages": messages(_CHAT, system_role), "max_tokens": 1, "temperature": 0.0}
            try:
                await self.server.chat(body, _RETRIES)
                break
            except (RequestRejected, RetriesExhausted, *MALFORMED) as error:
                self.note("chat", error)
        else:
            return "", "", 0
        # The route accepts at most 5.
        for number in (5, 1):
            try:
                choice = await self.server.chat({**body, "logprobs": True, "top_logprobs": number}, _RETRIES)
            except (RequestRejected, RetriesExhausted, *MALFORMED) as error:
                self.note("choose", error)
                continue
            if (choice.get("logprobs") or {}).get("content"):
                return "routed", "", number
        return "routed", "", 0

    def note(self, capability: str, error: Exception) -> None:
        """Keep why a capability is missing.

        Raises:
            EngineError: the server did not answer, which says nothing about it.
        """
        if isinstance(error, RetriesExhausted) and not error.status and error.failed.reason != "engine_bad_answer":
            raise unanswered(self.server.client, error) from None
        message = error.failed.message if isinstance(error, RetriesExhausted) else str(error)
        self.notes[capability] = f"{error.status} {message}" if isinstance(error, RequestRejected) else message
