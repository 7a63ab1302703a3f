"""A judge over the openai engine with its request cache, as ``eval judge`` asks it; ``engine`` as fourth argument sends
the same requests with the engine alone."""

import sys
import tempfile
from pathlib import Path

from x_instruction.config.model import Model, Server
from x_instruction.engines import Completed, open_engine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.evaluation.judge.files import write_judgements
from x_instruction.evaluation.judge.protocols import judge, protocol
from x_instruction.evaluation.judge.verdicts import Comparison

url, requests, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
engine = open_engine(Model(name="m", engine="openai", server=Server(url=url, concurrency=concurrency)))
asked = protocol("x-instruction", retries=0)
comparisons = [
    Comparison(
        question_id=f"{n}",
        # The server counts requests with this mark.
        question=f'"p {n}" Explain why the harvest was late.',
        question_language="en",
        language="sw",
        systems=("a", "b"),
        answers=(f"Mavuno yalichelewa kwa sababu ya mvua. {n} " * 10, f"Sijui kwa nini. {n} " * 10),
    )
    for n in range(max(1, requests // 2))
]
if sys.argv[4:] == ["engine"]:
    kept = []
    judge(comparisons, asked, engine, lambda sent: kept.extend(sent) or [Completed("", "stop", 0, 0) for _ in sent])
    assert sum(isinstance(answer, Completed) for _, answer in engine.answer(kept)) == len(kept)
else:
    with tempfile.TemporaryDirectory() as folder:
        with RequestCache(Path(folder) / "cache.sqlite", engine, {}) as cache:
            judged = judge(comparisons, asked, engine, cache.ask)
        write_judgements(Path(folder), judged)
    assert all(judgement.forward.text and judgement.backward.text for (judgement,) in judged)
