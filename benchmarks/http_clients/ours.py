"""The openai engine with its request cache, as a stage uses it; ``engine`` as fourth argument leaves the cache out."""

import sys
import tempfile
from pathlib import Path

from x_instruction.config.model import Model, Server
from x_instruction.engines import Completed, Completion, open_engine
from x_instruction.engines.request_cache import RequestCache

url, requests, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
engine = open_engine(Model(name="m", engine="openai", server=Server(url=url, concurrency=concurrency)))
asked = [Completion((("user", f"p {n}"),), 8) for n in range(requests)]
if sys.argv[4:] == ["engine"]:
    answers = [answer for _, answer in engine.answer(asked)]
else:
    with tempfile.TemporaryDirectory() as folder, RequestCache(Path(folder) / "cache.sqlite", engine, {}) as cache:
        answers = cache.ask(asked)
assert sum(isinstance(answer, Completed) for answer in answers) == requests
