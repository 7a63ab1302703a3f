"""Render chat templates in a process of their own, with limits of processor time and memory.

A chat template comes with a model and is a program. The sandbox of jinja keeps it from files and from the interpreter,
but not from nested loops that take years, from ``9**(9**9)``, or from a text that doubles until the memory is full. The
system ends this process at its limits, and the next template starts it again. It renders with the function of
transformers, for all models of its parent.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

# Processor time for a part of the conversations. A template takes less than a millisecond for each.
SECONDS = 20
# Conversations of a part at most, and the characters after which it ends.
_PART, _FULL = 256, 4_000_000
# Address space that templates may take, and the longest text, in characters.
_MEMORY, _LONGEST = 1 << 30, 16_000_000
# Characters of the reason why a template fails.
_REASON = 300

Turns = Sequence[tuple[str, str]]


class TemplateRefused(Exception):
    """A template cannot be used, or not with this conversation."""


class TemplateFailed(Exception):
    """The process that renders a template has ended: mostly because the template takes too long."""


def render(template: str, conversations: Sequence[Turns], variables: Mapping[str, Any]) -> list[str]:
    """The text of each conversation.

    Args:
        template: the chat template.
        conversations: role and content of the messages of each.
        variables: what the template knows beside the messages.

    Raises:
        TemplateRefused: the template raises an error, or needs too much memory.
        TemplateFailed: the template takes too long.
    """
    process = _process(os.getpid())
    return [text for part in _parts(conversations) for text in process.render(template, part, variables)]


def _parts(conversations: Sequence[Turns]) -> Iterator[list[Turns]]:
    part: list[Turns] = []
    size = 0
    for turns in conversations:
        part.append(turns)
        size += sum(len(content) for _, content in turns)
        if len(part) == _PART or size >= _FULL:
            yield part
            part, size = [], 0
    if part:
        yield part


# A forked process has a process of its own: two that share a pipe would read each other's texts.
@cache
def _process(parent: int) -> _Process:
    return _Process(parent)


class _Process:
    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        atexit.register(self._end)

    def render(self, template: str, conversations: Sequence[Turns], variables: Mapping[str, Any]) -> list[str]:
        messages = [[{"role": role, "content": content} for role, content in turns] for turns in conversations]
        asked = {"template": template, "conversations": messages, "variables": variables, "seconds": SECONDS}
        with self._lock:
            try:
                answer = self._answer(json.dumps(asked).encode() + b"\n")
            except BaseException:
                # Interrupted: the next text that comes would be that of this template.
                self._end()
                raise
        if "error" in answer:
            raise TemplateRefused(answer["error"])
        return list(answer["texts"])

    def _answer(self, line: bytes) -> dict[str, Any]:
        if self._running is not None and self._running.poll() is not None:
            self._end()
        if self._running is None:
            # By its path and without a folder in front of those of packages: neither a file of the working folder nor
            # one beside this module is imported. In a session of its own: Ctrl-C is for the parent, and the process
            # ends when the parent has.
            self._running = subprocess.Popen(
                [sys.executable, "-P", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        stdin, stdout = self._running.stdin, self._running.stdout
        assert stdin is not None
        assert stdout is not None
        with contextlib.suppress(BrokenPipeError):
            # If the process has ended, there is no answer.
            stdin.write(line)
            stdin.flush()
        # A process that is killed leaves a part of a line.
        if (found := stdout.readline()).endswith(b"\n"):
            return dict(json.loads(found))
        if (code := self._running.wait()) == -signal.SIGXCPU:
            raise TemplateFailed(
                f"it does not finish within {SECONDS} s of processor time; use another model, or correct the template "
                "in its folder"
            )
        raise TemplateFailed(
            f"the process that renders it ended with code {code}; run the same command again, and use another model if "
            "this happens again"
        )

    def _end(self) -> None:
        if self._running is not None and self._parent == os.getpid():
            self._running.kill()
            self._running.communicate()
            self._running = None


def _serve() -> None:
    """Answer each line of the standard input, until its end."""
    import resource

    from transformers.utils.chat_template_utils import render_jinja_template

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # Libraries may have taken any address space: those of GPUs take gigabytes, and each thread takes some.
        taken = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, taken + _MEMORY)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        # The system ends the process at the limit, even inside one operation.
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + asked["seconds"])
        sys.stdout.buffer.write(_answer(render_jinja_template, asked) + b"\n")
        sys.stdout.buffer.flush()


def _limit(what: int, value: int) -> None:
    """Set a limit of this process, within that of its user or batch system."""
    import resource

    _, most = resource.getrlimit(what)
    resource.setrlimit(what, (value if most == resource.RLIM_INFINITY else min(value, most), most))


def _answer(render_jinja_template: Any, asked: Mapping[str, Any]) -> bytes:
    from jinja2.exceptions import TemplateError

    try:
        texts, _ = render_jinja_template(
            conversations=asked["conversations"], chat_template=asked["template"], **asked["variables"]
        )
        if (longest := max(map(len, texts))) > _LONGEST:
            raise ValueError(f"its text has {longest:,} characters, expected at most {_LONGEST:,}")
        # No tokenizer takes a lone surrogate, which has no UTF-8.
        return json.dumps({"texts": texts}, ensure_ascii=False).encode()
    # Bounded by the sandbox, but a program all the same.
    except (
        TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        # A template writes the text of its errors, too.
        reason, *_ = str(error).strip().splitlines() or [type(error).__name__]
        return json.dumps({"error": reason[:_REASON]}).encode()


if __name__ == "__main__":
    _serve()
