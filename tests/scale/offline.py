"""Run Python with the loopback interface up: ``unshare --net python tests/scale/offline.py -m pytest ...``.

In a new network namespace it is down, and not every system has ``ip``.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys

_SET_FLAGS, _UP = 0x8914, 1

if __name__ == "__main__":
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP))
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
