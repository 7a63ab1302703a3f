"""The tokens of a row that carry a loss, for plain prompts and for chats."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from x_instruction.config.model import Model
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.errors import TrainingError
from x_instruction.training.job import TrainingExample
from x_instruction.training.tokenization import ExampleEncoder

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def reader(tiny_model: Path) -> ExampleEncoder:
    return ExampleEncoder(str(tiny_model))


@pytest.fixture(scope="module")
def chat_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return folder


def learned(reader: ExampleEncoder, row: dict[str, list[int]]) -> str:
    return str(reader.tokenizer.decode([token for token in row["labels"] if token != -100]))


def test_no_rows_are_refused(reader: ExampleEncoder) -> None:
    with pytest.raises(TrainingError, match="there is no row to train on"):
        reader.rows([], None, 99)


def test_prompts_without_room_for_an_output_are_refused(reader: ExampleEncoder) -> None:
    with pytest.raises(TrainingError, match="every prompt has at least 3 tokens, so no output is left"):
        reader.rows([TrainingExample("How do tides work, and why?", " The moon.")], 3, 99)


def test_max_tokens_above_the_context_is_refused(reader: ExampleEncoder) -> None:
    with pytest.raises(TrainingError, match=r"max_tokens is 9,999,999, expected at most [\d,]+, the context of"):
        reader.rows([TrainingExample("a", "b")], 9_999_999, 99)


def test_a_chat_needs_a_chat_template(reader: ExampleEncoder) -> None:
    with pytest.raises(TrainingError, match="has no chat template: use a plain prompt"):
        reader.encode(TrainingExample((("user", "hello"),), "hi"))


@pytest.mark.parametrize(
    ("prompt", "output"), [("Teksti: sauna\nQ:", " Mikä?"), ("ข้อความ: น้ำ\nQ:", " อะไร"), ("জল", "\nজল?")]
)
def test_the_loss_covers_exactly_the_output(reader: ExampleEncoder, prompt: str, output: str) -> None:
    rows, _ = reader.rows([TrainingExample(prompt, output)], None, 100)
    row, start = rows[0], len(reader.tokenizer(prompt)["input_ids"])
    assert row["labels"][:start] == [-100] * start
    assert row["labels"][start:] == row["input_ids"][start:]
    assert reader.tokenizer.decode(row["input_ids"][start:-1]) == output
    assert row["input_ids"][-1] == reader.tokenizer.eos_token_id


def test_an_unfinished_output_has_no_end_token(reader: ExampleEncoder) -> None:
    rows, _ = reader.rows([TrainingExample("Q:", " yes", end=False)], None, 100)
    assert learned(reader, rows[0]) == " yes"


def test_prompts_are_tokenized_as_by_the_engines(reader: ExampleEncoder, tiny_model: Path, chat_model: Path) -> None:
    engine = TransformersEngine(Model(name=str(tiny_model)))
    tokens, start = reader.encode(TrainingExample("Kysymys: sauna?\n", "Lämmin."))
    assert tokens[:start] == engine.encoder.prompt("Kysymys: sauna?\n")
    chat = TransformersEngine(Model(name=str(chat_model)))
    turns = (("user", "How do tides work?"),)
    tokens, start = ExampleEncoder(str(chat_model)).encode(TrainingExample(turns, "The moon."))
    assert tokens[:start] == chat.encoder.prompt(turns)


def test_a_turn_ends_as_its_template_ends_it(chat_model: Path) -> None:
    found = ExampleEncoder(str(chat_model))
    tokens, start = found.encode(TrainingExample((("user", "How?"),), "So."))
    assert found.tokenizer.decode(tokens[start:]) == "So.</s>\n"
    tokens, start = found.encode(TrainingExample((("user", "How?"),), "yes", end=False))
    assert found.tokenizer.decode(tokens[start:]) == "yes"


def test_lengths_are_measured(reader: ExampleEncoder) -> None:
    one = len(reader.encode(TrainingExample("a", "b"))[0])
    examples = [TrainingExample("a", "b") for _ in range(99)] + [TrainingExample("a", "b " * 50)]
    long = len(reader.encode(examples[-1])[0])
    rows, lengths = reader.rows(examples, None, 99)
    assert (lengths.max_tokens, lengths.truncated, lengths.dropped, lengths.rows) == (one, 1, 0, 100)
    assert lengths.percentiles == {"50": one, "90": one, "95": one, "99": one, "100": long}
    assert len(rows[99]["input_ids"]) == one
    rows, lengths = reader.rows(examples, None, 100)
    assert (lengths.max_tokens, lengths.truncated) == (long, 0)


def test_a_long_prompt_is_skipped_and_counted(reader: ExampleEncoder) -> None:
    rows, lengths = reader.rows([TrainingExample("a", "b"), TrainingExample("a " * 60, "b")], 10, 99)
    assert (list(rows), lengths.dropped, lengths.truncated) == ([0], 1, 0)
