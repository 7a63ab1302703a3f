"""A proxy in front of a server that counts the bytes it passes on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Counted:
    """Bytes so far in both directions, with the overhead of HTTP.

    Args:
        endpoint: address of the proxy.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.sent = 0
        self.received = 0
        self._lock = threading.Lock()

    def note(self, sent: int, received: int) -> None:
        """Add to the counts."""
        with self._lock:
            self.sent += sent
            self.received += received


@contextlib.contextmanager
def counted(endpoint: str) -> Iterator[Counted]:
    """A proxy in front of ``http://127.0.0.1:PORT``; through it, the server returns addresses of the proxy."""
    port = int(endpoint.rpartition(":")[2])
    door = socket.create_server(("127.0.0.1", 0))
    counts = Counted(f"http://127.0.0.1:{door.getsockname()[1]}")

    def let_in() -> None:
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=_carry, args=(client, server, counts, True), daemon=True).start()
            threading.Thread(target=_carry, args=(server, client, counts, False), daemon=True).start()

    thread = threading.Thread(target=let_in, daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        # Wakes the thread that waits in accept.
        door.shutdown(socket.SHUT_RDWR)
        door.close()
        thread.join()


def _carry(source: socket.socket, target: socket.socket, counts: Counted, sent: bool) -> None:
    # One side may be killed at any time: only close the connection to the other.
    with contextlib.suppress(OSError):
        while part := source.recv(1 << 16):
            target.sendall(part)
            counts.note(len(part) if sent else 0, 0 if sent else len(part))
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
    if sent:
        return
    source.close()
    target.close()
