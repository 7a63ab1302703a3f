"""Randomly initialised models of known sizes, and a tokenizer: speed needs no trained weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

CONTEXT = 4096


@dataclass(frozen=True)
class Shape:
    """Shape of a Llama-like model; ``vocabulary`` 0 is the tokenizer's."""

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int = 0
    tied: bool = True


# About 0.32, 1.54 (Qwen2.5 1.5B) and 8.03 billion parameters (Llama 3.1 8B).
SIZES = {
    "0.3B": Shape(1024, 2816, 16, 16, 8, 128_256),
    "1.5B": Shape(1536, 8960, 28, 12, 2, 151_936),
    "8B": Shape(4096, 14_336, 32, 32, 8, 128_256, tied=False),
}
SMALL = {
    "tiny-1": Shape(64, 128, 2, 4, 2),
    "tiny-2": Shape(96, 192, 3, 4, 2),
    "tiny-3": Shape(128, 256, 4, 4, 2, tied=False),
}


@dataclass(frozen=True)
class Machine:
    """Device and data type of the measured models."""

    device: str
    dtype: torch.dtype

    @property
    def gpu(self) -> bool:
        return self.device == "cuda"

    def wait(self) -> None:
        """Wait for the device, before a clock is read."""
        if self.gpu:
            torch.cuda.synchronize()

    def empty(self) -> None:
        """Give cached memory back between models."""
        if self.gpu:
            torch.cuda.empty_cache()

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name() if self.gpu else f"CPU, torch threads: {torch.get_num_threads()}"


def machine() -> Machine:
    """The GPU in bfloat16 where there is one, else the CPU in float32."""
    return Machine("cuda", torch.bfloat16) if torch.cuda.is_available() else Machine("cpu", torch.float32)


def tokenizer(folder: Path, texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on the texts and saved to the folder."""
    made = Tokenizer(tokenizer_models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="left"
    )
    wrapped.save_pretrained(folder)
    return wrapped


def config(shape: Shape, vocabulary: int, spread: float = 0.0) -> LlamaConfig:
    """A model's configuration.

    Args:
        shape: its sizes.
        vocabulary: of the tokenizer.
        spread: standard deviation of the weights times the square root of the width; 0 keeps Llama's 0.02. From about
            1 on, some next tokens are clearly more likely than others, as in a trained model.
    """
    return LlamaConfig(
        vocab_size=shape.vocabulary or vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=shape.tied,
        initializer_range=spread / math.sqrt(shape.width) if spread else 0.02,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )


def network(settings: LlamaConfig, device: str, dtype: torch.dtype) -> Any:
    """A model with random weights, made on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        made = AutoModelForCausalLM.from_config(settings, dtype=dtype)
    return made.to(device).eval()


def save(folder: Path, settings: LlamaConfig, device: str, dtype: torch.dtype) -> None:
    """Weights into a folder that has the tokenizer."""
    network(settings, device, dtype).save_pretrained(folder)


def stub(folder: Path, vocabulary: int) -> None:
    """A model of one small layer.

    The engine opens this folder and is then given a network on the GPU: 16 GB of random weights need not be written to
    a disk and read again.
    """
    save(folder, config(Shape(64, 64, 1, 2, 2), vocabulary), "cpu", torch.float32)


@dataclass(frozen=True)
class Costs:
    """What a network's arithmetic costs; attention over the context is left out (under 5 % at these lengths).

    Args:
        body: weights multiplied for every token read.
        head: weights of the vocabulary's projection, multiplied where a token is predicted.
        kv_bytes: bytes that one token adds to the key-value cache.
        weight_bytes: bytes of all weights that a step reads.
    """

    body: int
    head: int
    kv_bytes: int
    weight_bytes: int
    parameters: int


def costs(made: Any) -> Costs:
    """Costs of a network."""
    settings = made.config
    parameters = sum(weight.numel() for weight in made.parameters())
    embeddings = made.get_input_embeddings().weight
    head = made.get_output_embeddings().weight
    tables = embeddings.numel() if embeddings is head else embeddings.numel() + head.numel()
    size = head.element_size()
    head_width = settings.hidden_size // settings.num_attention_heads
    body = parameters - tables
    kv = 2 * settings.num_hidden_layers * settings.num_key_value_heads * head_width * size
    return Costs(body, head.numel(), kv, (body + head.numel()) * size, parameters)
