"""Places of a run: values of ``--on``, and Ray clusters, which are checked first."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from command_line import Say

from x_instruction.config.model import Model, Server
from x_instruction.engines.budget import Budget
from x_instruction.errors import EngineError, MissingExtra, RecipeError
from x_instruction.pipeline.executors import ray_cluster
from x_instruction.pipeline.executors.ray_cluster import check_address
from x_instruction.pipeline.executors.ray_worker import RaySpend
from x_instruction.pipeline.on import On, read_on


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local", On()),
        ("ray", On("ray")),
        ("ray:10.0.0.5:6379", On("ray", "10.0.0.5:6379")),
        ("ray:[::1]:6379", On("ray", "[::1]:6379")),
        ("ray://head.example:10001", On("ray", "ray://head.example:10001")),
        ("slurm", On("slurm")),
        ("hf-jobs", On("hf-jobs")),
    ],
)
def test_values_of_on_are_parsed(text: str, expected: On) -> None:
    assert read_on(text) == expected


@pytest.mark.parametrize(
    "text", ["ray:", "ray://", "ray:host", "ray://host", "ray:host:0", "ray:host:999999", "ray:/h:1"]
)
def test_invalid_addresses_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="expected ray:HOST:PORT on a node of the cluster, such as"):
        read_on(text)


@pytest.mark.parametrize("text", ["", "Ray", "kubernetes"])
def test_unknown_values_of_on_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=f"--on is '{text}', expected local, ray, "):
        read_on(text)


@contextmanager
def silent() -> Iterator[str]:
    """The address of a program that answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def web() -> Iterator[str]:
    """The address of a web server."""
    with HTTPServer(("127.0.0.1", 0), type("Handler", (BaseHTTPRequestHandler,), {"log_message": print})) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        thread.join()


@contextmanager
def closed() -> Iterator[str]:
    """An address at which no program listens."""
    with silent() as address:
        pass
    yield address


@pytest.mark.parametrize("client", ["", "ray://"])
@pytest.mark.parametrize(
    ("program", "fault"),
    [(closed, "Connection refused"), (silent, "no answer within 1 second"), (web, "another program answers")],
)
def test_an_address_without_a_cluster_is_reported_at_once(
    program: type[contextmanager[str]], fault: str, client: str
) -> None:
    with program() as address:
        started = time.monotonic()
        with pytest.raises(EngineError, match=f"no Ray cluster answers at {client}{address}: {fault}"):
            check_address(client + address)
        assert time.monotonic() - started < 20


def test_the_command_names_the_address(say: Say, tmp_path: Path) -> None:
    with closed() as address:
        code, _, errors = say("run", "demo", "--out", tmp_path / "run", "--on", f"ray:{address}")
    assert code == 1
    assert errors.startswith(f"error: no Ray cluster answers at {address}: Connection refused; check the address")
    assert not list((tmp_path / "run").rglob("*"))


def test_the_address_of_the_environment_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with closed() as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(EngineError, match=f"no Ray cluster answers at {address}"):
            check_address("")
    monkeypatch.setenv("RAY_ADDRESS", "head")
    with pytest.raises(RecipeError, match="RAY_ADDRESS is 'head', expected HOST:PORT"):
        check_address("")


def test_the_address_file_of_a_stopped_cluster_is_ignored(tmp_path: Path) -> None:
    assert check_address("") == ""
    (tmp_path / "ray").mkdir()
    with closed() as address:
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        assert check_address("") == ""


def test_a_missing_ray_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'x_instruction\[ray\]'"):
        check_address("127.0.0.1:6379")


def test_costs_of_other_workers_are_counted_once() -> None:
    spend = RaySpend()
    budget = Budget(10.0, spend, Model(name="m", engine="openai", server=Server(output_price=1e6)))
    budget.add(0, 4)
    spend.elsewhere = 5.0
    assert budget.left()
    budget.add(0, 1)
    assert not budget.left()
    assert (spend.here, spend.value) == (5.0, 10.0)
