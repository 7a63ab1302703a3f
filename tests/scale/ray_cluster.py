"""A Ray cluster of this machine, in a network namespace of its own: ``make test-ray``.

Ray replaces 127.0.0.1 by the address of the machine. Without other interfaces it keeps to the loopback, which also
shows that no network is needed.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from x_instruction.processes import alive

CLIENT = "ray://127.0.0.1:10001"
# Bytes: about the least that Ray takes.
_STORE = 80 * 2**20


def offline() -> bool:
    """Whether this process has the loopback interface alone."""
    return [name for _, name in socket.if_nameindex()] == ["lo"]


class SmallCluster:
    """A cluster: a head without CPUs, where drivers run, and nodes of one CPU and what Ray takes for a GPU.

    Args:
        nodes: number of nodes beside the head.

    Attributes:
        address: of the head.
        nodes: the other nodes.
    """

    def __init__(self, nodes: int) -> None:
        head = {"num_cpus": 0, "include_dashboard": False, "ray_client_server_port": 10_001}
        self._cluster = Cluster(initialize_head=True, head_node_args=head | {"object_store_memory": _STORE})
        self.address: str = self._cluster.address
        self.nodes = [self.add_node() for _ in range(nodes)]

    def add_node(self, **resources: int) -> Any:
        """Start a node."""
        return self._cluster.add_node(**{"num_cpus": 1, "num_gpus": 1, "object_store_memory": _STORE} | resources)

    def lose_node(self, node: Any) -> None:
        """End a node without warning."""
        self._cluster.remove_node(node, allow_graceful=False)

    @contextmanager
    def node_without(self, folder: Path) -> Iterator[None]:
        """A node that sees another folder in the place of one, as a machine does that does not share it."""
        options = ["--block", f"--address={self.address}", "--num-cpus=1", f"--object-store-memory={_STORE}"]
        node = f"mount -t tmpfs none {folder} && exec {sys.executable} -m ray.scripts.scripts start {' '.join(options)}"
        before = self._alive()
        process = subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", node], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while self._alive() == before:
                assert process.poll() is None
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(30)

    def _alive(self) -> int:
        return len(self._cluster.global_state._live_node_ids())

    def shutdown(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


def workers() -> set[int]:
    """PIDs of actors that make shards."""
    return {pid for pid in _processes() if b"ray::RayWorker" in _command(pid)}


def ray_processes() -> set[int]:
    """PIDs of Ray on this machine."""
    names = (b"ray::", b"/raylet", b"/gcs_server")
    return {pid for pid in _processes() if any(name in _command(pid).split(b"\0")[0] for name in names)}


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and alive(int(entry.name))]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
