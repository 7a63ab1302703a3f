"""What a publisher sends again after ``kill -9``: ``python benchmarks/publish_kill.py --files 900 --gigabytes 2``.

A folder of as many files is published to a local hub through a door that counts bytes; the publisher is killed when
it has sent a share, and run again. Needs three times the size on the disk.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from built_set import built  # noqa: E402
from counting_proxy import counted  # noqa: E402
from local_hub_fixture import RunningHub, start  # noqa: E402

TAGS = ("fi", "id", "th", "tr", "vi", "bn", "hi", "sw", "ta", "ur")
REPO = "kill/set"
# What the publisher remembers: the same machine, or another one.
HOMES = {"same machine": "one", "another machine": "two"}


def publisher(hub: RunningHub, folder: Path, home: str, **env: str) -> subprocess.Popen[str]:
    """A publisher in a process of its own."""
    command = [sys.executable, "-m", "x_instruction", "hub", "push-dataset", str(folder), REPO, "--yes"]
    return subprocess.Popen(command, env=hub.env(home=home, **env), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def measure(folder: Path, total: int, share: float, mode: str, home: str) -> str:
    """One kill and one more run; a row of the table."""
    env = {"HF_HUB_DISABLE_XET": "1"} if mode == "lfs" else {}
    with tempfile.TemporaryDirectory() as place, start(Path(place)) as hub, counted(hub.endpoint) as door:
        seen = dataclasses.replace(hub, endpoint=door.endpoint)
        killed = publisher(seen, folder, "one", **env)
        while door.sent < total * share:
            assert killed.poll() is None, "the publisher ended before it was killed"
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        first = door.sent
        began = time.monotonic()
        again = publisher(seen, folder, HOMES[home], **env)
        out, _ = again.communicate()
        assert again.returncode == 0, "the second run failed"
        assert out
        seconds = time.monotonic() - began
        twice = door.sent - total
        return (
            f"| {mode} | {home} | {first / 1e6:,.0f} | {(door.sent - first) / 1e6:,.0f} | {twice / 1e6:,.1f} "
            f"| {twice / total:.2%} | {seconds:.0f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=900)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--share", type=float, default=0.5, help="of the bytes, after which the publisher is killed")
    parser.add_argument("--modes", default="xet,lfs")
    parser.add_argument("--homes", default="same machine")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        each = given.files // len(TAGS)
        # Parquet packs hexadecimal digits to half their size.
        chars = int(given.gigabytes * 1e9 / (each * len(TAGS)) * 2)
        folder = built(Path(place) / "set", TAGS, rows=each, rows_per_file=1, chars=chars)
        files = list(folder.rglob("*.parquet"))
        total = sum(path.stat().st_size for path in files)
        sys.stdout.write(f"{len(files)} files, {total / 1e9:.2f} GB\n\n")
        sys.stdout.write("| mode | again from | MB sent before | MB sent after | MB sent twice | share | seconds |\n")
        sys.stdout.write("|---|---|---:|---:|---:|---:|---:|\n")
        for mode in given.modes.split(","):
            for home in given.homes.split(","):
                sys.stdout.write(measure(folder, total, given.share, mode, home) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
