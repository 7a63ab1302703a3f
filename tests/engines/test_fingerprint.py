"""Fingerprints: settings that change the output, and the content of models."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cached_models import cached, commit_of

from x_instruction.config.diversify import Diversify
from x_instruction.config.fields import affects
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model, Server, Vllm
from x_instruction.config.refine import Refine
from x_instruction.config.training import TrainConfig
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.errors import EngineError

SERVED = Model(name="org/model", engine="openai", server=Server(url="http://127.0.0.1:1/v1"))


def test_a_missing_model_is_reported() -> None:
    with pytest.raises(EngineError, match="does not exist"):
        fingerprint(Model(name="/no/model"))


@pytest.mark.parametrize(
    ("kind", "runtime"),
    [
        (Model, "device batch_tokens batch_size threads batching"),
        (
            Server,
            "url endpoints_file key_variable timeout concurrency retries outage_timeout stream "
            "prompt_price output_price",
        ),
        (Vllm, "memory tensor_parallel max_num_seqs eager"),
        (Diversify, "batch_size embed_shards_above threads"),
        (TrainConfig, "device_batch_size gradient_checkpointing device processes save_steps log"),
        (Generate, ""),
        (Refine, ""),
    ],
)
def test_runtime_only_keys_are_listed(kind: type, runtime: str) -> None:
    """A key may be added only if it changes no output."""
    extras = {key: field.json_schema_extra or {} for key, field in kind.model_fields.items()}
    assert {key for key, extra in extras.items() if extra.get("runtime_only")} == set(runtime.split())


def test_runtime_settings_do_not_change_the_fingerprint(tiny_model: Path) -> None:
    model = Model(name=str(tiny_model))
    moved = model.replace(
        device="cuda:1", batch_size=1, threads=9, server=Server(url="http://h/v1"), vllm=Vllm(eager=True)
    )
    assert fingerprint(model) == fingerprint(moved)
    assert fingerprint(model) != fingerprint(model.replace(dtype="bfloat16"))
    assert fingerprint(SERVED) == fingerprint(SERVED.replace(server=Server(url="http://other/v1", prompt_price=1.0)))
    assert fingerprint(SERVED) != fingerprint(SERVED.replace(server=Server(extra_body='{"seed": 1}')))


def test_a_local_model_is_identified_by_content_and_not_by_path(tiny_model: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(tiny_model, tmp_path / "elsewhere" / tiny_model.name)
    one, two = Model(name=str(tiny_model)), Model(name=str(copied))
    assert fingerprint(one) == fingerprint(two)
    assert str(tmp_path) not in str(fingerprint(two))
    weights = copied / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(0, 0))
    assert fingerprint(one) != fingerprint(two)


def test_renaming_a_file_changes_the_fingerprint(tiny_model: Path, tmp_path: Path) -> None:
    """Its time is the same, so only its name tells that the folder has changed."""
    copied = shutil.copytree(tiny_model, tmp_path / "model")
    (copied / "extra.json").write_text("{}")
    before = fingerprint(Model(name=str(copied)))
    (copied / "extra.json").rename(copied / "extras.json")
    assert fingerprint(Model(name=str(copied))) != before


def test_a_hub_model_is_identified_by_its_commit(hub_cache: Path) -> None:
    for revision in ("main", "v2"):
        cached(hub_cache, "org/model", revision)
    cached(hub_cache, "org/adapter", "main")
    found = fingerprint(Model(name="org/model", revision="v2", adapter="org/adapter"))
    assert (found["name"], found["revision"]) == ("org/model", commit_of("org/model", "v2"))
    assert found["adapter"] == commit_of("org/adapter", "main")
    assert fingerprint(Model(name="org/model"))["revision"] == commit_of("org/model", "main")


def test_a_local_adapter_is_identified_by_its_content(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    model = Model(name=str(tiny_model), adapter=str(tmp_path))
    before = fingerprint(model)
    assert before["adapter"].startswith("sha256:")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    assert fingerprint(model)["adapter"] != before["adapter"]


def test_a_served_model_is_identified_by_its_name() -> None:
    found = fingerprint(SERVED.replace(adapter="mine"))
    assert (found["name"], found["revision"], found["adapter"]) == ("org/model", "main", "mine")
    assert fingerprint(SERVED) != fingerprint(SERVED.replace(revision="v2"))


def test_training_settings_change_the_model_fingerprint_only() -> None:
    plain = Refine(rater="trained", model=SERVED)
    trained = plain.replace(train=TrainConfig(rank=8), init_from="generator", validation=0.2, per_level=3)
    assert fingerprint(plain) == fingerprint(trained) == fingerprint(plain.replace(rounds=2, convergence_tolerance=0.5))
    found = fingerprint(trained, "model")
    assert (found["train.rank"], found["init_from"], found["validation"], found["per_level"]) == (
        8,
        "generator",
        0.2,
        3,
    )
    assert "train.device" not in found
    assert "keep" not in found
    for key in ("response_tokens", "prompt"):
        assert affects(Refine, key) == ["records", "model"]


def test_lists_are_plain_data() -> None:
    assert fingerprint(Generate(model=SERVED))["styles"] == ["question", "instruction"]
