from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from x_instruction.cli import cli
from x_instruction.config import recipe
from x_instruction.corpus.density import DENSITY
from x_instruction.pipeline.language_report import ENGLISH, LEAST_KEPT

TIGRINYA = "ኩሉ ሰብ ነጻ ኮይኑ እዩ ዝውለድ፡ ብክብረትን መሰልን ድማ ማዕረ እዩ። ኣእምሮን ሕልናን ስለ ዝተዋህቦ ድማ ብሕውነት ክነብር ይግባእ። "
ENGLISH_PAGE = f"{ENGLISH}\n" * 2


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["languages", *arguments], prog_name="x-instruction")


def rows(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call(*arguments, "--json").stdout)
    return found


def corpus(folder: Path, tag: str, texts: list[str]) -> str:
    path = folder / f"{tag}.jsonl"
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), "utf-8")
    return str(path)


def test_a_language_of_the_sample_gets_the_verdict_go(tiny_model: Path) -> None:
    done = call("sw,th", "--model", str(tiny_model), "--set", "generate.model.server.prompt_price=2")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].split() == [
        "language", "kept", "dropped", "tokens", "passages", "cost", "verdict",
    ]  # fmt: skip
    assert [line.split()[-1] for line in done.stdout.splitlines()[1:]] == ["go", "go"]


def test_the_figures_describe_the_texts(tiny_model: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    text = (
        "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。"
        "人人有资格享有本宣言所载的一切权利和自由，不分种族、肤色、性别、语言、宗教、政治或其他见解。"
    )
    (row,) = rows("zh", "--corpus", corpus(tmp_path, "zh", [text]), "--model", str(tiny_model))
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    per_character = len(tokenizer.encode(text, add_special_tokens=False).ids) / len(text)
    english = len(tokenizer.encode(ENGLISH, add_special_tokens=False).ids) / len(ENGLISH)
    assert (row["documents"], row["read"], row["kept"], row["share"], row["passages"]) == (1, 1, 1, 1.0, 1)
    assert row["tokens_per_character"] == pytest.approx(per_character, abs=1e-3)
    assert row["against_english"] == pytest.approx(per_character * DENSITY["Hans"] / english, abs=1e-2)
    generate = recipe.load("files").generate
    assert row["output_tokens"] == generate.candidates * generate.max_tokens
    assert row["cost"] is None


def test_a_language_without_an_identifier_is_no_go(tmp_path: Path) -> None:
    done = call("ti", "--corpus", corpus(tmp_path, "ti", [TIGRINYA * 3]), "--json")
    (row,) = json.loads(done.stdout)
    assert done.exit_code == 2
    assert row["why"].startswith("py3langid does not know Tigrinya ('ti'): set lid_model")
    assert (row["go"], row["identified"]) == (False, {})


def test_text_in_another_language_is_no_go_and_its_language_is_named(tmp_path: Path) -> None:
    done = call("sw", "--corpus", corpus(tmp_path, "sw", [ENGLISH_PAGE, ENGLISH_PAGE.upper()]), "--json")
    (row,) = json.loads(done.stdout)
    assert (done.exit_code, row["share"], row["go"]) == (2, 0.0, False)
    assert row["why"] == "100% of the text is identified as another language, mostly en"
    assert row["identified"]["en"] == len(row["identified"]) + 1 == 2


def test_text_that_is_mostly_dropped_is_no_go_and_the_reason_is_named(tmp_path: Path) -> None:
    (row,) = rows("sw", "--corpus", corpus(tmp_path, "sw", ["Habari za leo."] * 5))
    assert row["share"] < LEAST_KEPT
    assert row["why"] == "0% of the text is kept, mostly dropped as too_short"


def test_a_tokenizer_without_the_script_is_no_go(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([ENGLISH], trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (row,) = rows("ta", "--model", str(tmp_path))
    assert row["why"].endswith("tokens for one of English, so the model has hardly read it")
    assert row["against_english"] > 4


def test_csv_has_all_figures_and_leaves_out_tokens_without_a_model() -> None:
    (row,) = csv.DictReader(call("sw", "--csv").stdout.splitlines())
    assert (row["language"], row["kept"], row["go"]) == ("sw", "12", "True")
    assert row["tokens_per_character"] == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sw", "--corpus", "none/*.jsonl"), "no file matches none/*.jsonl"),
        (("yo",), "the sample has no Yoruba"),
        (("qqq",), "unknown language 'qqq'"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = call(*arguments)
    assert message in str(done.exception)
