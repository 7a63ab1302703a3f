"""What tests share: a tiny real model, passages in three scripts, a recipe that uses them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Read at import by the Hub's client: no test may reach out.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# No spaces, combining marks and Latin with diacritics are where multilingual code breaks.
TAGS = ("fi", "th", "bn")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real causal language model of 2 layers and random weights, its tokenizer trained on the sample."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from x_instruction.corpus.sources import read
    from x_instruction.languages import language
    from x_instruction.recipe import Corpus

    folder = tmp_path_factory.mktemp("tiny-model")
    texts = [d.text for tag in TAGS for d in read(Corpus(source="sample"), language(tag)) if hasattr(d, "text")]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def recipe_file(tmp_path: Path, tiny_model: Path) -> Callable[..., Path]:
    """Writes a recipe over the sample corpus with the tiny model; keyword arguments replace whole sections."""

    def write(**sections: dict[str, Any]) -> Path:
        table: dict[str, Any] = {
            "corpus": {"source": "sample", "shard_size": 5},
            "generate": {"candidates": 2, "max_tokens": 8, "passage_tokens": 64, "min_chars": 1},
            "generate.model": {"name": str(tiny_model), "batch_size": 8},
            "refine": {"rater": "pmi", "direction": "instruction", "response_tokens": 64, "min_score": -1000.0},
            "refine.model": {"name": str(tiny_model), "batch_size": 8},
            "diversify": {"embedder": "embedded", "quota": 8},
        } | sections
        lines = ['name = "test"', f"languages = {json.dumps(list(TAGS))}"]
        for name, values in table.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        path = tmp_path / "recipe.toml"
        path.write_text("\n".join(lines), "utf-8")
        return path

    return write
