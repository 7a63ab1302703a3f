"""Untrusted models: code in a model folder is never run, and pickled weights are never read."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from x_instruction.config.model import Model
from x_instruction.engines import open_engine
from x_instruction.engines.local.transformers import load_network, with_adapter
from x_instruction.errors import EngineError, TrainingError
from x_instruction.training.tokenization import ExampleEncoder

# JSON, but no object; too deep; not JSON.
ODD = ("[]", "3", "null", '"x"', "[" * 100_000, "{")
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


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *((name, content) for name in ("config.json", "tokenizer.json", "tokenizer_config.json") for content in ODD),
        ("config.json", '{"model_type": "llama", "hidden_size": -3}'),
        ("config.json", '{"model_type": ["llama"]}'),
        ("tokenizer.json", '{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}}'),
        ("tokenizer_config.json", '{"bos_token": 7}'),
        ("tokenizer_config.json", '{"added_tokens_decoder": 3}'),
        ("special_tokens_map.json", "[]"),
    ],
)
def test_files_that_hold_something_else_are_reported_in_one_line(
    tiny_model: Path, tmp_path: Path, file: str, content: str
) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(tiny_model, folder)
    (folder / file).write_text(content, "utf-8")
    with pytest.raises(EngineError, match=r"^cannot load '.*odd' as a causal language model: .+") as found:
        open_engine(Model(name=str(folder)))
    assert "\n" not in str(found.value)
    with pytest.raises(TrainingError, match=r"^cannot load the tokenizer and configuration of '.*odd': .+"):
        ExampleEncoder(str(folder))


@pytest.mark.parametrize("content", [*ODD, "{}", '{"peft_type": "LORA", "target_modules": 3}', '{"peft_type": "LORA"}'])
def test_an_adapter_whose_configuration_holds_something_else_is_reported_in_one_line(
    tiny_model: Path, tmp_path: Path, content: str
) -> None:
    (tmp_path / "adapter_config.json").write_text(content, "utf-8")
    save_file({"a": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    network = load_network(tiny_model, dtype=torch.float32)
    with pytest.raises(EngineError, match=r"^adapter '.*' does not fit on 'base': .+") as found:
        with_adapter(network, str(tmp_path), "base")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("tokens", ['"x"', "[1e400]", "[[1]]"])
def test_end_tokens_that_are_no_ids_are_reported(tiny_model: Path, tmp_path: Path, tokens: str) -> None:
    shutil.copytree(tiny_model, tmp_path / "odd")
    (tmp_path / "odd" / "generation_config.json").write_text(f'{{"eos_token_id": {tokens}}}', "utf-8")
    with pytest.raises(EngineError, match=r"eos_token_id .*, expected ids of tokens|cannot load .*odd"):
        open_engine(Model(name=str(tmp_path / "odd")))


def test_missing_weights_are_not_replaced_by_random_ones(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "partial"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if name.endswith("q_proj.weight"))
    save_file(
        {name: one for name, one in weights.items() if name != lost}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(EngineError, match=rf"its files lack 1 of its weights, such as {lost}; download it again"):
        open_engine(Model(name=str(folder)))
