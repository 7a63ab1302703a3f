"""Untrusted models: code in a model folder is never run, and pickled weights are never read."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from x_instruction.config.model import Model
from x_instruction.engines import open_engine
from x_instruction.engines.local.transformers import with_adapter
from x_instruction.errors import EngineError, TrainingError
from x_instruction.training.tokenization import ExampleEncoder

pytestmark = pytest.mark.filterwarnings("ignore:Torch was not compiled")


@pytest.fixture
def with_code(tiny_model: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A model whose classes are in a file of its own, and the file that appears if that code is run."""
    folder, ran = tmp_path / "stranger", tmp_path / "ran"
    shutil.copytree(tiny_model, folder)
    code = f"open({str(ran)!r}, 'w').close()\nfrom transformers import LlamaConfig as Config, LlamaForCausalLM as Net\n"
    (folder / "own.py").write_text(code, "utf-8")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Net"}}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder, ran


def test_code_of_a_model_is_not_run(with_code: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
    folder, ran = with_code
    with pytest.raises(EngineError, match=r"cannot load '.*stranger'.*code that comes with the model, which is never"):
        open_engine(Model(name=str(folder)))
    with pytest.raises(TrainingError, match=r"code that comes with the model, which is never run"):
        ExampleEncoder(str(folder))
    assert not ran.exists()
    assert "[y/N]" not in capfd.readouterr().out


def test_a_known_model_with_code_is_loaded_without_it(tiny_model: Path, with_code: tuple[Path, Path]) -> None:
    folder, ran = with_code
    config = json.loads((folder / "config.json").read_text("utf-8"))
    known = json.loads((tiny_model / "config.json").read_text("utf-8"))["model_type"]
    (folder / "config.json").write_text(json.dumps(config | {"model_type": known}), "utf-8")
    open_engine(Model(name=str(folder)))
    assert not ran.exists()


class _Runs:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_pickled_weights_are_not_read(tiny_model: Path, tmp_path: Path) -> None:
    folder, ran = tmp_path / "pickled", tmp_path / "ran"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({"weight": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(EngineError, match=r"no safetensors weights.*convert them to safetensors"):
        open_engine(Model(name=str(folder)))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Runs(ran)))
    with pytest.raises(EngineError, match=r"no safetensors weights"):
        open_engine(Model(name=str(folder)))
    assert not ran.exists()


def test_a_pickled_adapter_is_not_read(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}', "utf-8")
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps(_Runs(ran)))
    with pytest.raises(EngineError, match=r"has no adapter_model\.safetensors, and pickled weights can run code"):
        with_adapter(torch.nn.Linear(1, 1), str(tmp_path), "base")  # type: ignore[arg-type]
    assert not ran.exists()
