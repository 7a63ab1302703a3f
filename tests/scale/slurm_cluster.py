"""A Slurm cluster on this machine: munge, a controller and nodes, without systemd, in one folder.

As root, with Debian's packages ``slurm-wlm`` and ``munge``. Also by hand, until Enter is pressed::

    python tests/scale/slurm_cluster.py /tmp/here
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from x_instruction.processes import alive

PROGRAMS = ("munged", "slurmctld", "slurmd")
_PATH = f"{os.environ['PATH']}:/usr/sbin"
_CONFIGURATION = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MaxArraySize={max_array}
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SlurmdTimeout=10
KillWait=5
SlurmdParameters=config_overrides
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """A cluster that runs.

    Args:
        folder: for its configuration, keys, spools and logs.
        nodes: number of nodes, of one CPU each.
        max_array: ``MaxArraySize``, one above the largest index of an array.
    """

    def __init__(self, folder: Path, nodes: int = 2, max_array: int = 1001) -> None:
        self.folder = folder
        self.nodes = [f"n{number + 1}" for number in range(nodes)]
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (folder / name).mkdir(parents=True)
        self.configuration = folder / "slurm.conf"
        host, (port, *ports) = socket.gethostname(), _free_ports(nodes + 1)
        lines = [_CONFIGURATION.format(host=host, port=port, folder=folder, max_array=max_array).strip()]
        for node, own in zip(self.nodes, ports, strict=True):
            address = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={own}"
            lines.append(f"NodeName={node} {address} CPUs=1 RealMemory=4000 State=UNKNOWN")
        self.configuration.write_text("\n".join(lines) + "\n")
        self.environment = {**os.environ, "SLURM_CONF": str(self.configuration), "PATH": _PATH}

    def start(self) -> None:
        """Start everything, and wait until the nodes are idle."""
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (self.folder / "munge.key").chmod(0o400)
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid"}
        files |= {"log-file": "munged.log", "seed-file": "munge.seed"}
        self.command("munged", "--force", *(f"--{name}={self.folder / file}" for name, file in files.items()))
        self.command("slurmctld", "-f", str(self.configuration))
        for node in self.nodes:
            self.start_node(node)
        self.wait_until_idle()

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self.command("slurmd", "-f", str(self.configuration), "-N", node)

    def wait_until_idle(self) -> None:
        """Wait until every node is free."""
        end = time.monotonic() + 60
        while self.command("sinfo", "-h", "-N", "-o", "%T").split() != ["idle"] * len(self.nodes):
            assert time.monotonic() < end, self.command("sinfo", "-N", "-o", "%N %T %E")
            time.sleep(0.1)

    def kill_node(self, node: str) -> None:
        """End the daemon of a node at once. What it runs continues."""
        process = self._process(f"slurmd-{node}")
        assert process, f"the daemon of {node} has ended already"
        os.kill(process, signal.SIGKILL)

    def command(self, *words: str) -> str:
        """Run a program of Slurm. Returns its standard output."""
        asked: dict[str, Any] = {"check": True, "env": self.environment, "stdin": subprocess.DEVNULL, "timeout": 60}
        if words[0] not in PROGRAMS:
            return subprocess.run(words, stdout=subprocess.PIPE, text=True, **asked).stdout
        # A daemon keeps open what it inherits, so its output is no pipe.
        with open(self.folder / "daemons.log", "ab") as log:
            subprocess.run(words, stdout=log, stderr=log, **asked)
        return ""

    def stop(self) -> None:
        """Cancel all jobs, and end what was started."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.command("scancel", "--user=root")
        names = [*(f"slurmd-{node}" for node in self.nodes), "slurmctld", "munged"]
        found = [self._process(name) for name in names]
        for process in filter(None, found):
            os.kill(process, signal.SIGTERM)
        end = time.monotonic() + 20
        for process in filter(None, found):
            while alive(process):
                if time.monotonic() > end:
                    os.kill(process, signal.SIGKILL)
                time.sleep(0.05)

    def _process(self, name: str) -> int | None:
        """The process of a daemon, or None if it has ended. A number may be in use again for another program."""
        file = self.folder / f"{name}.pid"
        process = int(file.read_text()) if file.exists() and file.read_text().strip() else None
        running = Path(f"/proc/{process}/comm")
        return process if running.exists() and running.read_text().strip() == name.partition("-")[0] else None


@contextlib.contextmanager
def cluster(folder: Path, nodes: int = 2, max_array: int = 1001) -> Iterator[Cluster]:
    """A cluster for the time of the block."""
    made = Cluster(folder, nodes, max_array)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    with cluster(Path(sys.argv[1]).resolve()) as here:
        input(f"export SLURM_CONF={here.configuration}")
