"""Connect to a Ray cluster, and look at its nodes.

Left alone, Ray tries for minutes to reach a cluster that is not there. So the port is tried first.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from x_instruction.errors import EngineError, MissingExtra, RecipeError
from x_instruction.pipeline.on import ADDRESS
from x_instruction.processes import alive

# Seconds to wait for the host and port of a cluster.
_TIMEOUT = 1.0
# Bytes. Only names, settings and reports go through the object store.
_OBJECT_STORE = 80 * 2**20
# Set in the environment of the processes of a cluster that a run starts: the PID of the run.
_STARTED_BY = "X_INSTRUCTION_RAY_DRIVER"
# What an HTTP/2 client sends first. A server answers with a settings frame, whose fourth byte is 4. gRPC is HTTP/2.
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def check_address(address: str) -> str:
    """Find the cluster without connecting to it.

    Args:
        address: ``HOST:PORT`` to join a cluster on one of its nodes, ``ray://HOST:PORT`` for the Ray client. If empty,
            the cluster of ``RAY_ADDRESS``, or the one that runs on this machine.

    Returns:
        The address; empty if no cluster runs on this machine.

    Raises:
        MissingExtra: Ray is not installed.
        EngineError: no Ray cluster answers at the address.
        RecipeError: ``RAY_ADDRESS`` is no address.
    """
    # Importing it takes a second.
    if find_spec("ray") is None:
        raise MissingExtra("ray", "ray")
    given = os.environ.get("RAY_ADDRESS", "")
    if not address and given not in ("", "auto", "local"):
        address = _from_environment(given)
    if not address and given != "local":
        address = _running_here()
        # The file may be left by a cluster that was killed.
        return address if address and not _fault(address) else ""
    fault = address and _fault(address)
    if fault:
        raise EngineError(
            f"no Ray cluster answers at {address}: {fault}; check the address, or start a cluster with "
            "`ray start --head`"
        )
    return address


def connect(address: str) -> bool:
    """Connect to a cluster. If no address is given and no cluster runs on this machine, one is started.

    Args:
        address: see ``check_address``.

    Returns:
        Whether the connection is new. If not, this process was connected before, and stays connected.

    Raises:
        EngineError: no cluster answers, or its version of Ray or Python is another one.
    """
    address = check_address(address)
    import ray

    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
        _end_leftovers()
        os.environ[_STARTED_BY] = str(os.getpid())
    try:
        with _own_signals():
            ray.init(address or "local", **options)
        # The switch that Ray's debugger uses. Otherwise the log of a lost node is printed between lines of progress.
        ray._private.worker._worker_logs_enabled = False
    except (RuntimeError, ConnectionError, ImportError, ValueError, SystemExit, ray.exceptions.RayError) as error:
        ray.shutdown()
        raise EngineError(
            f"cannot use the Ray cluster at {address or 'this machine'}: {' '.join(str(error).split())}"
        ) from None
    finally:
        os.environ.pop(_STARTED_BY, None)
    return True


def nodes() -> list[dict[str, float]]:
    """The resources of each node that is alive, such as ``CPU`` and ``GPU``."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def places(cpus: int, gpus: int) -> int:
    """How many workers the nodes have room for, busy places included.

    Args:
        cpus, gpus: of one worker.
    """
    return sum(
        int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) // gpus if gpus else float("inf"))) for node in nodes()
    )


def _from_environment(given: str) -> str:
    if not ADDRESS.fullmatch(given):
        raise RecipeError(f"RAY_ADDRESS is {given!r}, expected HOST:PORT or ray://HOST:PORT")
    return given


def _running_here() -> str:
    """The address that ``ray start`` writes to a file; empty if there is none."""
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    with contextlib.suppress(OSError):
        return (folder / "ray" / "ray_current_cluster").read_text("utf-8").strip()
    return ""


def _end_leftovers() -> None:
    """End what is left of clusters that ``connect`` started: Ray's agents outlive a driver that is killed."""
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            found = re.search(rb"(?:^|\0)%s=([0-9]+)\0" % _STARTED_BY.encode(), file.read_bytes())
            if found and not alive(int(found[1])):
                os.kill(int(file.parent.name), signal.SIGKILL)


def _fault(address: str) -> str:
    """Why an address is not that of a Ray cluster; empty if it may be one."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT) as connection:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return ""
            connection.sendall(_HTTP2)
            answer = connection.recv(9)
    except TimeoutError:
        return f"no answer within {_TIMEOUT:g} second"
    except OverflowError:
        return "a port is at most 65535"
    except OSError as error:
        return error.strerror or str(error)
    return "" if answer[3:4] == b"\x04" else "another program answers on this port"


@contextlib.contextmanager
def _own_signals() -> Any:
    """Keep the handler of SIGTERM, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
