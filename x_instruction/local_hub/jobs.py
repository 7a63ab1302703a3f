"""Jobs: commands that a client posts, run as processes of this machine.

    folder/jobs/<namespace>/<id>/job.json      what was posted, and how far it is; no secret
                                 log.ndjson    what it wrote, a line of JSON each

There is no container: a job runs as the user of the server, with an environment of its own. A hardware flavor is only a
name. A job that still runs when the server ends is ended with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from x_instruction.local_hub.folder import now
from x_instruction.local_hub.names import is_name
from x_instruction.local_hub.refused import Refused
from x_instruction.storage.atomic import TempDir

ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
DEFAULT_SECONDS = 30 * 60
# Shorter values are left alone: they would black out ordinary words.
SHORTEST_SECRET = 6
HIDDEN = "*****"
_LAUNCHER = Path(__file__).with_name("job_process.py")
_LINE = 1 << 16
_ID = re.compile(r"[0-9a-f]{24}")
# Options of `uv run` that have a value, and those that have none and mean nothing to another interpreter.
_UV_VALUES = {"--with", "--with-requirements", "--python", "-p", "--index", "--index-url", "--extra-index-url"}
_UV_FLAGS = {"--no-project", "--isolated", "--quiet", "-q", "--no-progress", "--script", "-s"}


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder of a bucket, and where a job sees it.

    Args:
        described: as it was posted.
        source: the folder on this machine.
        target: the path that the job sees.
        read_only: whether the job may not write there.
    """

    described: dict[str, Any]
    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What was posted, without the values of secrets."""

    command: list[str]
    arguments: list[str]
    environment: dict[str, str]
    secrets: list[str]
    flavor: str
    image: str | None
    space: str | None
    seconds: int | None
    attempts: int
    labels: dict[str, str]
    volumes: list[Volume]


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is stored."""

    id: str
    namespace: str
    owner: str
    created: str
    spec: JobSpec
    stage: str = "SCHEDULING"
    message: str | None = None
    started: str | None = None
    finished: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it runs no further."""
        return self.stage in ENDED

    def describe(self) -> dict[str, Any]:
        """The job as the Hub describes it. Of secrets it says the names."""
        spec, end = self.spec, self.finished or now()
        running = _seconds(self.started, end) if self.started else None
        waited = _seconds(self.created, self.started) if self.started else None
        return {
            "id": self.id,
            "createdAt": self.created,
            "startedAt": self.started,
            "finishedAt": self.finished,
            "dockerImage": spec.image,
            "spaceId": spec.space,
            "command": spec.command,
            "arguments": spec.arguments,
            "environment": spec.environment,
            "secrets": dict.fromkeys(spec.secrets, HIDDEN),
            "flavor": spec.flavor,
            "timeout": spec.seconds,
            "retry": spec.attempts - 1,
            "labels": spec.labels,
            "volumes": [volume.described for volume in spec.volumes],
            "status": {"stage": self.stage, "message": self.message},
            "durations": {
                "schedulingSecs": waited,
                "runningSecs": running,
                "totalSecs": _seconds(self.created, end),
            },
            "owner": {"id": self.namespace, "name": self.namespace, "type": "user"},
            "initiator": {"type": "user", "id": self.owner, "name": self.owner},
        }


@dataclass(slots=True)
class _Running:
    """What is known of a job that has not ended, in memory alone."""

    endpoint: str
    secrets: dict[str, str]
    canceled: threading.Event = field(default_factory=threading.Event)
    process: subprocess.Popen[bytes] | None = None


class Jobs:
    """The jobs of the served folder.

    Args:
        root: where they are kept.
        scratch: for files on their way in.
        most: how many run at a time; the others wait.
        log_bytes: of what a job writes, how much is kept.
    """

    def __init__(self, root: Path, scratch: TempDir, most: int, log_bytes: int) -> None:
        self._root = root
        self._scratch = scratch
        self._log_bytes = log_bytes
        self._lock = threading.RLock()
        self._running: dict[str, _Running] = {}
        # Of ended jobs as well, so that they can be run again; gone when the server ends.
        self._secrets: dict[str, dict[str, str]] = {}
        self._pool = ThreadPoolExecutor(most, "job")
        self._jobs = {job.id: job for job in sorted(self._read(), key=lambda job: job.created)}

    def _read(self) -> Iterator[Job]:
        for path in sorted(self._root.glob("*/*/job.json")):
            table = json.loads(path.read_text("utf-8"))
            spec = table.pop("spec")
            job = Job(**table, spec=JobSpec(**spec | {"volumes": [Volume(**one) for one in spec["volumes"]]}))
            if not job.ended:
                job = replace(job, stage="ERROR", message="The server ended while the job ran", finished=now())
                self._write(job)
            yield job

    def _write(self, job: Job) -> None:
        self._scratch.write_json(self.folder(job) / "job.json", asdict(job))

    def _change(self, job_id: str, **changes: Any) -> Job:
        with self._lock:
            job = self._jobs[job_id] = replace(self._jobs[job_id], **changes)
            self._write(job)
            return job

    def folder(self, job: Job) -> Path:
        """The folder of a job."""
        return self._root / job.namespace / job.id

    def get(self, namespace: str, job_id: str) -> Job:
        """A job.

        Raises:
            Refused: 404.
        """
        job = self._jobs.get(job_id) if _ID.fullmatch(job_id) else None
        if job is None or job.namespace != namespace:
            raise Refused(404, "Job not found")
        return job

    def list(self, namespace: str) -> list[Job]:
        """The jobs of a namespace, the newest first."""
        with self._lock:
            return [job for job in reversed(self._jobs.values()) if job.namespace == namespace]

    def submit(self, namespace: str, owner: str, spec: JobSpec, values: dict[str, str], endpoint: str) -> Job:
        """Start a job, or let it wait for a free place.

        Args:
            namespace: whose job it is.
            owner: the account that posted it.
            spec: what to run.
            values: of its secrets.
            endpoint: address of this server, for clients within the job.

        Raises:
            Refused: 400, not a namespace.
        """
        if not is_name(namespace):
            raise Refused(400, f"{namespace!r} is not the name of a namespace")
        job = Job(secrets.token_hex(12), namespace, owner, now(), spec)
        with self._lock:
            self._jobs[job.id] = job
            self._write(job)
            self._secrets[job.id] = values
            self._running[job.id] = _Running(endpoint, values)
            self._pool.submit(self._run, job)
        return job

    def rerun(self, job: Job, owner: str, endpoint: str) -> Job:
        """Start a job with what another one was made of.

        Raises:
            Refused: 400, its secrets are gone.
        """
        values = self._secrets.get(job.id, {})
        if set(values) != set(job.spec.secrets):
            raise Refused(400, "the secrets of the job are gone, since the server was started again: post the job anew")
        return self.submit(job.namespace, owner, job.spec, values, endpoint)

    def label(self, job: Job, labels: dict[str, str]) -> Job:
        """Replace the labels of a job."""
        return self._change(job.id, spec=replace(self._jobs[job.id].spec, labels=labels))

    def cancel(self, job: Job) -> None:
        """End a job: TERM to its processes, and KILL after some seconds."""
        with self._lock:
            running = self._running.get(job.id)
            if running is None:
                return
            running.canceled.set()
            if running.process is None:
                self._change(job.id, stage="CANCELED", finished=now())
            else:
                _end(running.process)

    def close(self) -> None:
        """End all jobs, and wait until they have ended."""
        for job in list(self._jobs.values()):
            self.cancel(job)
        self._pool.shutdown()

    def _run(self, job: Job) -> None:
        running = self._running[job.id]
        try:
            for attempt in range(1, job.spec.attempts + 1):
                if running.canceled.is_set():
                    break
                code, timed_out = self._attempt(job, running)
                if running.canceled.is_set():
                    self._change(job.id, stage="CANCELED", finished=now())
                elif timed_out:
                    self._change(job.id, stage="ERROR", message="Job timeout", finished=now())
                    break
                elif not code:
                    self._change(job.id, stage="COMPLETED", message=None, finished=now())
                    break
                elif attempt == job.spec.attempts:
                    message = f"Job failed with exit code: {code}"
                    self._change(job.id, stage="ERROR", message=message, finished=now())
        except OSError as error:
            self._change(job.id, stage="ERROR", message=f"The job could not be run: {error}", finished=now())
        finally:
            with self._lock:
                del self._running[job.id]

    def _attempt(self, job: Job, running: _Running) -> tuple[int, bool]:
        """Run the command once: its status, and whether its time ran out."""
        folder = self.folder(job)
        home = folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        given = {
            "command": local_command([*job.spec.command, *job.spec.arguments]),
            "volumes": [asdict(volume) for volume in job.spec.volumes],
            "scratch": str(folder),
        }
        with open(folder / "log.ndjson", "ab") as log:
            self._log(log, f"===== Job started at {now()} =====")
            with self._lock:
                if running.canceled.is_set():
                    return 0, False
                process = running.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_LAUNCHER)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=self._environment(job, running, home),
                    cwd=home,
                    start_new_session=True,
                )
                assert process.stdout is not None
                self._change(job.id, stage="RUNNING", started=now())
            timed_out = threading.Event()
            timer = threading.Timer(job.spec.seconds or DEFAULT_SECONDS, _time_out, (process, timed_out))
            timer.start()
            try:
                _say(process, json.dumps(given).encode() + b"\n")
                with process.stdout as written:
                    self._copy_log(written, log, running.secrets)
                code = process.wait()
            finally:
                timer.cancel()
                _end(process)
        shutil.rmtree(home, ignore_errors=True)
        with contextlib.suppress(OSError):
            (folder / "root").rmdir()
        return code, timed_out.is_set()

    def _environment(self, job: Job, running: _Running, home: Path) -> dict[str, str]:
        own = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "HF_ENDPOINT": running.endpoint,
            "JOB_ID": job.id,
            "CPU_CORES": str(os.cpu_count() or 1),
        }
        return own | job.spec.environment | running.secrets

    def _copy_log(self, written: IO[bytes], log: IO[bytes], values: dict[str, str]) -> None:
        hidden = sorted((v for v in values.values() if len(v) >= SHORTEST_SECRET), key=len, reverse=True)
        kept = 0
        while line := written.readline(_LINE):
            kept += len(line)
            if kept > self._log_bytes:
                if kept - len(line) <= self._log_bytes:
                    self._log(log, f"===== More than {self._log_bytes} bytes: the rest of the log is left out =====")
                continue
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            for value in hidden:
                text = text.replace(value, HIDDEN)
            self._log(log, text)

    @staticmethod
    def _log(log: IO[bytes], text: str) -> None:
        log.write(json.dumps({"data": text, "timestamp": now()}, ensure_ascii=False).encode() + b"\n")
        log.flush()


def local_command(command: list[str]) -> list[str]:
    """A command as it runs here. Without uv, `uv run` becomes this interpreter, which must have the dependencies."""
    if command[:2] != ["uv", "run"] or shutil.which("uv"):
        return command
    rest = command[2:]
    while rest and rest[0].startswith("-"):
        if rest[0] not in _UV_VALUES | _UV_FLAGS and not rest[0].startswith("--with="):
            return ["sh", "-c", f"echo 'uv is not installed, and uv run {rest[0]} needs it'; exit 2"]
        rest = rest[2:] if rest[0] in _UV_VALUES else rest[1:]
    return [sys.executable, *rest] if rest and rest[0].endswith(".py") else rest or [sys.executable]


def _say(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ValueError):
        process.stdin.write(line)
        process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    """The launcher ends the job when its input is closed."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _time_out(process: subprocess.Popen[bytes], timed_out: threading.Event) -> None:
    timed_out.set()
    _end(process)


def _seconds(begin: str, end: str) -> int:
    return int((_time(end) - _time(begin)).total_seconds())


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
