"""Which process a request came from, as tests that kill it ask."""

from __future__ import annotations

import socket
import subprocess
import sys

from scale.small_run import client_process

CONNECT = """
import socket, sys
client = socket.socket()
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
client.bind(("127.0.0.1", int(sys.argv[1])))
client.connect(("127.0.0.1", int(sys.argv[2])))
print("connected", flush=True)
sys.stdin.read()
"""


def test_connections_of_one_port_to_two_servers_are_told_apart() -> None:
    """The kernel gives the same port to clients of different servers."""
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as other:
        servers = [server.getsockname()[1] for server in (ours, other)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        clients = [
            subprocess.Popen(
                [sys.executable, "-c", CONNECT, str(port), str(server)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for server in servers
        ]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == b"connected\n"
        assert [client_process(port, server) for server in servers] == [client.pid for client in clients]
        with ours.accept()[0], other.accept()[0]:
            for client in clients:
                client.communicate()
            # The server's ends are still open, and what is left of the clients' belongs to no process.
            assert [client_process(port, server) for server in servers] == [None, None]
