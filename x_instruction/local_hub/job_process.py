"""The process around one job: mounts its volumes, starts its command, and ends it when the server says so or ends.

It runs as a script of its own, with the standard library alone. The first line of its standard input is a JSON object
with ``command``, ``volumes`` and ``scratch``; the command is ended when the input is closed, which a killed server does
as well. All that the job writes goes to the standard output.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

GRACE = 5.0
_NEW_NAMESPACE, _NEW_USER = 0x20000, 0x10000000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
# Of a mount that a user namespace may not change: nosuid, nodev, noexec, noatime.
_LOCKED = 2 | 4 | 8 | 1024
_SET_PARENT_DEATH_SIGNAL = 1


def mount_volumes(volumes: list[dict[str, Any]], scratch: Path) -> bool:
    """Mount folders in a namespace of this process; False where this machine does not allow it.

    The new root has everything of the old one and the mount points, so that nothing is created on the machine itself.
    """
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is None or not _new_namespace(libc):
        return False

    def mount(source: str, target: str, kind: str | None, flags: int) -> None:
        names = [name.encode() if name else None for name in (source, target, kind)]
        if libc.mount(*names, flags, None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)

    def fill(new: Path, old: Path, points: dict[str, Any]) -> None:
        for entry in os.scandir(old) if old.is_dir() else ():
            target = new / entry.name
            if entry.name in points:
                continue
            if entry.is_symlink():
                target.symlink_to(os.readlink(entry.path))
                continue
            target.mkdir() if entry.is_dir() else target.touch()
            with contextlib.suppress(PermissionError):
                mount(entry.path, str(target), None, _BIND | _REC)
        for name, point in points.items():
            (new / name).mkdir()
            if "source" not in point:
                fill(new / name, old / name, point["points"])
                continue
            mount(point["source"], str(new / name), None, _BIND)
            if point["read_only"]:
                flags = _RDONLY | (os.statvfs(new / name).f_flag & _LOCKED)
                mount("none", str(new / name), None, _BIND | _REMOUNT | flags)

    mount("none", "/", None, _REC | _PRIVATE)
    root = scratch / "root"
    root.mkdir()
    mount("none", str(root), "tmpfs", 0)
    fill(root, Path("/"), mount_points(volumes))
    here = Path.cwd()
    os.chroot(root)
    os.chdir(here)
    return True


def mount_points(volumes: list[dict[str, Any]]) -> dict[str, Any]:
    """The volumes as a tree of names, so that ``/mnt/in`` and ``/mnt/out`` share a folder."""
    tree: dict[str, Any] = {}
    for volume in volumes:
        points = tree
        *above, last = volume["target"].strip("/").split("/")
        for name in above:
            points = points.setdefault(name, {"points": {}})["points"]
        points[last] = volume
    return tree


def _new_namespace(libc: ctypes.CDLL) -> bool:
    user, group = os.getuid(), os.getgid()
    if not libc.unshare(_NEW_NAMESPACE):
        return True
    if libc.unshare(_NEW_USER | _NEW_NAMESPACE):
        return False
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


def without_mounts(text: str, volumes: list[dict[str, Any]]) -> str:
    """A path below a mount point as the path of the folder itself, also after ``--option=``."""
    option, equals, path = text.partition("=") if text.startswith("-") else ("", "", text)
    for volume in volumes:
        if path == volume["target"] or path.startswith(f"{volume['target']}/"):
            return f"{option}{equals}{volume['source']}{path[len(volume['target']) :]}"
    return text


def _end_with_this_process() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def main() -> int:
    """Run the job; the status of its command."""
    given = json.loads(sys.stdin.buffer.readline())
    command, volumes = given["command"], given["volumes"]
    if volumes and not mount_volumes(volumes, Path(given["scratch"])):
        _say("This machine does not allow mounts: paths of volumes are replaced in the command and the environment.")
        command = [without_mounts(text, volumes) for text in command]
        os.environ.update({name: without_mounts(text, volumes) for name, text in os.environ.items()})
    if shutil.which(command[0]) is None:
        _say(f"{command[0]}: command not found")
        return 127
    # The processes of a job are one session: they get signals together. Nothing else runs here yet, so that a function
    # between fork and exec is safe.
    job = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_this_process,
    )
    ended = threading.Event()

    def end_on_request() -> None:
        sys.stdin.buffer.read()
        _signal(job.pid, signal.SIGTERM)
        if not ended.wait(GRACE):
            _signal(job.pid, signal.SIGKILL)

    threading.Thread(target=end_on_request, daemon=True).start()
    code = job.wait()
    ended.set()
    # What the command started and left behind.
    _signal(job.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    os._exit(main())
