"""Jobs: with the client of the Hub and its command line, how they end, and hostile requests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, Volume
from huggingface_hub.errors import JobNotFoundError
from local_hub_fixture import Api, RunningHub, start_with_jobs

from x_instruction.local_hub import job_process
from x_instruction.local_hub.jobs import HIDDEN, Jobs, JobSpec, local_command
from x_instruction.processes import alive
from x_instruction.storage.atomic import TempDir

HF = [sys.executable, "-c", "from huggingface_hub.cli.hf import main; main()"]
SECRET = "hf_averysecretvalue"


@pytest.fixture
def client(jobs_hub: RunningHub, api: Api) -> HfApi:
    made: HfApi = api(hub=jobs_hub)
    return made


def python(client: HfApi, code: str, *arguments: str, wait: bool = True, **more: Any) -> Any:
    """Run a job of this interpreter, in the namespace of the test."""
    job = client.run_job(image="python", command=["python", "-c", code, *arguments], namespace="t", **more)
    return client.wait_for_job(job.id, namespace="t", timeout=60, poll_interval=0.1) if wait else job


def until(holds: Callable[[], Any]) -> Any:
    """The result of a function once it is true."""
    end = time.monotonic() + 60
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def logs(client: HfApi, job: Any) -> list[str]:
    return list(client.fetch_job_logs(job_id=job.id, namespace=job.owner.name, follow=True))


def test_a_job_runs_and_completes(client: HfApi, jobs_hub: RunningHub) -> None:
    job = python(
        client,
        "import os, sys; print(sys.argv[1:], os.environ['A'], os.environ['HF_ENDPOINT']); print(os.environ['S'])",
        *("x", "y z"),
        env={"A": "1"}, secrets={"S": SECRET}, labels={"k": "v"}, name="first", flavor="t4-small",
    )  # fmt: skip
    assert (job.status.stage, job.flavor, job.labels) == ("COMPLETED", "t4-small", {"k": "v", "name": "first"})
    assert (job.environment, job.secrets, job.owner.name, job.initiator.name) == ({"A": "1"}, {"S": HIDDEN}, "t", "ci")
    assert job.created_at <= job.started_at <= job.finished_at
    assert logs(client, job) == [f"['x', 'y z'] 1 {jobs_hub.endpoint}", HIDDEN]
    assert list(client.fetch_job_logs(job_id=job.id, namespace="t", tail=1)) == [HIDDEN]
    listed = [one.id for one in client.list_jobs(namespace="t", status="COMPLETED", labels={"name": "first"})]
    assert listed == [job.id]
    assert not list(client.list_jobs(namespace="t", labels={"name": "second"}))
    assert not list(client.list_jobs(namespace="another"))
    again = client.rerun_job(job_id=job.id, namespace="t")
    assert client.wait_for_job(again.id, namespace="t", poll_interval=0.1).status.stage == "COMPLETED"
    assert client.update_job_labels(job_id=job.id, labels={"k": "w"}, namespace="t").labels == {"k": "w"}
    with pytest.raises(JobNotFoundError):
        client.inspect_job(job_id=job.id, namespace="another")


def test_a_secret_is_stored_nowhere(client: HfApi, jobs_hub: RunningHub) -> None:
    job = python(client, "import os; print('got', os.environ['S'])", secrets={"S": SECRET})
    described = jobs_hub.ask(f"/api/jobs/t/{job.id}").text + jobs_hub.ask("/api/jobs/t").text
    assert SECRET not in described + jobs_hub.log.read_text()
    files = [path for path in (jobs_hub.folder / "jobs").rglob("*") if path.is_file()]
    assert files
    assert not any(SECRET in path.read_text("utf-8", "replace") for path in files)


@pytest.mark.parametrize(
    ("code", "more", "stage", "message"),
    [
        ("raise SystemExit(3)", {}, "ERROR", "Job failed with exit code: 3"),
        ("import os; os.kill(os.getpid(), 9)", {}, "ERROR", "Job failed with exit code: 137"),
        ("import time; time.sleep(60)", {"timeout": 1}, "ERROR", "Job timeout"),
    ],
)
def test_failed_jobs_are_reported(client: HfApi, code: str, more: dict[str, Any], stage: str, message: str) -> None:
    job = python(client, code, **more)
    assert (job.status.stage, job.status.message) == (stage, message)


def test_a_missing_command_is_reported(client: HfApi) -> None:
    job = client.run_job(image="x", command=["no-such-command"], namespace="t")
    job = client.wait_for_job(job.id, namespace="t", poll_interval=0.1)
    assert (job.status.message, logs(client, job)) == (
        "Job failed with exit code: 127",
        ["no-such-command: command not found"],
    )


def test_a_failed_job_is_retried(client: HfApi, tmp_path: Path) -> None:
    code = "import sys; f = open(sys.argv[1], 'a'); f.write('x'); sys.exit(f.tell() < 2)"
    job = python(client, code, str(tmp_path / "tries"), attempts=3)
    assert (job.status.stage, (tmp_path / "tries").read_text(), job.retry) == ("COMPLETED", "xx", 2)


def test_cancelling_ends_every_process(client: HfApi, tmp_path: Path) -> None:
    code = """
import signal, subprocess, sys, os, time
signal.signal(signal.SIGTERM, signal.SIG_IGN) if sys.argv[2] == "stubborn" else None
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1] + ".new", "w") as f: f.write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""
    jobs = {kind: python(client, code, str(tmp_path / kind), kind, wait=False) for kind in ("polite", "stubborn")}
    pids = {
        kind: until(lambda kind=kind: (tmp_path / kind).exists()) and (tmp_path / kind).read_text() for kind in jobs
    }
    began = time.monotonic()
    for job in jobs.values():
        client.cancel_job(job_id=job.id, namespace="t")
    for kind, job in jobs.items():
        assert client.wait_for_job(job.id, namespace="t", poll_interval=0.1).status.stage == "CANCELED"
        until(lambda kind=kind: not any(alive(int(pid)) for pid in pids[kind].split()))
        client.cancel_job(job_id=job.id, namespace="t")
    assert time.monotonic() - began < job_process.GRACE + 30


def test_logs_of_a_running_job_are_streamed(client: HfApi, tmp_path: Path) -> None:
    code = """
import os, sys, time
print("first", flush=True)
while not os.path.exists(sys.argv[1]): time.sleep(0.05)
print("second" + "x" * 70_000 + "\\n\\nend")
"""
    job = python(client, code, str(tmp_path / "go"), wait=False)
    lines = iter(client.fetch_job_logs(job_id=job.id, namespace="t", follow=True))
    assert next(lines) == "first"
    (tmp_path / "go").touch()
    rest = list(lines)
    # A line has a length that a client can hold.
    assert (rest[0][:7], sum(map(len, rest)), rest[-2:]) == ("secondx", 70_009, ["", "end"])


def test_volumes_are_mounted(client: HfApi, jobs_hub: RunningHub) -> None:
    client.create_bucket("t/volumes")
    files = jobs_hub.folder / "buckets/t/volumes/files"
    (files / "in").mkdir(parents=True)
    (files / "in" / "text").write_text("given")
    volumes = [
        Volume(type="bucket", source="t/volumes", path="in", mount_path="/x-volume/in", read_only=True),
        Volume(type="bucket", source="t/volumes", mount_path="/x-volume/all"),
    ]
    command = ["sh", "-c", 'cat "$1/text"; cp "$1/text" "$2/copy"; touch "$1/no" || echo read-only', "sh"]
    job = client.run_job(
        image="x", command=[*command, "/x-volume/in", "/x-volume/all"], volumes=volumes, namespace="t"
    )  # fmt: skip
    lines = logs(client, job)
    assert (files / "copy").read_text() == "given"
    assert not Path("/x-volume").exists()
    assert lines[-1] == "read-only" if "does not allow mounts" not in lines[0] else lines[1] == "given"


def test_the_command_line_client_runs_jobs(jobs_hub: RunningHub, tmp_path: Path) -> None:
    """``hf jobs uv run`` with local files, ``ps``, ``inspect``, ``logs``, ``cancel`` and ``hardware``."""
    (tmp_path / "script.py").write_text(
        "# /// script\n# dependencies = ['not-on-any-index']\n# ///\n"
        "import sys\nprint(open(sys.argv[1]).read(), sys.argv[2:])\n"
    )
    (tmp_path / "settings.toml").write_text("a = 1")
    env = jobs_hub.env(HF_HUB_DISABLE_EXPERIMENTAL_WARNING="1")

    def hf(*arguments: str) -> str:
        return jobs_hub.run([*HF, "jobs", *arguments], env, tmp_path)

    output = hf("uv", "run", "--name", "cli", "--secrets", "HF_TOKEN", "script.py", "settings.toml", "--flag")
    assert "a = 1 ['--flag']" in output
    assert "completed" in output
    [job] = json.loads(hf("ps", "-a", "--name", "cli", "--format", "json"))
    assert (job["status"], job["command"]) == ("COMPLETED", "uv run /data/script.py /data/settings.toml --flag")
    inspected = hf("inspect", job["id"], "--format", "json")
    assert jobs_hub.token not in inspected
    assert json.loads(inspected)[0]["docker_image"].startswith("ghcr.io/astral-sh/uv")
    assert hf("logs", job["id"]).strip() == "a = 1 ['--flag']"
    assert "cpu-basic" in hf("hardware")
    slow = hf("run", "--detach", "--quiet", "python", "sleep", "600").strip()
    assert hf("cancel", slow) is not None
    until(lambda: jobs_hub.ask(f"/api/jobs/ci/{slow}").json["status"]["stage"] == "CANCELED")


def test_jobs_stop_with_the_server(tmp_path: Path) -> None:
    """A terminated server cancels its jobs. If it is killed, they end and are errors at the next start."""
    spec = {"command": ["sh", "-c", "echo $$ > $PIDS/$JOB_ID.new; mv $PIDS/$JOB_ID.new $PIDS/$JOB_ID; sleep 600"]}
    spec |= {"environment": {"PIDS": str(tmp_path)}}  # type: ignore[dict-item]
    stages = {}
    for ends in (signal.SIGTERM, signal.SIGKILL):
        with start_with_jobs(tmp_path) as hub:
            job = hub.ask("/api/jobs/t", "POST", spec).json["id"]
            pid = int(until(lambda job=job: (tmp_path / job).exists() and (tmp_path / job).read_text()))
            os.kill(hub.process.pid, ends)
            hub.process.wait(60)
        until(lambda pid=pid: not alive(pid))
        stages[ends] = job
    with start_with_jobs(tmp_path) as hub:
        terminated, killed = (hub.ask(f"/api/jobs/t/{job}").json["status"] for job in stages.values())
        assert (terminated["stage"], killed["stage"]) == ("CANCELED", "ERROR")
        assert killed["message"] == "The server ended while the job ran"
        with_secret = hub.ask("/api/jobs/t", "POST", {"command": ["true"], "secrets": {"S": SECRET}}).json["id"]
        until(lambda: hub.ask(f"/api/jobs/t/{with_secret}").json["status"]["stage"] == "COMPLETED")
    with start_with_jobs(tmp_path) as hub:
        answer = hub.ask(f"/api/jobs/t/{with_secret}/duplicate", "POST")
        assert (answer.status, "the secrets of the job are gone" in answer.text) == (400, True)
        assert hub.ask(f"/api/jobs/t/{with_secret}").json["secrets"] == {"S": HIDDEN}


def test_jobs_are_disabled_by_default(local_hub: RunningHub) -> None:
    for method, path in (("POST", "/api/jobs/ci"), ("GET", "/api/jobs/ci"), ("GET", f"/api/jobs/ci/{'0' * 24}")):
        answer = local_hub.ask(path, method, {"command": ["true"]} if method == "POST" else None)
        assert (answer.status, "serve it with --jobs" in answer.text) == (403, True)


def test_permissions_are_enforced(jobs_hub: RunningHub) -> None:
    made = jobs_hub.ask("/api/jobs/roles", "POST", {"command": ["true"]}).json["id"]
    writes: list[tuple[str, str, dict[str, Any] | None]] = [
        ("POST", "", {"command": ["true"]}),
        ("POST", f"/{made}/cancel", None),
        ("POST", f"/{made}/duplicate", None),
        ("PUT", f"/{made}/labels", {"labels": {}}),
    ]
    for method, path, data in writes:
        assert jobs_hub.ask(f"/api/jobs/roles{path}", method, data, token=None).status == 401
        assert jobs_hub.ask(f"/api/jobs/roles{path}", method, data, token=jobs_hub.read_token).status == 403
    for path in ("", f"/{made}", f"/{made}/logs"):
        assert jobs_hub.ask(f"/api/jobs/roles{path}", token=None).status == 401
        assert jobs_hub.ask(f"/api/jobs/roles{path}", token="hf_wrong").status == 401
        assert jobs_hub.ask(f"/api/jobs/roles{path}", token=jobs_hub.read_token).status == 200
    for job in ("0" * 24, "..%2f..%2froles", "%2e%2e", "x"):
        assert jobs_hub.ask(f"/api/jobs/roles/{job}/logs").status == 404
        assert jobs_hub.ask(f"/api/jobs/roles/{job}").status == 404


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"command": []}, "at least one"),
        ({"command": "rm -rf"}, "list"),
        ({"command": [1]}, "list"),
        ({"command": ["a\0b"]}, "NUL"),
        ({"command": ["x"] * 2000}, "at most"),
        ({"arguments": {"a": 1}}, "list"),
        ({"environment": ["A=1"]}, "object"),
        ({"environment": {"A=B": "1"}}, "name of a variable"),
        ({"environment": {"A": ["1"]}}, "not a text"),
        ({"secrets": {"A": {"x": SECRET}}}, "not a text"),
        ({"flavor": "huge"}, "'huge' is not a flavor"),
        ({"flavor": ["cpu-basic"]}, "is not a flavor"),
        ({"timeoutSeconds": 0}, "whole number"),
        ({"timeoutSeconds": "60"}, "whole number"),
        ({"timeoutSeconds": 1e99}, "whole number"),
        ({"attempts": True}, "whole number"),
        ({"attempts": 1000}, "whole number"),
        ({"labels": {"a": "b c"}}, "labels"),
        ({"labels": ["a"]}, "labels"),
        ({"dockerImage": 1}, "text"),
        ({"ssh": {"enabled": True}}, "not supported"),
        ({"volumes": {}}, "list"),
        ({"volumes": [{"type": "dataset", "source": "a/b", "mountPath": "/x"}]}, "expected bucket"),
        ({"volumes": [{"type": "bucket", "source": "../..", "mountPath": "/x"}]}, "Bucket not found"),
        ({"volumes": [{"type": "bucket", "source": "a/none", "mountPath": "/x"}]}, "Bucket not found"),
        ({"volumes": [{"type": "bucket", "source": "a/b", "mountPath": "x"}]}, "absolute path"),
        ({"volumes": [{"type": "bucket", "source": "a/b", "mountPath": "/"}]}, "a path has"),
        ({"volumes": [{"type": "bucket", "source": "a/b", "mountPath": "/x/../etc"}]}, "cannot be"),
        ({"volumes": [{"type": "bucket", "source": "a/b", "mountPath": "/x", "path": "../../.."}]}, "cannot be"),
        ({"volumes": [{"type": "bucket", "source": "a/b", "mountPath": "/x", "path": "none"}]}, "no folder"),
        ({"volumes": [{"type": "bucket", "source": "a/b", "mountPath": f"/x{y}"} for y in ("", "/y")]}, "within each"),
    ],
)
def test_hostile_jobs_are_refused(jobs_hub: RunningHub, change: dict[str, Any], says: str) -> None:
    jobs_hub.ask("/api/buckets/a/b", "POST", {})
    answer = jobs_hub.ask("/api/jobs/hostile", "POST", {"command": ["true"]} | change)
    assert answer.status in (400, 404), answer.text
    assert says in answer.text
    assert SECRET not in answer.text
    assert jobs_hub.ask("/api/jobs/hostile").json == []


def test_hostile_bodies_are_refused(jobs_hub: RunningHub) -> None:
    for data in (b"[]", b"{", b"[" * 100_000):
        assert jobs_hub.ask("/api/jobs/hostile", "POST", data).status == 400
    assert jobs_hub.ask("/api/jobs/hostile", "POST", b"{}", Content_Length="99999999").status == 413
    for namespace in ("%2e%2e", "a%2fb", "x" * 200):
        assert jobs_hub.ask(f"/api/jobs/{namespace}", "POST", {"command": ["true"]}).status == 400
    assert jobs_hub.ask("/api/jobs/hostile").json == []


def test_uv_commands_are_replaced_if_uv_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    script = ["uv", "run", "--with", "a", "--python", "3.12", "/data/s.py", "--with", "b"]
    assert local_command(script) == [sys.executable, "/data/s.py", "--with", "b"]
    assert local_command(["uv", "run", "--with", "x", "x-instruction", "work"]) == ["x-instruction", "work"]
    assert local_command(["python", "x.py"]) == ["python", "x.py"]
    refused = local_command(["uv", "run", "--directory", "/", "s.py"])
    done = subprocess.run(refused, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "uv is not installed, and uv run --directory needs it\n")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert local_command(script) == script


def test_unusable_mount_paths_are_refused() -> None:
    volumes = [{"source": "/b/files", "target": "/data"}]
    replaced = [
        job_process.without_mounts(text, volumes) for text in ("/data/a", "--out=/data", "/database", "x=/data")
    ]
    assert replaced == ["/b/files/a", "--out=/b/files", "/database", "x=/data"]


def test_a_job_that_cannot_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    jobs = Jobs(tmp_path / "jobs", TempDir(tmp_path / "tmp"), 1, 1000)
    job = jobs.submit("n", "o", JobSpec(["true"], [], {}, [], "cpu-basic", None, None, None, 1, {}, []), {}, "http://x")
    until(lambda: jobs.get("n", job.id).ended)
    jobs.close()
    ended = jobs.get("n", job.id)
    assert (ended.stage, "could not be run: [Errno 2]" in str(ended.message)) == ("ERROR", True)


def test_a_long_log_is_truncated(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs", TempDir(tmp_path / "tmp"), 1, 1000)
    command = ["sh", "-c", "yes | head -c 100000; kill -9 $$"]
    spec = JobSpec(command, [], {}, [], "cpu-basic", None, None, None, 1, {}, [])
    first, second = (jobs.submit("n", "o", spec, {}, "http://x") for _ in range(2))
    jobs.cancel(second)
    until(lambda: jobs.get("n", first.id).ended)
    jobs.close()
    lines = (jobs.folder(first) / "log.ndjson").read_text().splitlines()
    assert len(lines) == 502
    assert "the rest of the log is left out" in lines[-1]
    assert [job.stage for job in jobs.list("n")] == ["CANCELED", "ERROR"]
