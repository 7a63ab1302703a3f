"""The layers: imports only look down, those inside functions counted, and there is no cycle."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
# The lowest first. A name is a module or a folder; what is below may be imported, and what is in the same
# entry only without a cycle.
LAYERS = [
    ["errors", "adapters", "processes", "terminal"],
    ["hashing", "languages", "bootstrap", "storage.atomic", "storage.lock", "pages"],
    ["records", "config", "cards.records", "evaluation.metric", "evaluation.every_eval_ever", "evaluation.record"],
    ["storage"],
    ["engines", "corpus", "seed"],
    ["form", "prompts"],
    ["generate", "diversify", "translate", "rewrite"],
    ["refine"],
    ["local_hub", "mixing"],
    ["evaluation"],
    ["training"],
    ["pipeline", "builders", "cards"],
    ["report"],
    ["experiments", "review"],
    ["hub"],
    ["api"],
    ["cli"],
]
LOCAL_HUB = {
    f"local_hub.{name}"
    for name in [
        "access_api",
        "app",
        "buckets_api",
        "collections_api",
        "commit_api",
        "discussions_api",
        "files_api",
        "git_http",
        "incoming",
        "jobs_api",
        "lfs_api",
        "pages",
        "refs_api",
        "repos_api",
        "resolve",
        "server",
        "xet_api",
    ]
}
HEAVY = {
    "torch": {
        *("engines.local.transformers", "engines.local.sampling", "engines.embedded", "engines.local.embedder"),
        *("engines.local.vllm_model", "hub.model_readback", "experiments.pruned"),
        *(
            "engines.local.hidden_states",
            "training.worker",
            "training.trainer",
            "training.contrastive",
            "training.afp",
            "evaluation.representations",
        ),
    },
    "transformers": {
        *("engines.local.transformers", "engines.local.sampling", "engines.embedded", "engines.local.embedder"),
        "engines.local.chat_template",
        *("engines.local.vllm", "hub.model_readback", "experiments.pruned"),
        *("training.worker", "training.tokenization", "training.afp", "evaluation.representations"),
    },
    "trl": {"training.worker", "training.trainer"},
    "peft": {"engines.local.transformers", "hub.model_readback", "training.worker"},
    "sentence_transformers": {"engines.local.embedder"},
    "sklearn": {"diversify.kmeans"},
    "aiohttp": {"engines.remote.http"},
    "vllm": {
        "engines.local.vllm",
        "engines.local.vllm_adapter",
        "engines.local.vllm_model",
        "engines.local.vllm_requests",
    },
    "ray": {"pipeline.executors.ray", "pipeline.executors.ray_cluster", "pipeline.executors.ray_worker"},
    "starlette": LOCAL_HUB,
    "uvicorn": {"local_hub.server"},
    "lz4": {"local_hub.xet"},
    "vl_convert": {"report.charts"},
    "markdown_it": {"local_hub.rendering"},
    "lm_eval": {"evaluation.harness"},
}


def modules() -> dict[str, Path]:
    """Dotted name within the package to file."""
    found = {}
    for folder, prefix in (
        (ROOT / "x_instruction", ""),
        (ROOT / "builders", "builders"),
    ):
        for path in folder.rglob("*.py"):
            parts = (
                [prefix, *path.relative_to(folder).with_suffix("").parts]
                if prefix
                else list(path.relative_to(folder).with_suffix("").parts)
            )
            name = ".".join(part for part in parts if part != "__init__")
            if name not in ("", "__main__"):
                found[name] = path
    return found


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def internal(path: Path, known: dict[str, Path]) -> set[str]:
    names = {name.removeprefix("x_instruction.") for name in imports(path) if name.startswith("x_instruction.")}
    return names & known.keys()


def layer(name: str) -> int:
    top = name.split(".")[0]
    found = [number for expected in (name, top) for number, names in enumerate(LAYERS) if expected in names]
    assert found, f"{name} has no layer: give {top} a place in LAYERS and in docs/architecture.md"
    return found[0]


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_follow_the_layers(name: str) -> None:
    known = modules()
    for other in internal(known[name], known) - {name}:
        assert layer(other) <= layer(name), f"{name} imports {other}, which is in a higher layer"


def test_no_cycles() -> None:
    known = modules()
    graph = {name: internal(path, known) - {name} for name, path in known.items()}
    # A package's own modules are not a cycle with the package: importing one runs its __init__.
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"import cycle: {' -> '.join([*above[above.index(name) :], name])}"
        if name not in done:
            for other in sorted(graph[name]):
                walk(other, (*above, name))
            done.add(name)

    for name in sorted(graph):
        walk(name, ())


@pytest.mark.parametrize("package", sorted(HEAVY))
def test_heavy_packages_are_imported_only_where_allowed(package: str) -> None:
    users = {name for name, path in modules().items() if any(i.split(".")[0] == package for i in imports(path))}
    assert users <= HEAVY[package]


def test_the_documentation_lists_the_layers() -> None:
    drawn = PAGE.read_text("utf-8").split("## Layers")[1].split("```")[1].split()
    assert " ".join(drawn).replace(",", "").split() == [name for names in reversed(LAYERS) for name in names]


def test_modules_and_names_in_the_documentation_exist() -> None:
    known = modules()
    for name in re.findall(r"`([a-z_]+(?:\.\w+)+)`", PAGE.read_text("utf-8")):
        parts = name.split(".")
        if parts[0] not in known:
            continue
        module = max((".".join(parts[:n]) for n in range(1, len(parts) + 1)), key=lambda m: (m in known, len(m)))
        source = known[module].read_text("utf-8")
        for attribute in parts[module.count(".") + 1 :]:
            assert re.search(rf"^ *(class |def )?{attribute}\b", source, re.MULTILINE), f"{PAGE.name} names {name}"


def test_no_module_is_called_utils() -> None:
    assert not [name for name in modules() if {"utils", "helpers", "common", "manager"} & set(name.split("."))]


def test_modules_that_code_in_strings_imports_exist() -> None:
    """Tests run scripts in other processes, which no type checker reads."""
    imported = re.compile(r"(?:from|import) (x_instruction(?:\.\w+)*)")
    named = {name for path in (ROOT / "tests").rglob("*.py") for name in imported.findall(path.read_text("utf-8"))}
    assert {name for name in named if find_spec(name) is None} == set()
