"""Exports: bytes of the files, what trainers read, and that rows are unchanged."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import datasets
import pytest
import yaml

from x_instruction.builders.exports import export
from x_instruction.builders.formats import FORMATS
from x_instruction.builders.reading import load
from x_instruction.errors import RecipeError, ShardError
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED

# Texts that break code which takes text for markup, lines or escapes.
HOSTILE = (
    "\x00\x01\x1b[31m\x7f\x85\u2028\u2029\r\n\ttab",
    "<script>alert('x')</script> &amp; {{ jinja }} <|im_end|>",
    "\u202eעברית اردو\u2066 \ufeff zero\u200bwidth",
    '\U0001f469\u200d\U0001f33e \ufffd \U0010ffff \\ud800 \\u0000 "quoted" \\',
    "",
    "ก" * 350_000,
)


def read(path: Path) -> list[dict]:
    if path.suffix == ".json":
        return json.loads(path.read_bytes())
    return [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]


def test_bad_input_is_one_error_and_no_file(run, tmp_path):
    out = tmp_path / "out"
    for expected, changes in {
        r"unknown format 'csv' \(known: original, jsonl": {"form": "csv"},
        r"does not have 'fi', only no, sw, th, ur": {"languages": ["Finnish"]},
        "unknown language 'swahilli', did you mean": {"languages": ["swahilli"]},
        "'all' is not a language": {"languages": ["all"]},
        "in 'sw': it has no split 'test', only train": {"languages": ["sw"], "split": "test"},
        r"nothing to export .*\(no: it has no split 'nothing', only train; sw:": {"split": "nothing"},
        "is not a folder": {"source": "./nothing-here"},
        "cannot load org/name from the Hub": {"source": "org/name"},
    }.items():
        with pytest.raises(RecipeError, match=expected):
            export(**{"source": run.root, "out": out, "form": "jsonl"} | changes)
        assert not out.exists()


def test_a_non_empty_folder_is_refused(run, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RecipeError, match=r"is not empty \(it has 'mine.txt'\): .*--overwrite"):
        export(run.root, tmp_path, "jsonl")
    with pytest.raises(RecipeError, match="is a file, expected a folder"):
        export(run.root, tmp_path / "mine.txt", "jsonl")


def test_overwriting_replaces_only_files_of_the_same_names(run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    (out / "sw.jsonl").write_text("old")
    (out / "dataset_info.json").write_text(json.dumps({"alpaca_en": {"file_name": "mine.json"}}))
    export(run.root, out, "alpaca", languages=["sw"], overwrite=True)
    assert (out / "mine.txt").read_text() == "mine"
    assert len(read(out / "sw.jsonl")) == 24
    assert list(json.loads((out / "dataset_info.json").read_text())) == ["alpaca_en", "x_instruction_sw"]
    (out / "dataset_info.json").write_text("[1]")
    with pytest.raises(RecipeError, match="is a list, expected an object"):
        export(run.root, out, "alpaca", languages=["sw"], overwrite=True)


def test_a_source_without_rows_is_refused(run, kit, tmp_path):
    for tag in kit.languages:
        kit.write(run, tag, [])
    with pytest.raises(RecipeError, match="nothing to export"):
        export(run.root, tmp_path / "out", "original")


@pytest.mark.parametrize("form", FORMATS)
def test_damage_in_the_middle_leaves_no_file(run, tmp_path, form):
    shard = run.path(CURATED.shard("sw", 1))
    shard.write_bytes(b"PAR1" + shard.read_bytes()[4:-30])
    with pytest.raises(ShardError, match=r"00001\.parquet"):
        export(run.root, tmp_path / "out", form, languages=["sw"])
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_from_every_source_gives_the_same_bytes(run, built, tmp_path, form):
    lines: list[str] = []
    first = export(run.root, tmp_path / "a", form, progress=lines.append)
    export(built, tmp_path / "b", form)
    export(run.root, tmp_path / "c", form)
    names = sorted(path.name for path in first.files)
    suffix = FORMATS[form].suffix
    assert [name for name in names if name.endswith(f".{suffix}") and "_" not in name] == [
        f"{tag}.{suffix}" for tag in ("no", "sw", "th", "ur")
    ]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    assert lines[1] == f"sw: 24 rows, {tmp_path / 'a' / f'sw.{suffix}'}"
    for name in names:
        held = [(tmp_path / folder / name).read_bytes() for folder in "abc"]
        assert held[0] == held[1] == held[2]


def test_the_original_layout_is_a_json_list(run, kit, tmp_path):
    export(run.root, tmp_path / "out", "original", languages=["swh_Latn", "sw"])
    path = tmp_path / "out" / "sw.json"
    rows = [{"instruction": r.instruction, "input": "", "output": r.text} for r in kit.records("sw")]
    text = path.read_text("utf-8")
    assert json.loads(text) == rows
    assert text.startswith('[\n{"instruction": "What is known of number 0?", "input": "", "output": "Kilimo')
    assert text.endswith("}\n]\n")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["sw.json"]
    export(run.root, tmp_path / "th", "original", languages=["th"])
    assert "การปลูกข้าว" in (tmp_path / "th" / "th.json").read_text("utf-8")
    # Plain datasets reads it, too.
    plain = datasets.load_dataset("json", data_files=str(path), split="train")
    assert list(plain) == rows


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_texts_and_large_rows_are_exported_unchanged(run, kit, tmp_path, form):
    records = [kit.curated("sw", n, instruction=text[:1000] or "?", text=text) for n, text in enumerate(HOSTILE)]
    kit.write(run, "sw", records)
    export(run.root, tmp_path / "out", form, languages=["sw"])
    path = tmp_path / "out" / f"sw.{FORMATS[form].suffix}"
    rows = read(path)
    assert rows == [FORMATS[form].row(row) for row in load("sw", run.root, split="train")]
    assert len(rows) == len(HOSTILE)
    assert all(text in json.dumps(row, ensure_ascii=False) for row, text in zip(rows[2:3], HOSTILE[2:3], strict=True))
    plain = datasets.load_dataset("json", data_files=str(path), split="train")
    assert [json.loads(json.dumps(row)) for row in plain] == rows
    if form == "original":
        again = load("sw", tmp_path / "out", split="train")
        assert [(row["instruction"], row["output"]) for row in again] == [(r.instruction, r.text) for r in records]
        export(tmp_path / "out", tmp_path / "again", form)
        assert (tmp_path / "again" / "sw.json").read_bytes() == path.read_bytes()


def test_a_number_that_json_cannot_represent_is_reported(run, kit, tmp_path):
    kit.write(run, "sw", [kit.curated("sw", 0, score=float("nan"))])
    with pytest.raises(ShardError, match="row 0 in 'sw' has a value that JSON cannot hold"):
        export(run.root, tmp_path / "out", "jsonl", languages=["sw"])


def test_a_run_is_split_by_its_recipe(run, kit, tmp_path, folder):
    from x_instruction.builders.layout import build
    from x_instruction.config.recipe import dumps

    settings = kit.recipe(kit.languages, test=0.5)
    (run.root / "recipe.json").write_text(dumps(settings))
    build(run, settings, folder)
    for split in ("train", "test"):
        name = "ur.jsonl" if split == "train" else "ur.test.jsonl"
        export(run.root, tmp_path / "run-out", "jsonl", split=split, overwrite=True)
        export(folder, tmp_path / "built-out", "jsonl", split=split, overwrite=True)
        mine, theirs = ((tmp_path / out / name).read_bytes() for out in ("run-out", "built-out"))
        assert mine == theirs
    train, test = (
        {row["document_id"] for row in read(tmp_path / "run-out" / n)} for n in ("ur.jsonl", "ur.test.jsonl")
    )
    assert train
    assert test
    assert not train & test
    (run.root / "recipe.json").write_text("{")
    with pytest.raises(RecipeError, match=r"recipe\.json"):
        export(run.root, tmp_path / "again", "jsonl")


# What LLaMA-Factory (data/README.md) and axolotl (docs/dataset-formats) say that they read.
LLAMA_KEYS = {"file_name", "formatting", "columns", "tags"}
LLAMA_COLUMNS = {"alpaca": {"prompt", "query", "response"}, "sharegpt": {"messages"}}
SHAREGPT_TAGS = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"}


@pytest.mark.parametrize("form", ["jsonl", "alpaca", "sharegpt", "chat"])
def test_llama_factory_finds_prompt_and_response(run, kit, tmp_path, form):
    export(run.root, tmp_path / "out", form)
    table = json.loads((tmp_path / "out" / "dataset_info.json").read_text("ascii"))
    assert list(table) == [f"x_instruction_{tag}" for tag in ("no", "sw", "th", "ur")]
    for tag, (key, entry) in zip(("no", "sw", "th", "ur"), table.items(), strict=True):
        assert key == f"x_instruction_{tag}"
        assert entry.keys() <= LLAMA_KEYS
        assert entry["columns"].keys() <= LLAMA_COLUMNS[entry["formatting"]]
        columns, tags = entry["columns"], entry.get("tags", SHAREGPT_TAGS)
        pairs = []
        for row in read(tmp_path / "out" / entry["file_name"]):
            if entry["formatting"] == "alpaca":
                parts = [row[columns[name]] for name in ("prompt", "query") if name in columns]
                pairs.append(("\n".join(filter(None, parts)), row[columns["response"]]))
            else:
                user, assistant = row[columns["messages"]]
                assert user[tags["role_tag"]] == tags["user_tag"]
                assert assistant[tags["role_tag"]] == tags["assistant_tag"]
                pairs.append((user[tags["content_tag"]], assistant[tags["content_tag"]]))
        assert pairs == [(record.instruction, record.text) for record in kit.records(tag)]


@pytest.mark.parametrize("form", ["jsonl", "alpaca", "sharegpt", "chat"])
def test_axolotl_finds_prompt_and_response(run, kit, tmp_path, form):
    export(run.root, tmp_path / "out", form)
    table = yaml.safe_load((tmp_path / "out" / "axolotl.yaml").read_text("utf-8"))
    assert list(table) == ["datasets"]
    # Norwegian's tag is a truth value to YAML; as a file's name it is not.
    assert [entry["path"] for entry in table["datasets"]] == ["no.jsonl", "sw.jsonl", "th.jsonl", "ur.jsonl"]
    roles = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
    for entry in table["datasets"]:
        assert entry["ds_type"] == "json"
        row = read(tmp_path / "out" / entry["path"])[0]
        record = kit.records(entry["path"].partition(".")[0])[0]
        if entry["type"] == "alpaca":
            assert (row["instruction"], row.get("input", ""), row["output"]) == (record.instruction, "", record.text)
            continue
        assert entry["type"] == "chat_template"
        names = entry.get("message_property_mappings", {"role": "role", "content": "content"})
        turns = [(roles[turn[names["role"]]], turn[names["content"]]) for turn in row[entry["field_messages"]]]
        assert turns == [("user", record.instruction), ("assistant", record.text)]


def test_a_test_split_is_never_offered_for_training(run, kit, tmp_path, folder):
    from x_instruction.builders.layout import build

    build(run, kit.recipe(kit.languages, test=0.5), folder)
    export(folder, tmp_path / "out", "alpaca", languages=["ur"], split="test")
    assert list(yaml.safe_load((tmp_path / "out" / "axolotl.test.yaml").read_text())) == ["test_datasets"]
    assert list(json.loads((tmp_path / "out" / "dataset_info.json").read_text())) == ["x_instruction_ur_test"]


def test_memory_does_not_grow_with_the_rows(kit, tmp_path):
    peaks = []
    for rows in (2_000, 8_000):
        run = RunFolder(tmp_path / str(rows))
        kit.write(run, "sw", [kit.curated("sw", n, text=f"{n} " + "maji " * 500) for n in range(rows)], shards=4)
        tracemalloc.start()
        export(run.root, tmp_path / f"out-{rows}", "original")
        load_rows = load("sw", tmp_path / f"out-{rows}", split="train", streaming=True)
        assert sum(1 for _ in load_rows) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5
