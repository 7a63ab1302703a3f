"""Scripted judges behind a real OpenAI-compatible server: a reliable one, and one for each bias."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "engines"))

from openai_server import OpenAIServer

# Probability that the first answer is better, from the request and both answers; or text, which cannot be read.
Decide = Callable[[str, str, str], float | str]

_PARTS = {
    "request": re.compile(r"<request>\n(.*?)\n</request>", re.DOTALL),
    "first": re.compile(r"<reply(?:_a|1)>\n(.*?)\n</reply(?:_a|1)>", re.DOTALL),
    "second": re.compile(r"<reply(?:_b|2)>\n(.*?)\n</reply(?:_b|2)>", re.DOTALL),
}
# How this judge writes when it answers a request itself.
OWN = "Kama mwanafunzi mwenye bidii, ninajibu hivi. "


def always_first(request: str, first: str, second: str) -> float:
    return 0.9


def always_longest(request: str, first: str, second: str) -> float:
    return 0.5 if len(first) == len(second) else 0.9 if len(first) > len(second) else 0.1


def always_itself(request: str, first: str, second: str) -> float:
    mine = [text.startswith(OWN[:20]) for text in (first, second)]
    return noise(request, first, second) if mine[0] == mine[1] else 0.9 if mine[0] else 0.1


def always_whole(request: str, first: str, second: str) -> float:
    """Dislikes a text that ends inside a sentence, and otherwise guesses."""
    ends = [text.rstrip()[-1:] in ".!?" for text in (first, second)]
    return noise(request, first, second) if ends[0] == ends[1] else 0.9 if ends[0] else 0.1


def noise(request: str, first: str, second: str) -> float:
    return 0.9 if hashlib.sha256(f"{request}|{first}|{second}".encode()).digest()[0] % 2 else 0.1


def garbage(request: str, first: str, second: str) -> str:
    return "As both replies have merits, <score1>seven</score1>, it depends."


def wrong_language(right: Mapping[str, str]) -> Decide:
    """Prefers an answer in the wrong language, and otherwise guesses.

    Args:
        right: the language of every natural text.
    """

    def decide(request: str, first: str, second: str) -> float:
        wrong = [right.get(text, "") not in ("", _asked_for(request)) for text in (first, second)]
        return noise(request, first, second) if wrong[0] == wrong[1] else 0.9 if wrong[0] else 0.1

    return decide


def _asked_for(request: str) -> str:
    return request.rpartition("Answer in ")[2].rstrip(".")


def sound(natural: Mapping[str, str]) -> Decide:
    """Knows the response of each request, and thinks that all others are equal.

    Args:
        natural: the response by request.
    """

    def decide(request: str, first: str, second: str) -> float:
        good = natural.get(request)
        return 0.5 if (first == good) == (second == good) else 0.8 if first == good else 0.2

    return decide


class JudgeServer(OpenAIServer):
    """Answers judge's prompts by a function, and requests of people with text of its own.

    Args:
        decide: the judge.
        logprobs: whether it returns log-probabilities.
        latency: seconds before each answer.
        answer: answers a request, from the name of the model and the request; by default in a manner of its own.
        models: names of the models.
    """

    def __init__(
        self,
        decide: Decide,
        logprobs: bool = True,
        latency: float = 0,
        answer: Callable[[str, str], str] = lambda model, request: OWN + request[::-1],
        models: tuple[str, ...] = ("judge",),
    ) -> None:
        super().__init__(self._reply, models=models)
        self.answer = answer
        self.decide, self.logprobs, self.latency = decide, logprobs, latency
        self.judged: list[str] = []
        self.answered = 0

    def _reply(self, path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        if "logprobs" in body and body["logprobs"] and not self.logprobs:
            return 400, {"error": {"message": "logprobs are not supported"}}
        if not path.endswith("/chat/completions"):
            # A hosted judge: chat only.
            return (404, {"detail": "Not Found"}) if path.endswith("/completions") else None
        self.answered += 1
        # The server has one thread, so answers come one at a time.
        time.sleep(self.latency)
        text = "\n".join(message["content"] for message in body["messages"])
        parts = {name: found[1] for name, pattern in _PARTS.items() if (found := pattern.search(text))}
        if len(parts) < len(_PARTS):
            return 200, _answer(self.answer(body["model"], text), 0.5 if body.get("logprobs") else None)
        self.judged.append(text)
        p = self.decide(parts["request"], parts["first"], parts["second"])
        if isinstance(p, str):
            return 200, _answer(p, None)
        if "<score1>" in text:
            scores = round(10 * p), round(10 * (1 - p))
            return 200, _answer(f"<score1>{scores[0]}</score1>\n<score2>{scores[1]}</score2>", None)
        return 200, _answer("A" if p >= 0.5 else "B", p if body.get("logprobs") else None)


def _answer(text: str, p: float | None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    if p is not None:
        top = [{"token": letter, "logprob": math.log(share)} for letter, share in (("A", p), ("B", 1 - p))]
        choice["logprobs"] = {"content": [top[0] | {"top_logprobs": top}]}
    usage = {"prompt_tokens": 100, "completion_tokens": len(text) // 4}
    return {"object": "chat.completion", "choices": [choice], "usage": usage}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
