"""The batch engine: requests go into a file, answers come out of another one, hours later.

The file is OpenAI's batch format, which ``vllm run-batch`` and hosted services answer
(https://platform.openai.com/docs/api-reference/batch). The engine itself answers nothing: what the ledger does not know
waits until ``x-instruction batch read`` has brought it. Requests and answers look as on a live server, see ``wire``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from x_instruction.config.model import Model
from x_instruction.engines import Batch, Choice, Completion, Failed, Request, Result, always, single_batch
from x_instruction.engines.remote import openai_protocol
from x_instruction.engines.truncation import truncator
from x_instruction.errors import EngineError, NotCapable

# Log-probabilities to ask for where nobody can be asked how many are allowed: hosted services list 5 after a plain
# prompt and 20 in chat, vLLM 20 in both.
_LISTED, _CHAT_LISTED = 5, 20


class BatchEngine:
    """A model that is asked by files."""

    capabilities = frozenset({"complete", "choose"})

    def __init__(self, settings: Model) -> None:
        if settings.adapter:
            raise EngineError("a batch names an adapter as a model of its own: give that as the model's name")
        self.model = settings.name
        self.revision = f"served:{settings.revision}"
        self.chat = settings.server.chat
        self.truncate = truncator(settings.server.tokenizer)
        extra: dict[str, Any] = json.loads(settings.server.extra_body or "{}")
        self.quirks = openai_protocol.ApiQuirks(settings.name, extra, _LISTED, _CHAT_LISTED)

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """One batch: each answer comes by itself.

        Raises:
            NotCapable: requests of this kind have no place in a batch file.
        """
        if not isinstance(requests[0], (Completion, Choice)):
            raise NotCapable("a batch file cannot ask for the score of a text: use the rater 'prompted'")
        return single_batch(requests)

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        """Nothing: whoever asks has not brought the answers yet.

        Raises:
            EngineError: always; it says what to do.
        """
        raise EngineError(
            f"{len(requests):,} requests to {self.model} wait for answers: `x-instruction batch write` writes them "
            "into a file, and `x-instruction batch read` brings the answers"
        )


def request_line(custom_id: str, request: Request, quirks: openai_protocol.ApiQuirks) -> dict[str, Any]:
    """One line of a file of requests."""
    url = f"/v1{openai_protocol.path(request.prompt)}"
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": openai_protocol.body(request, quirks)}


def parse_result(request: Request, answer: Mapping[str, Any]) -> Result:
    """What a line of a file of results says to a request; a failure where it says nothing that can be used."""
    response = answer.get("response")
    response = response if isinstance(response, dict) else {}
    body = response.get("body")
    if answer.get("error") or response.get("status_code") != 200:
        return _failed(response.get("status_code"), answer.get("error") or body or "no response")
    try:
        choice = openai_protocol.first_choice(body or {})
        tokens = openai_protocol.usage(choice)
    except openai_protocol.MISSHAPEN as error:
        return Failed("engine_bad_answer", f"the answer has another shape: {type(error).__name__} {error}")
    try:
        if isinstance(request, Completion):
            return openai_protocol.completed(request, choice)
        assert isinstance(request, Choice)
        tops = openai_protocol.tops(choice, request.prompt)
        return openai_protocol.chosen(openai_protocol.matched(request.answers, tops), request, tops, tokens)
    except (openai_protocol.NoLogprobs, NotCapable) as error:
        return Failed("engine_bad_answer", str(error), *tokens)
    except openai_protocol.MISSHAPEN as error:
        return Failed("engine_bad_answer", f"the answer has another shape: {type(error).__name__} {error}", *tokens)


def _failed(status: Any, said: Any) -> Failed:
    text = " ".join(openai_protocol.said(said).split())
    message = f"{status or ''} {text}".strip()[:240]
    if status in (408, 504):
        return Failed("engine_timeout", message)
    if isinstance(status, int) and 400 <= status < 500 and status not in (401, 402, 403, 409, 425, 429):
        return Failed(openai_protocol.why_refused(text), message)
    return Failed("engine_unavailable", message)
