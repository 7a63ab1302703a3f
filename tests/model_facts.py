"""Records of a training and an evaluation, for tests of cards and of publishing."""

from __future__ import annotations

from typing import Any

from x_instruction.cards.records import Evaluation, Training

CONFIGURATION = 'model = "tiny"\nlearning_rate = 1e-5\n# ```\n</details> <script>alert(1)</script>\n'


def training(**changes: Any) -> Training:
    values: dict[str, Any] = {
        "base_model": "facts-org/base",
        "base_revision": "0123abc",
        "base_license": "apache-2.0",
        "relation": "finetune",
        "dataset": "facts-org/set",
        "dataset_revision": "v1.0.0",
        "languages": ("th", "ur"),
        "rows": 64_000,
        "tokens": 31_000_000,
        "steps": 2_000,
        "seconds": 5_400.0,
        "hardware": "2 CPU cores",
        "hyperparameters": {"learning_rate": 1e-5, "epochs": 2, "schedule": "linear"},
        "example": 'How is "rice" grown?\nSay it in one sentence.',
        "loss": 1.234,
        "software": {"transformers": "5.23.0", "torch": "2.13.0"},
        "configuration": CONFIGURATION,
    }
    return Training(**values | changes)


def evaluation(**changes: Any) -> Evaluation:
    values: dict[str, Any] = {
        "dataset": "facts-org/questions",
        "dataset_revision": "v2",
        "language": "th",
        "metric": "win_rate",
        "value": 0.53,
        "rows": 80,
        "date": "2026-11-20",
        "notes": "judged in both orders",
    }
    return Evaluation(**values | changes)
