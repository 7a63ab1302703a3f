"""Tuning on rows of any file, the choice of a learning rate, and the record for the card; with a tiny model."""

from __future__ import annotations

import json
import shutil
import sys
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from x_instruction.cards import records
from x_instruction.cli import cli
from x_instruction.cli.options import read_sets
from x_instruction.config import mixing
from x_instruction.config.corpus import Corpus
from x_instruction.config.model import Model
from x_instruction.config.training import TrainConfig, TrainingRecipe, load
from x_instruction.corpus.sources import Document, read
from x_instruction.engines import Prompt
from x_instruction.engines.local import transformers
from x_instruction.engines.local.prompt_encoder import PromptEncoder
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.errors import CorpusError, MissingExtra, RecipeError, TrainingError
from x_instruction.evaluation import held_out
from x_instruction.experiments.scaling import curve, fit
from x_instruction.languages import language
from x_instruction.mixing import files
from x_instruction.mixing.files import sources
from x_instruction.prompts.answer import frame
from x_instruction.training import sft
from x_instruction.training.job import TrainingExample, TrainJob, TrainResult
from x_instruction.training.launch import launch
from x_instruction.training.tokenization import ExampleEncoder

pytestmark = pytest.mark.usefixtures("warm_trainings")
TUNE = [
    "train.steps=2",
    "train.batch_size=4",
    "train.device_batch_size=4",
    "train.rank=2",
    "train.threads=1",
    "train.device=cpu",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve rows of Finnish and twelve of Thai."""
    rows = []
    for tag in ("fi", "th"):
        for number, found in enumerate(read(Corpus(source="sample"), language(tag))):
            assert isinstance(found, Document)
            rows.append(
                {"id": f"{tag}-{number}", "instruction": f"Tell of {number}.", "output": found.text, "language": tag}
            )
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def settings(model: Path, *sets: str) -> TrainingRecipe:
    return load("embedded", {"model.name": str(model), **read_sets((*TUNE, *sets))})


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["train", "sft", *map(str, arguments)])


def test_data_without_usable_rows_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"instruction": "a", "output": " ", "language": "fi"}\n', "utf-8")
    with pytest.raises(CorpusError, match=r"no row to train on in empty\.jsonl \(empty 1\)"):
        sft.read(sources(str(empty), "web"))


def test_a_row_without_a_language_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "a", "output": "b"}\n', "utf-8")
    with pytest.raises(CorpusError, match=r"no_language 1"):
        sft.read(sources(str(path), "web"))
    assert sft.read(sources(f"fi={path}", "web")).pairs[0].language == "fi"


def test_aligned_sentences_stay_with_their_row(tmp_path: Path) -> None:
    """Rows need no id for this, and a shared id does not give a row the sentences of another."""
    same = {"id": "1", "instruction": "a", "output": "b", "language": "fi"}
    rows = [
        {"instruction": "a", "output": "b", "language": "fi", "sentence": "one", "parallel": "yksi"},
        {**same, "sentence": "two", "parallel": "kaksi"},
        {**same, "output": "c"},
        {**same, "output": "d", "sentence": "three", "parallel": None},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    data = sft.read(sources(str(path), "web"))
    assert [pair.id for pair in data.pairs] == ["rows.jsonl:1", "1", "1", "1"]
    found = [data.parallel.get(pair) for pair in data.pairs]
    assert found == [("one", "yksi"), ("two", "kaksi"), None, None]


def test_max_tokens_above_the_context_is_refused(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    config = settings(tiny_model, "train.max_tokens=999999")
    with pytest.raises(TrainingError, match=r"train.max_tokens is 999,999, expected at most"):
        sft.train(config, sft.read(sources(str(data), "web")), tmp_path / "m", print)


def test_a_chat_prompt_needs_a_chat_template(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="chat template"):
        sft.train(settings(tiny_model, "prompt=chat"), sft.read(sources(str(data), "web")), tmp_path / "m", print)


def test_search_rows_must_leave_rows_to_train_on(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    config = settings(tiny_model, "lr_search_rates=[1e-3]", "lr_search_rows=1000")
    with pytest.raises(TrainingError, match="lr_search_rows is 1000 and there are 24 rows"):
        sft.train(config, sft.read(sources(str(data), "web")), tmp_path / "m", print)


def test_the_command_trains_and_records(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "mine"
    sets = [part for pair in (f"model.name={tiny_model}", *TUNE) for part in ("--set", pair)]
    done = run("embedded", data, "--out", out, *sets)
    assert done.exit_code == 0, done.output
    assert "truncated" in done.output
    assert "2 steps" in done.output
    found = records.read(out).training
    assert found.languages == ("fi", "th")
    assert found.relation == "adapter"
    assert found.rows == 24
    assert found.steps == 2
    assert "{instruction}" in found.prompt
    inference = json.loads((out / "train_result.json").read_text("utf-8"))["inference"]
    assert inference == {"fi": "Answer in Finnish.", "th": "Answer in Thai."}
    assert str(tmp_path) not in (out / "training.json").read_text()
    assert str(tiny_model) not in (out / "training.json").read_text()
    TransformersEngine(Model(name=str(tiny_model), adapter=str(out)))
    again = run("embedded", data, "--out", out, *sets)
    assert again.exit_code == 1
    assert "exists already" in str(again.exception)


def test_included_recipes_are_listed() -> None:
    done = CliRunner().invoke(cli, ["recipe", "list", "--kind", "train"])
    assert done.exit_code == 0
    assert [line.split()[1] for line in done.output.splitlines()[1:]] == ["afp", "embedded", "x-instruction"]
    assert run().exit_code == 2


def test_the_best_learning_rate_is_used(
    tiny_model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is chosen on search rows of the target languages, which are not trained on."""
    config = settings(
        tiny_model, "lr_search_rates=[1e-6, 1e-2]", "lr_search_steps=6", "lr_search_rows=4", "answer_tokens=4"
    )
    lines: list[str] = []
    done = sft.train(config, sft.read(sources(str(data), "web")), tmp_path / "m", lines.append)
    rates: dict[str, Any] = json.loads((tmp_path / "m" / sft.LEARNING_RATES).read_text())
    assert set(rates) == {"1e-06", "0.01"}
    best = max(rates, key=lambda rate: (rates[rate]["score"], -rates[rate]["bits_per_byte"]))
    assert records.read(tmp_path / "m").training.hyperparameters["learning_rate"] == float(best)
    assert rates["0.01"]["bits_per_byte"] < rates["1e-06"]["bits_per_byte"]
    assert done.rows == 20
    assert any("has the best score of 2" in line for line in lines)
    assert not (tmp_path / ".m.lr-search").exists()


SEED, WEB = "Answer in Finnish and the style of an AI assistant.", "Answer in Finnish."


@pytest.fixture
def mixed(data: Path, tmp_path: Path) -> Path:
    """A mix of eight rows from the web and four of seeds, in Finnish."""
    rows = [line for line in data.read_text("utf-8").splitlines() if '"fi"' in line]
    found = []
    for kind, part in (("web", rows[:8]), ("seed", rows[8:])):
        path = tmp_path / f"{kind}.jsonl"
        path.write_text("\n".join(part), "utf-8")
        found += sources(str(path), kind)  # type: ignore[arg-type]
    recipe = mixing.load("x-instruction", {"languages": ["fi"]})
    files.write(recipe, found, tmp_path / "mix")
    return tmp_path / "mix"


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The tokens of every prompt that an engine gets. Training encodes its rows itself."""
    found: list[list[int]] = []

    class Recorder(PromptEncoder):
        def prompt(self, prompt: Prompt) -> list[int]:
            found.append(super().prompt(prompt))
            return found[-1]

    monkeypatch.setattr(transformers, "PromptEncoder", Recorder)
    return found


def test_evaluation_prompts_have_the_tokens_of_training_prompts(
    tiny_model: Path,
    data: Path,
    mixed: Path,
    encoded: list[list[int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = ExampleEncoder(str(tiny_model))
    trained: set[tuple[int, ...]] = set()

    def launched(job: TrainJob, examples: Sequence[TrainingExample], target: Path, *more: Any) -> TrainResult:
        for example in examples:
            tokens, start = reader.encode(example)
            trained.add(tuple(tokens[:start]))
        return launch(job, examples, target, *more)

    def asked() -> set[tuple[int, ...]]:
        found = {tuple(tokens) for tokens in encoded}
        encoded.clear()
        return found

    def prompts(numbers: Iterable[int], end: str) -> set[tuple[int, ...]]:
        ask = frame("answer", chat=False)
        return {tuple(reader.encode(TrainingExample(ask(f"Tell of {n}.{end}"), ""))[0][:-1]) for n in numbers}

    monkeypatch.setattr(sft, "launch", launched)
    out = tmp_path / "tuned"
    config = settings(tiny_model, "lr_search_rates=[1e-3]", "lr_search_steps=1", "lr_search_rows=3", "answer_tokens=2")
    sft.train(config, sft.read(sources(str(mixed), "web")), out, print)
    seeds = prompts(range(8, 12), f" {SEED}")
    # Seeds have the tag of training; search rows had the tag of their kind, and now have that of seeds.
    chosen = asked()
    assert len(chosen) == 3
    assert chosen <= prompts(range(12), f" {SEED}")
    assert trained <= seeds | prompts(range(8), f" {WEB}")
    assert len(trained) == 9
    assert files.inference_tags(out / "train_result.json") == ({"fi": SEED}, False)
    assert records.read(out).training.example.endswith(f". {SEED}")

    def measured(path: Path, *more: object) -> set[tuple[int, ...]]:
        short = ("--max-tokens", 8, "--answer-tokens", 2, "--out", tmp_path / "held.json")
        line = ("eval", "held-out", tiny_model, path, "--adapter", out, *short, *more)
        done = CliRunner().invoke(cli, list(map(str, line)))
        assert done.exit_code == 0, done.output
        return asked()

    # Plain seeds become what was trained, and rows of the mix do not get a tag twice.
    assert measured(tmp_path / "seed.jsonl") == seeds
    assert json.loads((tmp_path / "held.json").read_text("utf-8"))["tags"] == {"fi": SEED}
    file = next(mixed.glob("train-*"))
    assert measured(file) == prompts(range(12), f" {SEED}")
    assert measured(file, "--tag", "") == seeds | prompts(range(8), f" {WEB}")
    assert measured(tmp_path / "web.jsonl", "--tag", "In {name}!") == prompts(range(8), " In Finnish!")
    done = CliRunner().invoke(cli, ["eval", "held-out", str(tiny_model), str(file), "--tag", "{lang}"])
    assert "tag is '{lang}', expected text whose only fields are {tag} and {name}" in str(done.exception)


def test_a_size_curve_uses_the_tags_of_the_mix(
    tiny_model: Path, mixed: Path, encoded: list[list[int]], tmp_path: Path
) -> None:
    config = settings(tiny_model, "train.method=full", "answer_tokens=2")
    for size in (4, 8):
        shutil.copytree(tiny_model, tmp_path / "sizes" / f"embedded-{size}")
    rows, _ = held_out.read([str(tmp_path / "seed.jsonl")])
    curve(config, sft.read(sources(str(mixed), "web")), [4, 8], rows, tmp_path / "sizes", print)
    decode = ExampleEncoder(str(tiny_model)).tokenizer.decode
    assert encoded
    assert all(SEED in decode(tokens) for tokens in encoded)


def test_the_first_of_two_mixes_sets_the_tags(data: Path, mixed: Path, tmp_path: Path) -> None:
    found = files.sources(str(data), "web")
    files.write(mixing.load("x-instruction", {"languages": ["fi", "th"]}), found, tmp_path / "other")
    both = [source for name in ("mix", "other") for source in sources(str(tmp_path / name), "web")]
    assert sft.read(both).inference == {"fi": SEED, "th": "Answer in Thai."}
    assert sft.read(both[::-1]).inference == {"fi": WEB, "th": "Answer in Thai."}
    assert sft.read(found).inference == {}
    (mixed / "mix.json").write_text("{", "utf-8")
    with pytest.raises(CorpusError, match=r"mix\.json is damaged"):
        sft.read(both)


def test_only_humpback_adds_its_tags_to_prompts_in_the_language_of_the_answer(mixed: Path, tmp_path: Path) -> None:
    path = tmp_path / "native.jsonl"
    rows = ({"id": f"{n}", "instruction": f"Kerro {n}.", "output": "b", "language": "fi"} for n in range(2))
    path.write_text("".join(json.dumps(row | {"instruction_language": "fi"}) + "\n" for row in rows), "utf-8")
    found = [*sources(str(path), "web"), *sources(str(path), "seed")]
    files.write(mixing.load("humpback", {"languages": ["fi"]}), found, tmp_path / "native")
    native = sft.read(sources(str(tmp_path / "native"), "web"))
    assert native.inference
    assert native.everywhere
    assert not sft.read(sources(str(mixed), "web")).everywhere


def test_prompts_name_the_language_of_the_answer_unless_the_row_comes_from_a_mix(mixed: Path, tmp_path: Path) -> None:
    rows = [
        ({"instruction": "Tell.", "language": "fi"}, "Tell. Answer in Finnish."),
        ({"instruction": "Tell.", "language": "fin_Latn"}, "Tell. Answer in Finnish."),
        ({"instruction": "Tell.", "input": "It rains.", "language": "fi"}, "Tell.\nIt rains. Answer in Finnish."),
        ({"instruction": "Tell. Answer in Thai.", "language": "th"}, "Tell. Answer in Thai."),
        ({"instruction": "Kerro.", "language": "fi", "instruction_language": "fi"}, "Kerro."),
        ({"instruction": "Tell.", "language": "fi", "tag": ""}, "Tell."),
        ({"instruction": "Tell. [sw]", "language": "sw", "tag": "[sw]"}, "Tell. [sw]"),
    ]
    path = tmp_path / "rows.jsonl"
    table = ({"id": f"{n}", "output": "b", "sentence": "c", "parallel": "d"} | row for n, (row, _) in enumerate(rows))
    path.write_text("".join(json.dumps(row) + "\n" for row in table), "utf-8")
    found = sft.read(sources(str(path), "web"), "Answer in {name}.")
    assert [pair.asked for pair in found.pairs] == [prompt for _, prompt in rows]
    own = [" Answer in Finnish."] * 3 + [" Answer in Thai.", None, None, " [sw]"]
    assert [found.tags.get(pair) for pair in found.pairs] == own
    assert found.inference == {"fi": "Answer in Finnish.", "th": "Answer in Thai."}
    assert len(found.parallel) == len(rows), "sentences to align stay with their row"
    of_mix = sources(str(mixed), "web")
    assert sft.read(of_mix, "Answer in {name}.") == sft.read(of_mix)
    with pytest.raises(RecipeError, match=r"^tag is '\{language\}', expected text with no placeholders but"):
        load("embedded", {"tag": "{language}"})


EWE = "Tsi dza ŋdi sia, eye ɖeviwo ƒu du yi aƒeme hafi ahom va ɖo."


@pytest.fixture
def ewe(tmp_path: Path) -> Path:
    """Rows of a language that py3langid does not know."""
    path = tmp_path / "ewe.jsonl"
    rows = ({"instruction": f"Tell of {n}.", "output": f"{EWE} {n}", "language": "ee"} for n in range(8))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_an_unidentifiable_language_is_reported_before_training(
    tiny_model: Path, ewe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sft, "launch", lambda *given, **more: pytest.fail("tuned"))
    data = sft.read(sources(str(ewe), "web"))
    message = r"py3langid does not know Ewe \('ee'\): set lid_model to the file of a fastText model"
    with pytest.raises(RecipeError, match=message):
        sft.train(settings(tiny_model, "lr_search_rates=[1e-3]", "lr_search_rows=2"), data, tmp_path / "m", print)
    rows, _ = held_out.read([str(ewe)])
    with pytest.raises(RecipeError, match=message):
        curve(settings(tiny_model), data, [2, 4], rows, tmp_path / "sizes", print)
    missing = settings(tiny_model, "lr_search_rates=[1e-3]", "lr_search_rows=2", "lid_model=none.bin")
    with pytest.raises((RecipeError, MissingExtra), match=r"^lid_model none.bin is not a file|fasttext"):
        sft.train(missing, data, tmp_path / "m", print)


def test_lid_model_of_the_recipe_is_used(
    tiny_model: Path, ewe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "lid.bin"
    model.touch()
    module: Any = types.ModuleType("fasttext")
    module.load_model = lambda path: types.SimpleNamespace(
        predict=lambda text, k, threshold=0.0: (["__label__ewe_Latn"], [1.0])
    )
    monkeypatch.setitem(sys.modules, "fasttext", module)
    monkeypatch.setattr(held_out, "answers", lambda rows, *given: [EWE] * len(rows))
    rows, _ = held_out.read([str(ewe)], 2)
    asked = settings(tiny_model, f"lid_model={model}").replace(train=TrainConfig(method="full"))
    assert sft.evaluate(asked, tiny_model, rows)["ee"].language_accuracy == 1.0


def test_an_unknown_language_is_dropped_before_training(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b", "language": tag} for tag in ("fi", "zz", "unknown")]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = sft.read(sources(str(path), "web"))
    assert [pair.language for pair in found.pairs] == ["fi"]
    assert found.dropped == {"unknown_language": 2}
    assert found.names == ("rows",), "a folder's name may be a person's"


def test_rows_of_one_document_are_not_split(tmp_path: Path) -> None:
    """A mix may contain a row three times under three ids, with prompts in different languages."""
    rows = [
        {
            "id": f"mix-{n}",
            "source_id": f"{n // 3}",
            "prompt": f"kysy {n}",
            "completion": "b",
            "language": "fi",
            "prompt_language": "fi",
        }
        for n in range(12)
    ]
    path = tmp_path / "train-0.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = sft.read(sources(str(path), "web"))
    assert {pair.instruction_language for pair in found.pairs} == {"fi"}
    rest, held = sft._split(found.pairs, 2)
    assert len(held) == 6
    assert {pair.document for pair in rest}.isdisjoint(pair.document for pair in held)


def test_scores_on_other_rows_are_not_reused(
    tiny_model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that was killed after its trials, and is made again with other rows, tries again; of equal scores the one
    with fewer bits per byte decides."""
    sets = ("lr_search_rates=[1e-3, 1e-4]", "lr_search_steps=1", "lr_search_rows=2", "answer_tokens=2")
    launch, tried = sft.launch, []

    def killed(job: Any, examples: Any, target: Path, *rest: Any) -> Any:
        if target.name == "model":
            raise KeyboardInterrupt
        tried.append(target.name)
        return launch(job, examples, target, *rest)

    monkeypatch.setattr(sft, "launch", killed)
    bits = iter((1.0, 2.0, 2.0, 1.0))
    monkeypatch.setattr(
        sft,
        "evaluate",
        lambda *_: {"fi": types.SimpleNamespace(score=0.0, language_accuracy=0.0, bits_per_byte=next(bits))},
    )
    for number, expected in ((24, "0.001"), (24, "0.001"), (20, "0.0001")):
        rows = data.read_text("utf-8").splitlines()[:number]
        data.write_text("\n".join(rows), "utf-8")
        log: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            sft.train(settings(tiny_model, *sets), sft.read(sources(str(data), "web")), tmp_path / "model", log.append)
        assert log[-1].startswith(f"learning rate {expected} has the best score of 2: ")
    assert tried == ["0.001", "0.0001"] * 2


def test_a_size_curve_continues_only_with_the_same_settings(
    tiny_model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, _ = held_out.read((str(data),), 1)
    rows = sft.read(sources(str(data), "web"))
    recipe = settings(tiny_model, "answer_tokens=2")

    def go(*, sizes: tuple[int, ...] = (4, 8), asked: Any = held, recipe: Any = recipe) -> dict[int, dict[str, float]]:
        return curve(recipe, rows, sizes, asked, tmp_path / "sizes", lambda text: None)

    with pytest.raises(RecipeError, match="expected at least two different sizes"):
        go(sizes=(4,))
    with pytest.raises(RecipeError, match="a size is 99, expected at most 24"):
        go(sizes=(4, 99))
    assert not (tmp_path / "sizes").exists(), "reported before anything is tuned"
    first = go()
    monkeypatch.setattr("x_instruction.experiments.scaling.train", lambda *_: pytest.fail("tuned again"))
    assert go(asked=held[:1]) != first, "other rows are measured, and nothing is tuned for them"
    assert go() == first
    with pytest.raises(RecipeError, match=r"embedded-4 was trained on other rows or with other settings"):
        go(recipe=settings(tiny_model, "answer_tokens=2", "train.steps=1"))


def test_a_line_is_fitted_through_sizes() -> None:
    line = fit([1, 10, 100], [2.0, 2.0 + 3 * 2.302585092994046, 2.0 + 6 * 2.302585092994046])
    assert (line.slope, line.constant) == (pytest.approx(3.0), pytest.approx(2.0))
    assert line.low == pytest.approx(3.0)
    with pytest.raises(RecipeError, match="expected at least two different sizes"):
        fit([5, 5], [1.0, 2.0])
