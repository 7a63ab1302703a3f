"""A real causal language model of 2 layers, trained for seconds: ``python tests/tiny_model.py FOLDER``.

It writes English titles that have nothing to do with the passage, but every line of the engine runs on it, thousands
of requests in seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.sources import Document, read
from x_instruction.languages import PAPER_LANGUAGES, language

if TYPE_CHECKING:
    from x_instruction.engines.local.transformers import TransformersEngine

BUILD = Path(__file__).parent.parent / "build"
_VERBS = ("cook", "grow", "repair", "paint", "read", "carry", "plant", "wash", "sell", "measure")
_THINGS = ("rice", "beans", "a boat", "the roof", "old maps", "goats", "a drum", "letters", "the harvest", "a net")
_OPENINGS = (
    "How to",
    "What is",
    "How does one",
    "Why",
    "How do people",
    "Explain how to",
    "Describe",
    "Tell",
    "Explain why",
)


def make(folder: Path, tags: Sequence[str] = PAPER_LANGUAGES, heads: int = 4) -> Path:
    """Save model and tokenizer, the tokenizer trained on the sample corpus.

    Args:
        heads: of attention over a width of 64; vLLM on a CPU needs a width of at least 32 each, which is 2.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    documents = [found for tag in tags for found in read(Corpus(source="sample"), language(tag))]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((found.text for found in documents if isinstance(found, Document)), trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    model = LlamaForCausalLM(config)
    tokens = PreTrainedTokenizerFast.from_pretrained(folder)
    titles = [f"article: {o} {verb} {thing}\n\n\n" for o in _OPENINGS for verb in _VERBS for thing in _THINGS]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    shuffle = torch.Generator().manual_seed(0)
    for _ in range(80):
        rows = [titles[n] for n in torch.randint(len(titles), (16,), generator=shuffle).tolist()]
        ids = tokens(rows, padding="max_length", max_length=40, truncation=True, return_tensors="pt")["input_ids"]
        labels = ids.masked_fill(ids == config.pad_token_id, -100)
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def kept(folder: Path, tags: Sequence[str]) -> Path:
    """A copy of the model that ``make`` writes, which is made anew only when something that decides it has changed."""
    decides = [Path(__file__).read_bytes(), *(_sample(tag) for tag in tags)]
    decides += [version(package).encode() for package in ("tokenizers", "torch", "transformers")]
    made = BUILD / "tiny-model" / hashlib.sha256(b"\0".join(decides)).hexdigest()[:16]
    made.parent.mkdir(parents=True, exist_ok=True)
    with open(made.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(made.with_suffix(".new"), tags).rename(made)
    return shutil.copytree(made, folder, dirs_exist_ok=True)


def _sample(tag: str) -> bytes:
    return resources.files("x_instruction.corpus.sample").joinpath(f"{tag}.jsonl").read_bytes()


def likelihood(engine: TransformersEngine, prompt: str, continuation: str) -> tuple[float, int]:
    """Log-likelihood of a continuation by one forward pass over the whole, and its number of tokens."""
    import torch

    start = engine.tokenizer(prompt)["input_ids"]
    end = engine.tokenizer(continuation, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = engine.network(torch.tensor([start + end])).logits[0].double()
    steps = torch.log_softmax(logits, -1)[len(start) - 1 : -1]
    return float(steps[torch.arange(len(end)), torch.tensor(end)].sum()), len(end)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
