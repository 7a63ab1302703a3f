"""Wall and CPU time of trivial work on a Slurm of two nodes: this package, and datatrove's SlurmPipelineExecutor.

Each of a number of files has ten short documents, which are read and written; this package filters them, too. CPU time
is that of every Python process, on the submitting side as well. As root, with Debian's packages slurm-wlm and munge,
and datatrove in an environment of its own::

    python -m venv build/datatrove && build/datatrove/bin/pip install datatrove==0.10.1 orjson
    python benchmarks/slurm.py --datatrove build/datatrove --files 12 --per-element 1
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Not as ``scale.slurm_cluster``: beside this script, ``scale`` is another benchmark.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "scale"))

from slurm_cluster import Cluster, cluster

# Runs in every Python process that has its folder on the path.
AT_EXIT = """
import atexit, os, uuid

def keep(folder=os.environ.get("CPU_FOLDER")):
    if folder:
        spent = os.times()
        with open(f"{folder}/{uuid.uuid4().hex}", "w") as file:
            file.write(str(sum(spent[:4])))

atexit.register(keep)
"""
DATATROVE = """
import sys
from datatrove.executor import SlurmPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter

folder, tasks, venv, per_job = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
SlurmPipelineExecutor(
    [JsonlReader(f"{folder}/texts"), JsonlWriter(f"{folder}/output")], tasks=tasks, time="01:00:00", partition="main",
    mem_per_cpu_gb=1, logging_dir=f"{folder}/logs", venv_path=f"{venv}/bin/activate", tasks_per_job=per_job,
).run()
"""
RECIPE = """
name = "trivial"
languages = {languages}
corpus = {{ source = "files", paths = ["{folder}/texts/{{tag}}.jsonl"] }}
diversify = {{ embedder = "embedded" }}
generate = {{ model = {{ name = "x", engine = "openai" }} }}
refine = {{ rater = "prompted", model = {{ name = "x", engine = "openai" }} }}
"""
SITE = """
[slurm]
partition = "main"
memory = "1G"
advance_memory = "1G"
shards_per_element = {per_element}
env = ["PYTHONPATH", "CPU_FOLDER"]
"""
TAGS = [
    "fi",
    "sv",
    "da",
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "nl",
    "pl",
    "cs",
    "ro",
    "hu",
    "tr",
    "et",
    "lv",
    "lt",
    "sl",
    "hr",
    "sk",
]


def measure(name: str, here: Cluster, folder: Path, line: list[str]) -> None:
    """Run a command that submits jobs, wait until they have ended, and print what it took."""
    spent = folder / f"cpu-{name}"
    spent.mkdir()
    environment = {**here.environment, "CPU_FOLDER": str(spent), "PYTHONPATH": str(folder / "path")}
    start = time.monotonic()
    with open(folder / f"{name}.log", "wb") as log:
        subprocess.run(line, check=True, env=environment, cwd=folder, stdout=log, stderr=log)
    submitted = time.monotonic() - start
    while here.command("squeue", "-h"):
        time.sleep(0.1)
    wall = time.monotonic() - start
    cpu = [float(file.read_text()) for file in spent.iterdir()]
    took = f"submitted in {submitted:.1f} s, ended after {wall:.1f} s, {sum(cpu):.1f} s of CPU"
    print(f"{name}: {took} in {len(cpu)} processes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datatrove", type=Path, required=True, help="environment that has datatrove")
    parser.add_argument("--files", type=int, default=12, help="files to read, one per language")
    parser.add_argument("--per-element", type=int, default=1, help="files that an element reads")
    options = parser.parse_args()
    tags = TAGS[: options.files]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("texts", "path"):
            (folder / part).mkdir()
        (folder / "path" / "sitecustomize.py").write_text(AT_EXIT)
        for tag in tags:
            rows = [json.dumps({"id": f"{tag}{row}", "text": f"{tag} {row} " * 40}) for row in range(10)]
            (folder / "texts" / f"{tag}.jsonl").write_text("\n".join(rows))
        (folder / "recipe.toml").write_text(RECIPE.format(languages=json.dumps(tags), folder=folder))
        (folder / "site.toml").write_text(SITE.format(per_element=options.per_element))
        (folder / "launch.py").write_text(DATATROVE)
        ours = [sys.executable, "-m", "x_instruction", "run", "recipe.toml", "--until", "corpus", "--on", "slurm"]
        ours += ["--site", "site.toml", "--out"]
        venv = options.datatrove.absolute()
        theirs = [str(venv / "bin/python"), "launch.py", *map(str, (folder, len(tags), venv, options.per_element))]
        with cluster(folder / "slurm") as here:
            for turn in range(2):
                measure(f"x-instruction-{turn}", here, folder, [*ours, f"run-{turn}"])
                measure(f"datatrove-{turn}", here, folder, theirs)
                written = len(list((folder / "output").glob("*.jsonl.gz")))
                assert written == len(tags), written
                subprocess.run(["rm", "-rf", folder / "logs", folder / "output"], check=True)
        made = sum(len(list((folder / "run-0" / "passage").glob(f"{tag}/00000.parquet"))) for tag in tags)
        assert made == len(tags), made


if __name__ == "__main__":
    main()
