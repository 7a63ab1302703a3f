"""Runs in an object store: a real S3 server on this machine, and stores of fsspec in memory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import factories
import fsspec
import pytest
from click.testing import CliRunner
from command_line import child
from engines.openai_server import OpenAIServer
from fsspec.implementations.memory import MemoryFileSystem
from scale import small_run

from x_instruction.cli import cli
from x_instruction.config.recipe import load
from x_instruction.errors import RecipeError, RunChanged, ShardError
from x_instruction.pipeline.preview import preview
from x_instruction.pipeline.progress import NullProgress
from x_instruction.records import Passage
from x_instruction.storage import lock, store_run
from x_instruction.storage.location import open_run
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.scratch import VARIABLE
from x_instruction.storage.shard_key import PASSAGE, StageKey
from x_instruction.storage.store import Store, StoreLocks
from x_instruction.storage.store_run import StoreRun

pytestmark = pytest.mark.store
KEY = PASSAGE.shard("fi")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of an S3 server, which the environment names."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with child(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        address = f"http://127.0.0.1:{port}"
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        with pytest.MonkeyPatch.context() as environment:
            for name in names:
                environment.setenv(name, "test")
            environment.setenv("AWS_ENDPOINT_URL", address)
            environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
            until = time.monotonic() + 60
            while not _answers(port):
                assert time.monotonic() < until
                assert server.poll() is None
                time.sleep(0.05)
            fsspec.filesystem("s3").mkdir("bucket")
            yield address
        server.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def location(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty prefix of the server, and a scratch folder of this test."""
    scratch(monkeypatch, tmp_path / "scratch")
    return f"s3://bucket/{tmp_path.name}"


def scratch(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Work in another folder, as another machine would."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv(VARIABLE, str(folder))


def downloaded(location: str, folder: Path) -> Path:
    """Everything that a store has of a run."""
    files, root = fsspec.core.url_to_fs(location)
    files.get(root, str(folder), recursive=True)
    return folder


def passages(number: int, text: str = "Sauna on lämmin.") -> list[Passage]:
    return [factories.passage(f"{text} {index}", "fi", id=f"fi-{index:016d}") for index in range(number)]


# The same bytes


def test_a_store_has_the_same_bytes_as_a_folder(
    location: str, one_worker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers, the commands that show a run, and the same from another machine."""
    with OpenAIServer() as server:
        recipe = small_run.write_recipe(tmp_path / "recipe.toml", server.url)
        small_run.make(load(recipe), location, 2, "rated")
        small_run.make(load(recipe), location, 1)
        assert small_run.requests(server) == small_run.REQUESTS
        small_run.same_bytes(one_worker, downloaded(location, tmp_path / "copy"))
        scratch(monkeypatch, tmp_path / "elsewhere")
        shown = {
            name: call(name, location, *more)
            for name, more in {
                "status": ["--json"],
                "show": ["--stage", "rated", "--no-pager"],
                "build": ["--out", str(tmp_path / "dataset")],
                "report": ["--out", str(tmp_path / "page.html")],
            }.items()
        }
        small_run.make(load(recipe), location, 1)
        assert small_run.requests(server) == small_run.REQUESTS
    assert rows(shown["status"]) == rows(call("status", str(one_worker), "--json"))
    assert shown["show"] == call("show", str(one_worker), "--stage", "rated", "--no-pager")
    assert (tmp_path / "page.html").is_file()
    from_folder = tmp_path / "from-folder"
    call("build", str(one_worker), "--out", str(from_folder))
    files = list((from_folder / "data").rglob("*.parquet"))
    assert files
    for built in files:
        assert built.read_bytes() == (tmp_path / "dataset" / built.relative_to(from_folder)).read_bytes()


def rows(status: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in json.loads(status)]


def call(*words: str) -> str:
    """The output of a command."""
    result = CliRunner().invoke(cli, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_two_ranks_work_in_one_store(location: str, one_worker: Path, tmp_path: Path, server: OpenAIServer) -> None:
    recipe = small_run.write_recipe(tmp_path / "recipe.toml", server.url)
    for _ in range(3):
        ranks = [start(tmp_path, recipe, location, "--rank", str(rank), "--of", "2") for rank in range(2)]
        outputs = [rank.communicate(timeout=120)[0] for rank in ranks]
        if not any(rank.returncode for rank in ranks):
            break
        assert all("from other ranks" in text for rank, text in zip(ranks, outputs, strict=True) if rank.returncode)
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    assert small_run.requests(server) == small_run.REQUESTS
    small_run.same_bytes(one_worker, downloaded(location, tmp_path / "copy"), "rated")


def start(tmp_path: Path, recipe: Path, location: str, *more: str) -> subprocess.Popen[str]:
    """A run until the ratings, in a process and a scratch folder of its own."""
    own = tmp_path / "-".join(["scratch", *more])
    own.mkdir(exist_ok=True)
    line = [sys.executable, "-m", "x_instruction", "run", str(recipe), "--out", location, "--until", "refine", *more]
    environment = os.environ | {VARIABLE: str(own)}
    return subprocess.Popen(
        [*line, "--workers", "1"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


# Kills

KILLED = """
import os, signal, sys
from x_instruction.storage.store import Store
from scale import small_run
from x_instruction.config.recipe import load

create = Store.create

def killed(store, name, data):
    if name.endswith({before!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    made = create(store, name, data)
    if name.endswith({after!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    return made

Store.create = killed
small_run.make(load({recipe!r}), {location!r}, 1, "rated")
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("-", "candidate/round-0/th/00001.parquet"),
        ("rated/round-0/bn/00002.report.json", "-"),
    ],
)
def test_a_run_continues_after_a_killed_writer(
    location: str, one_worker: Path, tmp_path: Path, server: OpenAIServer, before: str, after: str
) -> None:
    recipe = small_run.write_recipe(tmp_path / "recipe.toml", server.url)
    script = KILLED.format(before=before, after=after, recipe=str(recipe), location=location)
    tests = str(Path(__file__).parent.parent)
    line = [sys.executable, "-c", textwrap.dedent(script)]
    died = subprocess.run(line, env=os.environ | {"PYTHONPATH": tests}, capture_output=True, text=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr
    small_run.make(load(recipe), location, 1, "rated")
    assert small_run.requests(server) <= 1.05 * small_run.REQUESTS
    small_run.same_bytes(one_worker, downloaded(location, tmp_path / "copy"), "rated")


@pytest.mark.parametrize("texts", [("same", "same"), ("one", "other")])
def test_one_of_two_concurrent_writers_of_a_shard_wins(
    location: str, monkeypatch: pytest.MonkeyPatch, texts: tuple[str, str]
) -> None:
    monkeypatch.setattr(store_run, "_SETTLE", 2.0)
    both = threading.Barrier(2)
    found: dict[int, ShardReport] = {}

    def write(number: int) -> None:
        def finish(report: ShardReport) -> None:
            report.seconds = number + 1.0
            both.wait()

        found[number] = StoreRun(location).write(ShardReport(KEY), passages(50, texts[number]), finish)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == open_run(location).report(KEY)
    winner = texts[int(found[0].seconds) - 1]
    assert [passage.text for passage in open_run(location).read(KEY)] == [f"{winner} {index}" for index in range(50)]


# Uploads and downloads


def test_models_and_files_are_uploaded_and_downloaded(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = StoreRun(location)
    folder = here.model("generator-0")
    assert not folder.exists()
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "one.bin").write_bytes(b"1")
    (folder / "made.json").write_text("{}")
    here.keep_model("generator-0")
    here.write_file("recipe.json", b"{}")
    here.finish(PASSAGE, "fi", 3)
    here.set_aside(KEY, "killed three workers", 3)
    scratch(monkeypatch, tmp_path / "elsewhere")
    there = StoreRun(location)
    assert there.root != here.root
    assert (there.model("generator-0") / "weights" / "one.bin").read_bytes() == b"1"
    assert there.read_file("recipe.json") == b"{}"
    assert there.count(PASSAGE, "fi") == 3
    failure = there.failure(KEY)
    assert failure is not None
    assert (failure.reason, failure.attempts) == ("killed three workers", 3)
    there.remove_model("generator-0")
    assert not StoreRun(location).store.listing("models")
    there.write(ShardReport(KEY), passages(1))
    assert there.failure(KEY) is None
    there.clear(PASSAGE, "fi")
    assert not here.listing(PASSAGE, "fi").present
    assert here.count(PASSAGE, "fi") is None


def test_changed_bytes_are_detected(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    StoreRun(location).write(ShardReport(KEY), passages(20))
    scratch(monkeypatch, tmp_path / "elsewhere")
    run = StoreRun(location)
    data = bytearray(run.store.read("passage/fi/00000.parquet") or b"")
    data[len(data) // 2] ^= 1
    run.write_file("passage/fi/00000.parquet", bytes(data))
    with pytest.raises(ShardError, match=r"passage/fi/00000.parquet has other bytes than its report says: remove the"):
        list(run.read(KEY))


def test_a_run_is_held_by_one_process(location: str) -> None:
    run = StoreRun(location)
    with run.lock(), pytest.raises(ShardError, match=r"another run is at work"), StoreRun(location).lock():
        pass
    with run.lock(0, 2), StoreRun(location).lock(1, 2):
        assert run.store.names(".lock") == [".lock-0-of-2", ".lock-1-of-2"]
    assert run.store.names(".lock") == []


# Invalid locations


def test_a_missing_bucket_is_reported(location: str) -> None:
    with pytest.raises(ShardError, match=r"cannot write into s3://none/run: its bucket does not exist: create it"):
        StoreRun("s3://none/run").check_place()
    with pytest.raises(ShardError, match=r"names no bucket"):
        Store("s3://")
    with pytest.raises(ShardError, match=r"has the protocol 'ssh', expected a folder or one of abfs"):
        Store("ssh://host/run")


def test_rejected_credentials_are_reported(endpoint: str, location: str) -> None:
    run = StoreRun(location)
    _authenticate(endpoint, 0)
    try:
        with pytest.raises(ShardError, match=r"cannot write into s3://.*; check the credentials and their rights"):
            run.check_place()
    finally:
        _authenticate(endpoint, 10**9)
    run.check_place()
    assert run.store.listing("") == {}


def _authenticate(endpoint: str, after: int) -> None:
    """Let the server check the credentials after some requests."""
    request = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", data=str(after).encode())
    request.add_header("Content-Type", "text/plain")
    with urllib.request.urlopen(request) as response:
        assert response.status == 200


class Overwriting(MemoryFileSystem):
    """A store that ignores the condition of a conditional write."""

    protocol = "oss"
    store: ClassVar[dict[str, Any]] = {}

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        super().pipe_file(path, value, **more)


def test_a_store_without_conditional_writes_is_refused() -> None:
    fsspec.register_implementation("oss", Overwriting, clobber=True)
    with pytest.raises(ShardError, match=r"oss://bucket/run does not support conditional writes"):
        StoreRun("oss://bucket/run").check_place()


def test_a_missing_package_names_its_extra() -> None:
    script = "import sys; sys.modules['s3fs'] = None\nfrom x_instruction.storage.store import Store\nStore('s3://b/r')"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "the package 's3fs' is not installed: pip install 'x_instruction[s3]'" in result.stderr


# Stores of fsspec


class Counted(MemoryFileSystem):
    """A store that counts how it is asked."""

    protocol = "gcs"
    store: ClassVar[dict[str, Any]] = {}
    asked: ClassVar[list[str]] = []

    def find(self, path: str, *more: Any, **options: Any) -> Any:
        self.asked.append("find")
        return super().find(path, *more, **options)

    def info(self, path: str, **options: Any) -> Any:
        self.asked.append("info")
        return super().info(path, **options)

    def cat_file(self, path: str, *more: Any, **options: Any) -> Any:
        self.asked.append(path.rpartition(".")[2])
        return super().cat_file(path, *more, **options)


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("gcs", Counted, clobber=True)
    scratch(monkeypatch, tmp_path)
    run = StoreRun("gcs://bucket/run")
    for index in range(30):
        run.write(ShardReport(PASSAGE.shard("fi", index)), passages(1))
    fresh = StoreRun("gcs://bucket/run")
    Counted.asked.clear()
    assert all(fresh.complete(PASSAGE.shard("fi", index)) for index in range(30))
    assert not any(fresh.complete(PASSAGE.shard("fi", index)) for index in range(30, 60))
    assert Counted.asked == ["find"]
    Counted.asked.clear()
    assert [report.key.index for report in fresh.reports(PASSAGE)] == list(range(30))
    assert Counted.asked.count("find") == 1
    assert len(Counted.asked) <= 32


def test_a_shard_of_other_settings_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The passages of a killed run, whose number is not known, are made again under the settings of now."""
    scratch(monkeypatch, tmp_path)
    run = StoreRun("memory://bucket/changed")
    run.write(ShardReport(KEY, {"corpus.dedup": (1, 2)}), passages(3, "old"))
    again = run.write(ShardReport(KEY, {"corpus.dedup": (1, 2)}), passages(4, "same"))
    assert again.kept == 3, "the first of equal settings stays"
    made = run.write(ShardReport(KEY, {"corpus.dedup": (1, 3)}), passages(5, "new"))
    assert made.kept == 5
    fresh = StoreRun("memory://bucket/changed")
    assert fresh.report(KEY).settings == {"corpus.dedup": [1, 3]}
    assert [passage.text for passage in fresh.read(KEY)] == [f"new {index}" for index in range(5)]


class Away(MemoryFileSystem):
    """A store that does not answer for a moment."""

    protocol = "gs"
    store: ClassVar[dict[str, Any]] = {}
    faults: ClassVar[int] = 0

    def cat_file(self, path: str, *more: Any, **options: Any) -> Any:
        if Away.faults:
            Away.faults -= 1
            raise OSError("no route to host")
        return super().cat_file(path, *more, **options)


def test_a_lock_is_renewed_after_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("gs", Away, clobber=True)
    scratch(monkeypatch, tmp_path)
    monkeypatch.setattr(lock, "BEAT", 0.01)
    renewed = threading.Event()
    monkeypatch.setattr(StoreLocks, "renew", lambda *arguments: renewed.set())
    with StoreRun("gs://bucket/run").lock():
        assert renewed.wait(60)
        Away.faults = 1
        end = time.monotonic() + 60
        while Away.faults and time.monotonic() < end:
            time.sleep(0.01)
        assert not Away.faults
        renewed.clear()
        assert renewed.wait(60)


def test_the_memory_store_needs_one_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OpenAIServer
) -> None:
    scratch(monkeypatch, tmp_path)
    recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url))
    with pytest.raises(RecipeError, match=r"memory://bucket/run exists in this process alone: add --workers 1"):
        small_run.make(recipe, "memory://bucket/run", 2)
    run = small_run.make(recipe, "memory://bucket/run", 1, "candidate")
    assert run.location == "memory://bucket/run"
    assert all(run.complete(StageKey("candidate").shard("fi", index)) for index in range(4))
    with pytest.raises(RunChanged, match=r"generate.candidates was 2, is 3"):
        small_run.make(recipe.replace(generate=recipe.generate.replace(candidates=3)), "memory://bucket/run", 1)


def test_a_run_uses_the_answers_of_its_preview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OpenAIServer
) -> None:
    scratch(monkeypatch, tmp_path)
    recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", server.url)).replace(languages=("fi",))
    small = recipe.replace(diversify=recipe.diversify.replace(selector="random"))
    found = preview(small, "memory://bucket/seen", 1, NullProgress())
    assert len(found.samples) == 3
    asked = small_run.requests(server)
    assert asked == 12
    scratch(monkeypatch, tmp_path / "elsewhere")
    run = small_run.make(recipe, "memory://bucket/seen", 1, "rated")
    assert run.preview().is_preview
    assert run.preview().read_file("startup.json")
    assert small_run.requests(server) == small_run.REQUESTS / 3


def test_file_urls_are_folders(tmp_path: Path) -> None:
    run = open_run(f"file://{tmp_path}/run")
    assert type(run) is RunFolder
    assert run.root == tmp_path / "run"
    with pytest.raises(ShardError, match=r"is a URL of a store read as a path: .* take s3://bucket/run, and other"):
        open_run(Path("s3://bucket/run"))
