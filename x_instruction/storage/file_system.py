"""Which file system a folder is on."""

from __future__ import annotations

import os
from pathlib import Path

# Kinds of file systems that several machines share, beside NFS, SMB and those in user space.
_NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "fuse", "gfs2", "glusterfs", "gpfs", "lustre", "ocfs2", "orangefs"),
    *("panfs", "virtiofs", "wekafs"),
}


def is_network(folder: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether a folder is on a network file system.

    Args:
        folder: the folder, or where it will be.
        mounts: the table of mounted file systems; without it, no folder is.
    """
    try:
        lines = [line.split() for line in mounts.read_text("utf-8").splitlines()]
    except OSError:
        return False
    found = os.path.realpath(folder)
    # In the table, spaces are octal. Of two that are mounted on one folder, the later one is seen.
    table = [(point.replace("\\040", " ").rstrip("/"), kind) for _, point, kind, *_ in lines]
    holders = [(len(point), kind) for point, kind in table if found == point or found.startswith(f"{point}/")]
    kind = max(reversed(holders), key=lambda holder: holder[0], default=(0, ""))[1]
    return kind in _NETWORK or kind.startswith(("fuse.", "nfs", "smb"))
