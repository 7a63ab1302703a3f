"""What a Text Generation Inference server is and can do, found out before the first record is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from x_instruction.engines.remote import tgi_protocol
from x_instruction.engines.remote.http import Client, RequestRejected, RetriesExhausted
from x_instruction.engines.remote.openai_protocol import MISSHAPEN, first_choice
from x_instruction.errors import EngineError

# Tokens to list, in turn: a server lists 5 unless it was started with another --max-top-n-tokens.
_LISTS = (100, 20, 5, 1)
# A server may fail with a 500 on what it does not know: that need not be tried for long.
_RETRIES = 1
_PROBE = "1 2 3"
_CHAT = [{"role": "user", "content": "Say yes."}]
# Its characters and its bytes differ in number.
_MEASURE = "é 1 2"
_RIGHT = "is the address right, is it a Text Generation Inference server?"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server can do with its model.

    Args:
        counts: it tells a prompt's tokens.
        unit: what their offsets count: ``bytes``, ``characters`` or nothing.
        listed: most likely tokens that it lists.
        grammar: it can be held to the answers.
        prefill: it gives log-probabilities of a prompt.
        renders: it tells how the chat template writes a conversation.
        chat: how chat prompts go: ``rendered`` by /chat_tokenize and sent to /generate, ``routed`` to
            /v1/chat/completions, or not at all.
        bos: what a rendered prompt starts with and /generate puts in front anyway.
        chat_listed: most likely tokens that it lists on that route.
        notes: what it said of what it cannot do, by verb or path.
    """

    counts: bool = False
    unit: str = ""
    listed: int = 0
    grammar: bool = False
    prefill: bool = False
    renders: bool = False
    chat: str = ""
    bos: str = ""
    chat_listed: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def verbs(self) -> frozenset[str]:
        """Which of ``complete``, ``choose`` and ``score`` it can do."""
        score = bool(self.prefill and self.unit)
        found = {"complete": True, "choose": score or self.listed or self.chat_listed, "score": score}
        return frozenset(verb for verb, can in found.items() if can)

    def why(self, verb: str) -> str:
        """Why a verb is missing, in the server's words where it said something."""
        if verb == "choose":
            plain = "it lists no most likely tokens"
        elif not self.unit:
            plain = "/tokenize does not say where tokens start"
        else:
            plain = "it gives no log-probabilities of a prompt"
        said = self.notes.get("tokenize" if verb == "score" and not self.unit else verb)
        return f"{plain}, and said {said!r}" if said else plain


def limits(client: Client) -> tgi_protocol.Limits:
    """What ``/info`` says; the server's address may be given with ``/v1``, which is below it.

    Raises:
        EngineError: it cannot be reached, is no Text Generation Inference, or wants another key.
    """
    client.url = client.url.removesuffix("/v1").rstrip("/")
    try:
        return tgi_protocol.limits(client.now(client.get("/info")))
    except RequestRejected as error:
        raise EngineError(f"{client.url}/info answers {error.status} {error.message}; {_RIGHT}") from None
    except ValueError as error:
        raise EngineError(f"{client.url} is no Text Generation Inference server: {error}; {_RIGHT}") from None


class TgiServer:
    """The routes of one server.

    Args:
        client: knows the address.
        adapter: LoRA adapter that the server loads; None for the model alone.
    """

    def __init__(self, client: Client, adapter: str | None) -> None:
        self.client = client
        self.adapter = adapter

    async def generate(
        self, inputs: str, parameters: Mapping[str, Any], stream: bool = False, retries: int | None = None
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """What it writes after a text, and the headers of the answer."""
        body = {"inputs": inputs, "parameters": {**tgi_protocol.adapted(self.adapter), **parameters}}
        path, read = ("/generate_stream", tgi_protocol.last_event) if stream else ("/generate", None)
        answer, headers = await self.client.exchange(path, body, retries, read)
        if not isinstance(answer, dict):
            raise TypeError(f"{path} answers no object")
        return answer, headers

    async def tokenize(self, inputs: str, retries: int | None = None) -> Sequence[Mapping[str, Any]]:
        """The tokens that a text has as a prompt, what the tokenizer puts around it included."""
        found: list[dict[str, Any]] = await self.client.post("/tokenize", {"inputs": inputs}, retries)
        return [{"id": int(t["id"]), "start": int(t["start"]), "stop": int(t["stop"])} for t in found]

    async def render(self, messages: Sequence[Mapping[str, str]], retries: int | None = None) -> tuple[str, list[Any]]:
        """A conversation as the chat template writes it, and its tokens."""
        answer = await self.client.post("/chat_tokenize", {"messages": list(messages)}, retries)
        return str(answer["templated_text"]), list(answer["tokenize_response"])

    async def chat(self, body: Mapping[str, Any], retries: int | None = None) -> Mapping[str, Any]:
        """The first choice of an answer to a conversation, with ``usage`` beside it."""
        named = {"model": self.adapter or "tgi", **body}
        return first_choice(await self.client.post("/v1/chat/completions", named, retries))


def probe(server: TgiServer) -> Abilities:
    """What the server can do.

    Raises:
        EngineError: it writes nothing at all, or wants another key.
    """
    try:
        found: Abilities = server.client.now(_Probing(server).all())
    except MISSHAPEN as error:
        raise EngineError(
            f"{server.client.url} answers in another shape than its API ({type(error).__name__} {error}); {_RIGHT}"
        ) from None
    return found


class _Probing:
    """The probes, each one token; what a server refuses is noted."""

    def __init__(self, server: TgiServer) -> None:
        self.server = server
        self.notes: dict[str, str] = {}
        self.renders = False

    async def all(self) -> Abilities:
        if await self.generate("complete") is None:
            url, said = self.server.client.url, self.notes["complete"]
            raise EngineError(f"{url} completes no prompt: it said {said!r}")
        counts, unit = await self.unit()
        listed, grammar = await self.listed()
        answer = await self.generate("score", decoder_input_details=True)
        prefill = answer["details"].get("prefill") or [] if answer else []
        chat, bos, chat_listed = await self.chat(counts)
        return Abilities(
            counts=counts,
            unit=unit,
            listed=listed,
            grammar=grammar,
            prefill=len(prefill) > 1 and prefill[-1]["logprob"] is not None,
            renders=self.renders,
            chat=chat,
            bos=bos,
            chat_listed=chat_listed,
            notes=self.notes,
        )

    async def generate(self, verb: str, **more: Any) -> dict[str, Any] | None:
        """The answer to one token more; None when it is refused."""
        try:
            answer, _ = await self.server.generate(_PROBE, {"max_new_tokens": 1, **more}, retries=_RETRIES)
            return answer if isinstance(answer.get("details"), dict) else {**answer, "details": {}}
        except (RequestRejected, RetriesExhausted, *MISSHAPEN) as error:
            self.note(verb, error)
            return None

    async def unit(self) -> tuple[bool, str]:
        """Whether it counts tokens, and what their offsets count."""
        try:
            found = await self.server.tokenize(_MEASURE, _RETRIES)
        except (RequestRejected, RetriesExhausted, *MISSHAPEN) as error:
            self.note("tokenize", error)
            return False, ""
        end = max((token["stop"] for token in found), default=0)
        return True, {len(_MEASURE.encode()): "bytes", len(_MEASURE): "characters"}.get(end, "")

    async def listed(self) -> tuple[int, bool]:
        """How many of the most likely tokens it lists, and whether it takes a grammar."""
        for number in _LISTS:
            answer = await self.generate("choose", top_n_tokens=number)
            if answer and answer["details"].get("top_tokens"):
                held = await self.generate("grammar", top_n_tokens=number, grammar=tgi_protocol.only(["1", "2"]))
                return number, held is not None
        return 0, False

    async def chat(self, counts: bool) -> tuple[str, str, int]:
        """How chat prompts go, what they start with, and how many tokens are listed after them."""
        try:
            text, tokens = await self.server.render(_CHAT, _RETRIES)
            ids = [token["id"] for token in tokens]
            self.renders = True
            for bos in dict.fromkeys(("", tokens[0]["text"])) if counts else ():
                sent = text.removeprefix(bos)
                if [token["id"] for token in await self.server.tokenize(sent, _RETRIES)] == ids:
                    return "rendered", bos, 0
        except (RequestRejected, RetriesExhausted, *MISSHAPEN) as error:
            self.note("chat", error)
            if isinstance(error, RequestRejected) and error.status == 422:
                return "", "", 0
        return await self.routed()

    async def routed(self) -> tuple[str, str, int]:
        """The same for the route of OpenAI's API."""
        one = {"messages": _CHAT, "max_tokens": 1, "temperature": 0.0}
        try:
            await self.server.chat(one, _RETRIES)
        except (RequestRejected, RetriesExhausted, *MISSHAPEN) as error:
            self.note("chat", error)
            return "", "", 0
        # The API's own limit is 5.
        for number in (5, 1):
            try:
                choice = await self.server.chat({**one, "logprobs": True, "top_logprobs": number}, _RETRIES)
            except (RequestRejected, RetriesExhausted, *MISSHAPEN) as error:
                self.note("choose", error)
                continue
            if (choice.get("logprobs") or {}).get("content"):
                return "routed", "", number
        return "routed", "", 0

    def note(self, verb: str, error: Exception) -> None:
        said = error.failed.message if isinstance(error, RetriesExhausted) else str(error)
        self.notes[verb] = f"{error.status} {said}" if isinstance(error, RequestRejected) else said
