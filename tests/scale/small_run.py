"""A small run that asks a scripted server, to be made in any place: three languages of four shards each.

The answers follow from the requests alone, so wherever the run is made its bytes are the same.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from engines import openai_server

from x_instruction import records
from x_instruction.config.recipe import Recipe
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.progress import NullProgress, Progress
from x_instruction.storage.run_folder import RunFolder

LANGUAGES = ("fi", "th", "bn")
SHARDS = 4
# Two candidates for each of ten passages of each language, and a rating of each candidate.
REQUESTS = 2 * 2 * 10 * len(LANGUAGES)
# Called with the process that sent a request, and the body.
Seen = Callable[[int | None, dict[str, Any]], None]
# What the attempts at a shard decide, and not its content.
_OF_ATTEMPTS = {"seconds", "requests_sent", "prompt_tokens", "output_tokens", "cost", "checksum"}


def write_recipe(path: Path, url: str) -> Path:
    """Write the recipe of the run.

    Args:
        path: the TOML file to write.
        url: of the server, such as that of ``OpenAIServer``.
    """
    text = openai_server.write_recipe(path, url).read_text("utf-8")
    for old, new in (
        ('name = "test"\nlanguages = ["fi", "th"]', f'name = "small"\nlanguages = {json.dumps(LANGUAGES)}'),
        ("shard_size = 5", "shard_size = 3, passages = 10"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    return path


def make(
    recipe: Recipe,
    root: Path,
    workers: int = 1,
    until: str = "curated",
    progress: Progress | None = None,
    **more: Any,
) -> RunFolder:
    """Make the run, or continue it. The last stage takes longer than all others, since it loads an encoder."""
    return execute(recipe, root, workers, False, until, progress or NullProgress(), **more)


def requests(server: openai_server.OpenAIServer) -> int:
    """How often the server was asked for the work itself, without the probes of what it can do."""
    return sum(not _is_probe(body) for _, body in list(server.asked))


class Watched(openai_server.OpenAIServer):
    """A server that shows each request of the work, and the process that sent it, to a function first.

    Args:
        seen: called with the process and the body of the request. It may kill the process. The process is None if it
            has ended: requests that were sent together arrive after the first of them had it killed.
    """

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    async def _handle(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        body = await request.json() if request.body_exists else {}
        if body and not _is_probe(body):
            ends = [request.transport.get_extra_info(name)[1] for name in ("peername", "sockname")]
            self.seen(client_process(*ends), body)
        return await super()._handle(request)


def client_process(port: int, server: int) -> int | None:
    """The process at the other end of a connection from this machine, or None if it has ended.

    Never 0, which ``os.kill`` takes for all processes of the caller's group.

    Args:
        port: of the client. Connections to other servers may have the same one.
        server: port of the server.
    """
    lines = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    ports = [tuple(int(end.split(":")[1], 16) for end in line[1:3]) for line in lines]
    # A connection that no process holds any more has the inode 0.
    inodes = {line[9] for line, ends in zip(lines, ports, strict=True) if ends == (port, server)} - {"0"}
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for handle in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(handle.readlink()) in sockets:
                return int(handle.parts[2])
    return None


def _is_probe(body: dict[str, Any]) -> bool:
    return "Say yes" in str(body) or "1 2 3" in str(body)


def same_bytes(expected: Path, found: Path, until: str = "curated") -> None:
    """Compare two folders of a run: all Parquet files and indexes byte by byte, and reports but for their attempts.

    Args:
        expected: a whole run, of which stages after ``until`` are left out.
        found: a run that was made until then.
        until: the last stage.
    """
    files, others = _contents(expected, until), _contents(found, "curated")
    assert files.keys() == others.keys(), sorted(files.keys() ^ others.keys())
    assert any(name.startswith(until) for name in files)
    for name, content in files.items():
        assert others[name] == content, f"{name} differs"


def _contents(root: Path, until: str) -> dict[str, Any]:
    stages = list(records.SHARDS)[: list(records.SHARDS).index(until) + 1]
    found = [path for stage in stages for path in (root / stage).rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): _content(path) for path in found}


def _content(path: Path) -> Any:
    if not path.name.endswith(".report.json"):
        return path.read_bytes()
    table = json.loads(path.read_text("utf-8"))
    return {name: value for name, value in table.items() if name not in _OF_ATTEMPTS}
