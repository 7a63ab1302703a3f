"""The batch engine: requests are written to files, and results are read from files hours later.

The files are in OpenAI's batch format (https://platform.openai.com/docs/api-reference/batch), which
``vllm run-batch`` and hosted services process. The engine itself answers nothing: requests that are not in the request
cache are pending until ``x-instruction batch read`` imports their results. Requests and answers have the same form as
on a live server, see ``openai_protocol``.
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

# Number of log-probabilities to request, since there is no server to probe: hosted services return up to 5 for plain
# prompts and 20 for chat prompts, vLLM 20 for both.
_LOGPROBS, _CHAT_LOGPROBS = 5, 20


class BatchEngine:
    """A model that answers batch files."""

    capabilities = frozenset({"complete", "choose"})

    def __init__(self, settings: Model) -> None:
        if settings.adapter:
            raise EngineError("adapter is not supported with engine = 'batch': set name to the adapter's served name")
        self.model = settings.name
        self.revision = f"served:{settings.revision}"
        self.chat = settings.server.chat
        self.truncate = truncator(settings.server.tokenizer)
        extra: dict[str, Any] = json.loads(settings.server.extra_body or "{}")
        self.quirks = openai_protocol.ApiQuirks(
            settings.name,
            extra,
            _LOGPROBS,
            _CHAT_LOGPROBS,
            system_role=settings.server.system_role,
            enable_thinking=settings.enable_thinking,
        )

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """One batch of all requests.

        Raises:
            NotCapable: the requests cannot be written to a batch file.
        """
        if not isinstance(requests[0], (Completion, Choice)):
            raise NotCapable("batch files cannot score text: set refine.rater = 'prompted'")
        return single_batch(requests)

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        """Never returns an answer: the results have not been imported yet.

        Raises:
            EngineError: always; it says what to do.
        """
        raise EngineError(
            f"{len(requests):,} requests to {self.model} have no results yet: write them to files with "
            "`x-instruction batch write`, and import the results with `x-instruction batch read`"
        )


def request_line(custom_id: str, request: Request, quirks: openai_protocol.ApiQuirks) -> dict[str, Any]:
    """One line of a request file."""
    url = f"/v1{openai_protocol.path(request.prompt)}"
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": openai_protocol.body(request, quirks)}


def parse_result(request: Request, answer: Mapping[str, Any]) -> Result:
    """The result of a request in one line of a result file; a failure if the line has no usable answer."""
    response = answer.get("response")
    response = response if isinstance(response, dict) else {}
    body = response.get("body")
    if answer.get("error") or response.get("status_code") != 200:
        return _failed(response.get("status_code"), answer.get("error") or body or "no response")
    try:
        choice = openai_protocol.first_choice(body or {})
        tokens = openai_protocol.usage(choice)
    except openai_protocol.MALFORMED as error:
        return Failed("engine_bad_answer", openai_protocol.malformed(error))
    try:
        if isinstance(request, Completion):
            return openai_protocol.completed(request, choice)
        assert isinstance(request, Choice)
        logprobs = openai_protocol.top_logprobs(choice, request.prompt)
        matched = openai_protocol.match_answers(request.answers, logprobs)
        return openai_protocol.chosen(matched, request, logprobs, tokens)
    except (openai_protocol.NoLogprobs, NotCapable) as error:
        return Failed("engine_bad_answer", str(error), *tokens)
    except openai_protocol.MALFORMED as error:
        return Failed("engine_bad_answer", openai_protocol.malformed(error), *tokens)


def _failed(status: Any, error: Any) -> Failed:
    text = " ".join(openai_protocol.error_message(error).split())
    message = f"{status or ''} {text}".strip()[:240]
    if status in (408, 504):
        return Failed("engine_timeout", message)
    if isinstance(status, int) and 400 <= status < 500 and status not in (401, 402, 403, 409, 425, 429):
        return Failed(openai_protocol.rejection_reason(text), message)
    return Failed("engine_unavailable", message)
