"""Runs on a real Slurm of two nodes: the bytes of one machine, whatever is killed (``make test-slurm``)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Say
from looped import bytes_of
from scale import small_run
from scale.slurm_cluster import Cluster, cluster
from scale.small_run import LANGUAGES, REQUESTS, SHARDS, Seen, Watched, requests, same_bytes

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.sources import Document, read
from x_instruction.languages import language
from x_instruction.pipeline.detached import FOLDER, Work
from x_instruction.pipeline.detached import state as states
from x_instruction.pipeline.detached.state import COMPLETE, State
from x_instruction.processes import alive
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import SLICE, StageKey

pytestmark = pytest.mark.slurm
CANDIDATES = SHARDS * len(LANGUAGES)
# The candidates are half of the requests. An interrupted element may cost the requests of a shard, which are in flight
# together: a twentieth of all.
LOST = 0.05 * REQUESTS
MOST_REQUESTS = REQUESTS / 2 + LOST


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes. An array has at most three elements."""
    with cluster(tmp_path_factory.mktemp("slurm"), max_array=3) as running:
        yield running


class Run:
    """A run on the cluster, and the server that it asks."""

    def __init__(self, say: Say, here: Cluster, folder: Path, start: Path | None) -> None:
        self.say = say
        self.here = here
        self.folder = folder
        self.files = RunFolder(folder / "run")
        self.seen: Seen = lambda process, body: None
        self.server = Watched(lambda process, body: self.seen(process, body))
        if start is not None:
            shutil.copytree(start / "passage", folder / "run" / "passage")
            shutil.copy(start / "run.json", folder / "run")

    @property
    def state(self) -> State:
        state = states.load(self.files)
        assert state is not None
        return state

    def command(self, until: str = "generate", **site: Any) -> list[Any]:
        """The command line of the run.

        Args:
            until: the last stage.
            site: keys of the site.
        """
        recipe = small_run.write_recipe(self.folder / "recipe.toml", self.server.url)
        keys = {"shards_per_element": 6, "memory": "500M", "advance_memory": "500M", **site}
        lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
        (self.folder / "site.toml").write_text("\n".join(["[slurm]", *lines]))
        site_file = self.folder / "site.toml"
        return ["run", recipe, "--out", self.files.root, "--until", until, "--on", "slurm", "--site", site_file]

    def submit(self, *more: Any, **site: Any) -> str:
        code, out, errors = self.say(*self.command(*more, **site))
        assert code == 0, errors
        return out

    def wait(self, condition: Callable[[], Any], seconds: float = 600) -> Any:
        """Wait for something on the cluster."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, self.logs() + self.here.command("squeue", "-r")
            time.sleep(0.1)
        return found

    def ended(self) -> str:
        """Wait until nothing more is submitted. Returns why."""
        return str(self.wait(lambda: self.state.ended))

    def logs(self) -> str:
        folder = self.files.root / states.file("logs")
        return "\n".join(path.read_text() for path in sorted(folder.glob("*"), key=lambda path: path.stat().st_mtime))


@pytest.fixture
def run(
    request: pytest.FixtureRequest,
    say: Say,
    here: Cluster,
    one_worker: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Run]:
    """A run of which the passages are made; with the parameter ``empty`` one of which nothing is."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, here.environment[name])
    made = Run(say, here, tmp_path, None if getattr(request, "param", "") == "empty" else one_worker)
    with made.server:
        yield made
        here.command("scancel", "--user=root")
        here.wait_until_idle()


def first(action: Callable[[int], None], after: int = 3) -> Seen:
    """Does something to the process that sends a request, once, after some others."""
    left = [after]

    def seen(process: int | None, body: dict[str, Any]) -> None:
        left[0] -= 1
        if process and left[0] <= 0 <= left[0] + 1000:
            left[0] = -10_000
            action(process)

    return seen


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("run", ["empty"], indirect=True)
def test_all_stages_on_two_nodes_make_the_bytes_of_one_machine(run: Run, one_worker: Path) -> None:
    out = run.submit("diversify")
    assert "submitted corpus: 3 shards in 1 element on slurm (" in out
    assert f"next: x-instruction status {run.files.root}" in out
    assert run.ended() == COMPLETE
    same_bytes(one_worker, run.files.root)
    assert requests(run.server) == REQUESTS
    nodes = {line.rpartition(" on ")[2] for line in run.logs().splitlines() if line.startswith("element ")}
    assert nodes == {"n1", "n2"}
    code, out, _ = run.say("status", run.files.root)
    assert code == 0
    assert "slurm: complete" in out


@pytest.mark.parametrize("run", ["empty"], indirect=True)
def test_elements_share_the_corpus_of_a_language(run: Run, tmp_path: Path) -> None:
    texts = [found.text for found in read(Corpus(source="sample"), language("fi")) if isinstance(found, Document)]
    rows = [json.dumps({"id": f"{number}", "text": text}) for number, text in enumerate(texts)]
    (tmp_path / "fi.jsonl").write_text("\n".join(rows), "utf-8")
    corpus = {"source": "files", "paths": [str(tmp_path / "fi.jsonl")], "slice_rows": 4, "shard_size": 3}
    sets = ["--set", 'languages=["fi"]', "--set", "corpus.passages=100"]
    for key, value in corpus.items():
        sets += ["--set", f"corpus.{key}={json.dumps(value)}"]
    line = run.command("corpus", shards_per_element=2)
    assert run.say(*line, *sets)[0] == 0
    assert run.state.stage_key == SLICE
    assert run.ended() == COMPLETE
    assert run.say("run", line[1], "--out", tmp_path / "local", "--until", "corpus", "--workers", 1, *sets)[0] == 0
    same_bytes(tmp_path / "local", run.files.root, "passage")


@pytest.mark.parametrize("run", ["empty"], indirect=True)
def test_arrays_train_models_and_make_rounds(run: Run, looped_file: Path, tmp_path: Path) -> None:
    sets = ["--set", 'languages=["fi"]', "--set", "refine.rounds=1"]
    recipe = looped_file.rename(tmp_path / "looped.toml")
    line = run.command("refine", shards_per_element=2, memory="1500M", advance_memory="1G")
    line[1] = recipe
    code, _, errors = run.say(*line, *sets)
    assert code == 0, errors
    assert run.ended() == COMPLETE
    assert run.say("run", recipe, "--out", tmp_path / "local", "--until", "refine", "--workers", 1, *sets)[0] == 0
    made = bytes_of(tmp_path / "local")
    assert bytes_of(run.files.root) == made
    # Of each round a generator and a rater.
    assert len({name.rpartition("/")[0] for name in made if name.endswith(".safetensors")}) == 4


def test_a_run_larger_than_max_array_size_is_submitted_as_several_arrays(run: Run, one_worker: Path) -> None:
    shutil.copytree(one_worker / "candidate/round-0/fi", run.files.root / "candidate/round-0/fi")
    assert "8 shards in 4 elements" in run.submit(shards_per_element=2)
    assert len(run.state.submitted.elements) == 2
    assert run.ended() == COMPLETE
    same_bytes(one_worker, run.files.root, "candidate")
    assert requests(run.server) == REQUESTS / 2 * 2 / 3


def test_a_killed_worker_is_replaced_within_its_element(run: Run, one_worker: Path) -> None:
    run.seen = first(kill)
    run.submit()
    assert run.ended() == COMPLETE
    assert run.state.number == 1
    same_bytes(one_worker, run.files.root, "candidate")
    assert requests(run.server) <= MOST_REQUESTS


def test_the_shards_of_a_killed_element_are_submitted_again(run: Run, one_worker: Path) -> None:
    def kill_element(process: int) -> None:
        element = parent(process)
        kill(element)
        kill(process)

    run.seen = first(kill_element, after=14)
    run.submit()
    assert run.ended() == COMPLETE
    assert run.state.number == 2
    again = Work.loads((run.files.root / "work/2.json").read_bytes(), "work/2.json")
    assert 0 < len(again.tasks) < CANDIDATES
    same_bytes(one_worker, run.files.root, "candidate")
    assert requests(run.server) <= MOST_REQUESTS


def test_an_element_whose_time_ends_is_requeued(run: Run, one_worker: Path) -> None:
    begun = threading.Event()
    run.seen = first(lambda process: begun.set())
    run.submit(shards_per_element=12)
    run.wait(begun.is_set)
    job = run.state.submitted.elements[0]
    run.here.command("scancel", "--signal=USR1", "--batch", f"{job}_0")
    run.wait(lambda: "ended by SIGUSR1: answers are kept" in run.logs())
    assert run.ended() == COMPLETE
    # The same element continued: nothing was submitted again.
    assert run.state.number == 1
    same_bytes(one_worker, run.files.root, "candidate")
    assert requests(run.server) <= MOST_REQUESTS


def test_shards_of_a_lost_node_may_be_made_twice(run: Run, one_worker: Path) -> None:
    """The work on a lost node continues, while Slurm starts it again on the other one."""
    begun = threading.Event()

    def slow(process: int | None, body: dict[str, Any]) -> None:
        begun.set()
        time.sleep(0.1)

    run.seen = slow
    run.submit(shards_per_element=12)
    run.wait(begun.is_set)
    job = f"{run.state.submitted.elements[0]}_0"
    node = run.here.command("squeue", "-h", "-j", job, "-o", "%N").strip()
    run.here.kill_node(node)
    run.here.command("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
    assert run.ended() == COMPLETE
    same_bytes(one_worker, run.files.root, "candidate")
    assert requests(run.server) <= REQUESTS
    # It registers again, and is free once the work on it has ended.
    run.here.start_node(node)


def test_a_shard_that_crashes_its_workers_is_set_aside(run: Run, one_worker: Path) -> None:
    key = StageKey("candidate").shard("fi", 2)
    poison = next(RunFolder(one_worker).read(key.at(StageKey("passage")))).text[:40]
    harmful = True

    def seen(process: int | None, body: dict[str, Any]) -> None:
        if harmful and process and poison in json.dumps(body, ensure_ascii=False):
            kill(process)

    run.seen = seen
    run.submit("refine")
    ended = run.ended()
    assert ended.startswith(f"1 shard was set aside ({key}: 3 workers died of it")
    assert len(list(run.files.reports(StageKey("rated")))) == CANDIDATES - 1
    failure = run.files.failure(key)
    assert failure is not None
    assert failure.attempts == 3
    out = run.say("status", run.files.root)[1]
    assert "slurm: 1 shard was set aside" in out
    harmful = False
    run.submit("refine")
    assert run.ended() == COMPLETE
    assert run.files.failure(key) is None
    same_bytes(one_worker, run.files.root, "rated")


def test_a_cancelled_run_leaves_no_job_and_continues(run: Run, one_worker: Path) -> None:
    run.seen = lambda process, body: time.sleep(0.1)
    run.submit()
    run.wait(lambda: requests(run.server) > 3)
    code, out, _ = run.say("status", run.files.root)
    assert "running" in out
    assert f" of {CANDIDATES}\n" in out
    code, _, errors = run.say(*run.command())
    assert code == 1
    assert f"cancel them (`x-instruction cancel {run.files.root}`)" in errors
    code, out, _ = run.say("cancel", run.files.root)
    assert out.startswith("cancelled generate: 12 shards in 2 elements")
    run.wait(lambda: not run.here.command("squeue", "-h"))
    assert run.say("status", run.files.root)[1].splitlines()[-1] == "slurm: cancelled"
    run.seen = lambda process, body: None
    run.submit()
    assert run.ended() == COMPLETE
    same_bytes(one_worker, run.files.root, "candidate")
    # Two elements were interrupted.
    assert requests(run.server) <= MOST_REQUESTS + LOST


def test_a_run_without_progress_stops_with_the_reason(run: Run) -> None:
    run.server.fault = lambda path, body: (401, {"error": {"message": "no such key"}})
    run.submit(shards_per_element=12)
    ended = run.ended()
    assert ended.startswith("3 arrays in a row made nothing (")
    assert "401" in ended
    assert run.state.number == 3
    assert f"slurm: {ended}" in run.say("status", run.files.root)[1]


def test_elements_that_cannot_read_the_run_are_reported(run: Run) -> None:
    run.submit(setup=["exit 7"])
    run.wait(lambda: not run.here.command("squeue", "-h"))
    out = run.say("status", run.files.root)[1]
    assert f"none has read {run.files.root}: is it a folder that all nodes share?" in out


def test_an_element_starts_a_server_of_its_own(run: Run, one_worker: Path) -> None:
    script = (
        "import sys, threading; sys.path.insert(0, sys.argv[2]); from engines.openai_server import OpenAIServer; "
        "OpenAIServer(port=int(sys.argv[1])).__enter__(); threading.Event().wait()"
    )
    server = [sys.executable, "-c", script, "{port}", str(Path(__file__).parent.parent)]
    line = [*run.command(writer_server=server), "--set", "generate.model.server.url=http://127.0.0.1:9/v1"]
    assert run.say(*line)[0] == 0
    assert run.ended() == COMPLETE
    same_bytes(one_worker, run.files.root, "candidate")
    assert requests(run.server) == 0
    processes = [path for path in Path("/proc").glob("[0-9]*") if alive(int(path.name))]
    assert not [path for path in processes if b"OpenAIServer(port=" in (path / "cmdline").read_bytes()]


def test_a_dry_run_prints_the_scripts_and_submits_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "hf_value")
    before = sorted(run.files.root.rglob("*"))
    code, out, errors = run.say(*run.command(env=["MY_TOKEN"], shards_per_element=2), "--dry-run")
    assert code == 0, errors
    assert out.count("#!/bin/bash") == 3
    assert "#SBATCH --array=0-2\n" in out
    assert "--rank $((SLURM_ARRAY_TASK_ID + 3)) --of 6" in out
    assert "#SBATCH --export=MY_TOKEN\n" in out
    assert "hf_value" not in out
    assert "#SBATCH --dependency=afterany:ARRAY:ARRAY\n" in out
    assert sorted(run.files.root.rglob("*")) == before
    assert not run.here.command("squeue", "-h")


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ({"partition": "none"}, "Slurm refuses the elements: invalid partition specified: none"),
        ({"memory": "900G"}, "Slurm refuses the elements: "),
        ({"gpus": 1}, "Slurm refuses the elements: Invalid generic resource (gres) specification"),
        ({"advance_memory": "900G"}, "Slurm refuses the job that advances the run: "),
        ({"env": ["NOT_SET"]}, "slurm.env names NOT_SET, which is not set: export it first"),
    ],
)
def test_an_unusable_site_is_refused_at_once(run: Run, site: dict[str, Any], message: str) -> None:
    code, _, errors = run.say(*run.command(**site))
    assert code == 1
    assert message in errors
    assert states.load(run.files) is None


def test_a_missing_slurm_is_reported_at_once(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = run.command()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "--on slurm needs the command sbatch, which is not on the PATH" in run.say(*line)[2]
    monkeypatch.setenv("PATH", run.here.environment["PATH"])
    dead = run.here.configuration.read_text().replace("SlurmctldPort=", "SlurmctldPort=1 #")
    (tmp_path / "slurm.conf").write_text(dead)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    start = time.monotonic()
    assert "the controller of Slurm does not answer: " in run.say(*line)[2]
    assert time.monotonic() - start < 30


def test_an_element_reports_problems_before_it_works(say: Say, tmp_path: Path) -> None:
    command = ("work", tmp_path, "--tasks", f"{FOLDER}/9.json", "--rank", 0, "--of", 1)
    code, _, errors = say(*command)
    assert code == 3
    assert f"does not see {tmp_path / FOLDER / '9.json'}" in errors
    assert "put the run into a folder that all nodes share" in errors
    code, _, errors = say(*command[:4], "--rank", 4, "--of", 4)
    assert code == 1
    assert "rank is 4, expected 0 to 3 with --of 4" in errors
