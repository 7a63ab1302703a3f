"""Models with a vocabulary cut to given texts: smaller, and faster where the output layer is most of the work.

Of the 268 million weights of Gemma 3 270M, 168 million are embeddings of its 262,144 tokens, and few texts use more
than a tenth of them. A cut model gives the texts the same tokens, and these tokens the same logits.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from x_instruction import hashing
from x_instruction.engines.embedded import hub_id_and_form
from x_instruction.engines.local.transformers import load_network
from x_instruction.engines.models import PLAIN, ModelFiles, loading, locate
from x_instruction.errors import EngineError, MissingExtra
from x_instruction.storage.atomic import sweep, temporary_for

try:
    import torch
    from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import logging as library_logging
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "transformers", "transformers") from error

# Texts that are tokenized at once.
_CHUNK = 1_000
# Tokens that models reserve for later use. There are thousands.
_RESERVED = re.compile(r"<\|?(unused|reserved)\w*\|?>")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# Most scripts have rows of 128 code points of their own.
_ROW_BITS = 7
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "decoder_start_token_id")


@dataclass(frozen=True, slots=True)
class Pruned:
    """A model with a smaller vocabulary.

    Args:
        folder: its transformers folder, with safetensors and tokenizer.
        before, after: tokens of the full and of the cut vocabulary.
        size: bytes of the folder.
    """

    folder: Path
    before: int
    after: int
    size: int


def prune(
    model: str,
    texts: Iterable[str],
    target: Path,
    log: Callable[[str], None] = lambda text: None,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> Pruned:
    """Cut a model's vocabulary to what texts use.

    The cut vocabulary has the tokens of the texts and of each of their words alone, the tokens that byte-pair encoding
    merges them from, byte tokens, special tokens, and the other characters of the scripts. Other texts are tokenized
    into smaller pieces.

    Args:
        model: an embedded name, a model folder or a Hub id, of a causal model whose tokenizer is byte-pair encoding.
        texts: all that the model is to read and write, prompts included.
        target: the folder in which the model's folder is made. The name of that folder holds a digest of the model, the
            tokens and ``dtype``, so it is made once.
        log: called with messages.
        dtype: data type of the weights.

    Raises:
        EngineError: the model cannot be cut, or the texts would be tokenized differently.
    """
    library_logging.disable_progress_bar()
    files = locate(model)
    with loading(f"{model!r} as a causal language model"):
        tokenizer = AutoTokenizer.from_pretrained(files.folder, **PLAIN)
    table = _table(tokenizer, model)
    texts = list(dict.fromkeys(texts))
    encoded = _encode(tokenizer, texts)
    used = {token for ids in encoded for token in ids}
    used |= {token for ids in _encode(tokenizer, _words(texts)) for token in ids}
    kept = _closure(table, used)
    name = hub_id_and_form(files.name)[0].split("/")[-1]
    folder = target / f"{name}-pruned-{hashing.digest([files.revision, kept, dtype])[:12]}"
    if not folder.is_dir():
        log(f"cutting the vocabulary of {files.name} from {len(table['model']['vocab'])} to {len(kept)} tokens")
        _write(model, files, tokenizer, kept, dtype, folder, lambda made: _verify(made, texts, encoded, kept))
    size = sum(path.stat().st_size for path in folder.iterdir())
    return Pruned(folder, len(table["model"]["vocab"]), len(kept), size)


def _table(tokenizer: PreTrainedTokenizerBase, model: str) -> dict[str, Any]:
    """The tokenizer as the ``tokenizers`` library describes it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    table: dict[str, Any] = json.loads(backend.to_str()) if backend else {"model": {}}
    if table["model"].get("type") != "BPE":
        raise EngineError(
            f"the tokenizer of {model!r} is {table['model'].get('type', type(tokenizer).__name__)}, expected byte-pair "
            "encoding (BPE): use this model whole"
        )
    return table


def _words(texts: Sequence[str]) -> list[str]:
    """Each word at the beginning of a text and within one, so that other texts of the same words are not split up."""
    words = sorted({word for text in texts for word in text.split()})
    return [*words, *(f" {word}" for word in words)]


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[array[int]]:
    chunks = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
    backend = tokenizer.backend_tokenizer
    return [array("i", found.ids) for chunk in chunks for found in backend.encode_batch_fast(chunk)]


def _closure(table: dict[str, Any], used: set[int]) -> list[int]:
    """Ids of the tokens to keep, in order.

    Byte-pair encoding applies the first merge of its list that is possible. What it merges within a token does not
    depend on what surrounds it, as no merge crosses the token's ends. So with all tokens on the way to those that are
    used, and all merges between kept tokens, it takes the same steps as before.
    """
    vocabulary: dict[str, int] = table["model"]["vocab"]
    names = {number: name for name, number in vocabulary.items()}
    added = {token["content"]: token["id"] for token in table["added_tokens"]}
    kept = used | {number for name, number in added.items() if not _RESERVED.fullmatch(name)}
    kept |= {number for name, number in vocabulary.items() if _BYTE.fullmatch(name)}
    ranks = {(left, right): rank for rank, (left, right) in enumerate(table["model"]["merges"])}
    for number in used & names.keys() - set(added.values()):
        kept |= {vocabulary[part] for part in _parts(names[number], ranks) if part in vocabulary}
    rows = {ord(sign) >> _ROW_BITS for number in kept & names.keys() for sign in names[number]}
    every = not table["model"].get("byte_fallback")
    kept |= {n for name, n in vocabulary.items() if len(name) == 1 and (every or ord(name) >> _ROW_BITS in rows)}
    return sorted(kept)


def _parts(token: str, ranks: dict[tuple[str, str], int]) -> Iterator[str]:
    """The characters of a token, and what byte-pair encoding makes of them until it has the token."""
    parts = list(token)
    yield from parts
    while len(parts) > 1:
        pairs = list(pairwise(parts))
        rank, place = min((ranks.get(pair, len(ranks)), place) for place, pair in enumerate(pairs))
        if rank == len(ranks):
            return
        parts[place : place + 2] = ["".join(pairs[place])]
        yield parts[place]


def _write(
    model: str,
    files: ModelFiles,
    tokenizer: PreTrainedTokenizerBase,
    kept: Sequence[int],
    dtype: str,
    folder: Path,
    verify: Callable[[Path], None],
) -> None:
    """Write the cut model under a temporary name, verify it and rename it."""
    with loading(f"{model!r} as a causal language model"):
        network = load_network(files.folder, dtype=getattr(torch, dtype))
    network = _cut_network(network, kept)
    work = temporary_for(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent.glob(".*.tmp"))
        network.save_pretrained(work)
        tokenizer.save_pretrained(work)
        _cut_tokenizer(work, _table(tokenizer, model), kept)
        license_note = f" Licence: {files.license}." if files.license else ""
        about = f"{files.name} (revision {files.revision}) with {len(kept)} tokens of its vocabulary.{license_note}\n"
        (work / "README.md").write_text(about, "utf-8")
        verify(work)
        try:
            os.replace(work, folder)
        except OSError:
            # Another process made the same model first.
            if not folder.is_dir():
                raise
    except OSError as error:
        raise EngineError(f"cannot write the model into {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _cut_network(network: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    # The kept rows go first, and the library cuts off the rest: from the embeddings, the output layer and the config.
    index = torch.tensor(kept)
    layers = [network.get_input_embeddings(), network.get_output_embeddings()]
    weights = {
        id(found): found
        for layer in layers
        for found in (layer.weight, getattr(layer, "bias", None))
        if found is not None
    }
    with torch.no_grad():
        for found in weights.values():
            found[: len(kept)] = found[index]
    network.resize_token_embeddings(len(kept))
    new = {old: number for number, old in enumerate(kept)}
    for config in (network.config, network.config.get_text_config(), network.generation_config):
        for name in _SPECIAL:
            _renumber(config, name, new)
    return network


def _renumber(config: Any, name: str, new: dict[int, int]) -> None:
    value = getattr(config, name, None)
    if isinstance(value, list):
        setattr(config, name, [new[one] for one in value if one in new])
    elif value is not None:
        setattr(config, name, new.get(value))


def _cut_tokenizer(folder: Path, table: dict[str, Any], kept: Sequence[int]) -> None:
    new = {old: number for number, old in enumerate(kept)}
    bpe = table["model"]
    bpe["vocab"] = {name: new[old] for name, old in bpe["vocab"].items() if old in new}
    bpe["merges"] = [
        (left, right)
        for left, right in bpe["merges"]
        if left in bpe["vocab"] and right in bpe["vocab"] and left + right in bpe["vocab"]
    ]
    table["added_tokens"] = [token | {"id": new[token["id"]]} for token in table["added_tokens"] if token["id"] in new]
    names = bpe["vocab"] | {token["content"]: token["id"] for token in table["added_tokens"]}
    processor = table["post_processor"] or {}
    for step in processor.get("processors", [processor]):
        for token in step.get("special_tokens", {}).values():
            token["ids"] = [names[name] for name in token["tokens"]]
    (folder / "tokenizer.json").write_text(json.dumps(table, ensure_ascii=False), "utf-8")
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings.pop("added_tokens_decoder", None)
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _verify(folder: Path, texts: Sequence[str], encoded: Sequence[array[int]], kept: Sequence[int]) -> None:
    """Compare the tokens of every text with those of the full vocabulary."""
    tokenizer = AutoTokenizer.from_pretrained(folder, **PLAIN)
    for text, before, after in zip(texts, encoded, _encode(tokenizer, texts), strict=True):
        if [kept[token] for token in after] != list(before):
            raise EngineError(
                f"with its vocabulary cut the model tokenizes {text[:40]!r} differently: use the model whole"
            )
