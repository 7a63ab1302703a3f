"""What one engine answers to fixed requests, as JSON: ``python answers.py SETTINGS``, run by any interpreter.

SETTINGS is JSON: the recipe's model section. Kinds of requests that the engine cannot do are left out of the answer.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from x_instruction.config.model import Model, Server, Vllm
from x_instruction.engines import Choice, Completion, Engine, Request, Scoring, open_engine

PLAIN = (
    "The capital of France is",
    "Water boils at",
    "Q: What is 2 + 2?\nA:",
    "Once upon a time, a farmer",
    "Habari za asubuhi",
    "def fibonacci(n):\n",
    "The three primary colours are",
    "Title: How to cook rice\n\n",
    "1, 2, 3, 4,",
    "The opposite of hot is",
)
CHAT = ("What is the capital of Japan?", "Name three fruits.", "Say hello.")
CHOICES = (
    ("The capital of France is", (" Paris", " London", " Rome")),
    ("Fire is", (" hot", " cold")),
    ("Q: Is the sky blue? A:", (" Yes", " No", " Maybe")),
)
CONTINUATIONS = (
    ("The capital of France is", " Paris, a city on the river Seine."),
    ("Fire is", " hot and gives light."),
)
KINDS: dict[str, list[Request]] = {
    "complete": [Completion(prompt, 12) for prompt in PLAIN],
    "chat": [Completion((("user", prompt),), 12) for prompt in CHAT],
    "choose": [Choice(prompt, answers) for prompt, answers in CHOICES],
    "score": [Scoring(prompt, continuation) for prompt, continuation in CONTINUATIONS],
}


def answers(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Answers by kind, in the order of the requests."""
    found = {}
    for kind, requests in KINDS.items():
        if ("complete" if kind == "chat" else kind) not in engine.capabilities:
            continue
        by_row: dict[int, dict[str, Any]] = {}
        for batch in engine.plan(requests):
            for position, answer in engine.answer([requests[row] for row in batch.rows], batch.shared):
                by_row[batch.rows[position]] = dataclasses.asdict(answer)
        found[kind] = [by_row[row] for row in range(len(requests))]
    return found


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    given["server"] = Server(**given.get("server", {}))
    given["vllm"] = Vllm(**given.get("vllm", {}))
    print(json.dumps(answers(open_engine(Model(**given)))))
