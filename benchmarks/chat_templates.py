"""What it takes to render a chat template in a process of its own, against in this one.

python benchmarks/chat_templates.py [--prompts 2000]

Prints microseconds of a prompt: wall time, and CPU time of this process.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

from transformers.utils.chat_template_utils import render_jinja_template

from x_instruction.engines.local.chat_template import render

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VARIABLES = {"bos_token": "<s>", "add_generation_prompt": True}


def main() -> None:
    """Render the same prompts in three ways, twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=2_000)
    number = parser.parse_args().prompts
    prompts = [(("system", "Rules " * 30), ("user", f"Hello there {row} " * 100)) for row in range(number)]
    messages = [[{"role": role, "content": content} for role, content in prompt] for prompt in prompts]
    ways: dict[str, Callable[[], list[str]]] = {
        "in this process": lambda: [
            render_jinja_template(conversations=[one], chat_template=TEMPLATE, **VARIABLES)[0][0] for one in messages
        ],
        "in a process of its own, together": lambda: render(TEMPLATE, prompts, VARIABLES),
        "in a process of its own, one by one": lambda: [render(TEMPLATE, [one], VARIABLES)[0] for one in prompts],
    }
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    texts: list[list[str]] = []
    # The process starts with the first text.
    render(TEMPLATE, prompts[:1], VARIABLES)
    for _ in range(2):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            texts.append(way())
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            figures[name].append({"wall": round(1e6 * wall / number), "cpu": round(1e6 * cpu / number)})
    assert all(found == texts[0] for found in texts)
    json.dump(figures, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
