import dataclasses
import os
import pickle
import shutil

import datasets
import pytest
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard

import x_instruction
from x_instruction.builders.layout import build
from x_instruction.builders.reading import load
from x_instruction.builders.schema import features
from x_instruction.builders.x_instruction import XInstruction
from x_instruction.errors import RecipeError, ShardError, UnknownLanguage
from x_instruction.languages import PAPER_LANGUAGES
from x_instruction.storage.shard_key import CURATED


@pytest.fixture(params=["run", "built"])
def source(request, run):
    return run.root if request.param == "run" else request.getfixturevalue("built")


def test_a_run_and_a_built_folder_load_alike(source, kit):
    for tag in (*kit.languages, "all"):
        tags = kit.languages if tag == "all" else [tag]
        expected = {(row["language"], row["id"]): row for one in tags for row in kit.rows(kit.records(one))}
        loaded = load(tag, source)
        streamed = load(tag, source, streaming=True)
        assert list(loaded) == list(streamed) == ["train"]
        for data in (loaded["train"], streamed["train"]):
            assert data.features == features()
            assert {(row["language"], row["id"]): row for row in data} == expected


def test_any_name_of_a_language_is_accepted(source):
    for name in ("sw", "swh_Latn", "swh-Latn", "swa", "swh", "Swahili", " SW "):
        assert set(load(name, source, split="train")["language"]) == {"sw"}


def test_two_processes_give_the_rows_of_one(source, kit):
    one = load("all", source, split="train")
    datasets_of_two = load("all", source, split="train", num_proc=2, download_mode="force_redownload")
    assert sorted(one["id"]) == sorted(datasets_of_two["id"])
    assert len(one) == 24 * len(kit.languages)


def test_a_slice_of_a_split_is_loaded(source):
    assert len(load("sw", source, split="train[:5]")) == 5
    with pytest.raises(ValueError, match="Unknown split"):
        load("sw", source, split="nothing")


def test_streams_divide_by_shard(run):
    stream = load("sw", run.root, split="train", streaming=True)
    assert stream.num_shards == 2
    ids = [[row["id"] for row in stream.shard(2, index)] for index in range(2)]
    assert [len(part) for part in ids] == [12, 12]
    assert not set(ids[0]) & set(ids[1])


def test_features_are_equal_in_builder_yaml_and_files(run, kit, built):
    yaml = DatasetInfosDict.from_dataset_card_data(DatasetCard.load(built / "README.md").data)
    for tag in kit.languages:
        from_run = XInstruction(config_name=tag, source=run.root).info.features
        from_built = XInstruction(config_name=tag, source=built).info.features
        loaded = datasets.load_dataset(str(built), tag, split="train").features
        assert from_run == from_built == yaml[tag].features == loaded


def test_a_run_is_split_by_document_as_by_build(run, kit, folder, split_recipe):
    build(run, split_recipe, folder)
    from_run = load("ur", run.root, validation=0.2, test=0.2, seed=split_recipe.seed)
    from_built = load("ur", folder)
    assert {s: set(d["id"]) for s, d in from_run.items()} == {s: set(d["id"]) for s, d in from_built.items()}


@pytest.mark.parametrize("streaming", [False, True])
def test_a_changed_run_is_not_loaded_from_the_cache(source, run, kit, streaming):
    before = load("sw", source, split="train")
    rows = kit.records("sw")
    rows[0] = dataclasses.replace(rows[0], instruction="Changed?")
    kit.write(run, "sw", rows)
    if source != run.root:
        build(run, kit.recipe(), source)
    after = next(iter(load("sw", source, split="train", streaming=streaming)))
    assert before[0]["instruction"] != after["instruction"] == "Changed?"


def test_a_replaced_file_is_not_loaded_from_the_cache(built):
    load("sw", built)
    XInstruction(config_name="sw", source=built).download_and_prepare()
    shutil.copy(*[next((built / "data" / tag).iterdir()) for tag in ("th", "sw")])
    with pytest.raises(ShardError, match="was changed after the data set was built"):
        load("sw", built)
    again = XInstruction(config_name="sw", source=built)
    again.download_and_prepare()
    assert set(again.as_dataset("train")["language"]) == {"th"}


def test_damage_is_a_shard_error(source, run):
    files = sorted(source.rglob("*/th/*.parquet"))
    damaged = [file for file in files if "dropped" not in file.name and file.parts[-3] in ("curated", "data")][-1]
    damaged.write_bytes(damaged.read_bytes()[:-30])
    assert len(load("sw", source, split="train")) == 24
    with pytest.raises(ShardError, match=str(damaged)):
        load("th", source)
    with pytest.raises(ShardError, match=str(damaged)):
        load("all", source)


def test_damage_in_a_worker_is_a_shard_error(run):
    run.path(CURATED.shard("th", 1)).write_bytes(b"PAR1")
    with pytest.raises(ShardError, match=r"00001\.parquet"):
        load("th", run.root, num_proc=2)


def test_a_language_without_rows_is_not_available(run, kit):
    kit.write(run, "th", [])
    with pytest.raises(RecipeError, match="only no, sw, ur"):
        load("th", run.root)
    assert len(load("all", run.root, split="train")) == 3 * 24


def test_shards_and_splits_without_rows_are_skipped(run, kit):
    kit.write(run, "sw", kit.records("sw", 1), shards=3)
    (only,) = load("sw", run.root, test=0.5).values()
    assert len(only) == 1
    assert len(load("sw", run.root, split="train", num_proc=2, download_mode="force_redownload")) == 1


def test_a_missing_language_lists_the_available_ones(source, run):
    with pytest.raises(RecipeError, match=r"does not have 'Finnish' \(fi\), only no, sw, th, ur"):
        load("Finnish", source)
    with pytest.raises(UnknownLanguage, match="swaheli"):
        load("swaheli", source)


def test_an_unfinished_language_is_not_available(run):
    (run.root / "curated" / "ur" / "index.json").unlink()
    with pytest.raises(RecipeError, match="only no, sw, th"):
        load("ur", run.root)


def test_an_unknown_folder_is_refused_with_its_contents(tmp_path):
    (tmp_path / "x" / "stuff").mkdir(parents=True)
    with pytest.raises(RecipeError, match=r"has stuff: expected a built data set .* or a run"):
        load("sw", tmp_path / "x")
    with pytest.raises(RecipeError, match="is not a folder"):
        load("sw", tmp_path / "missing")
    with pytest.raises(RecipeError, match="is not a folder"):
        load("sw", "./missing")


def test_a_source_is_required(run, monkeypatch):
    with pytest.raises(RecipeError, match="X_INSTRUCTION_DATASET"):
        load("sw")
    monkeypatch.setenv("X_INSTRUCTION_DATASET", str(run.root))
    assert len(load("sw", split="train")) == 24
    assert len(x_instruction.load("sw", split="train")) == 24


def test_a_hub_id_is_passed_to_datasets_with_the_language(monkeypatch):
    calls = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: calls.append((args, kwargs)))
    load("swh_Latn", "org/x-instruction", revision="v1", split="train", columns=["id"])
    options = {"revision": "v1", "split": "train", "streaming": False, "num_proc": None, "columns": ["id"]}
    assert calls == [(("org/x-instruction", "sw"), options)]

    def unknown(*args, **kwargs):
        raise ValueError("BuilderConfig 'sw' not found. Available: ['fi']")

    monkeypatch.setattr(datasets, "load_dataset", unknown)
    with pytest.raises(RecipeError, match=r"org/x-instruction does not have .*\['fi'\]"):
        load("sw", "org/x-instruction")


def test_a_folder_has_no_revision(run):
    with pytest.raises(RecipeError, match="revision"):
        load("sw", run.root, revision="v1")


def test_the_builder_has_a_config_per_language_of_the_paper():
    assert list(XInstruction.builder_configs) == list(PAPER_LANGUAGES)


def test_the_builder_has_names_for_config_and_data_set(run):
    builder = XInstruction(config_name="swh_Latn", source=run.root)
    assert (builder.config.name, builder.config.language) == ("sw", "sw")
    assert builder.dataset_name == builder.name == "x_instruction"
    assert str(builder.config.version) == str(XInstruction.VERSION)
    assert XInstruction(language="no", source=run.root).config.name == "no"
    assert pickle.loads(pickle.dumps(builder)).config.source == str(run.root)


def test_the_builder_refuses_unknown_configs(run, kit, tmp_path):
    with pytest.raises(RecipeError, match="has no, sw, th, ur: pass one of them, or 'all'"):
        XInstruction(source=run.root)
    with pytest.raises(RecipeError, match="only no, sw, th, ur"):
        XInstruction(config_name="fi", source=run.root)
    with pytest.raises(RecipeError, match="needs a source"):
        XInstruction(config_name="sw")
    with pytest.raises(RecipeError, match="different languages"):
        XInstruction(config_name="sw", language="th", source=run.root)
    for tag in ("th", "ur", "no"):
        shutil.rmtree(run.root / "curated" / tag)
    assert XInstruction(source=run.root).config.name == "sw"


def test_the_builder_writes_parquet(run, tmp_path):
    builder = XInstruction(config_name="sw", source=run.root, hash="mine")
    builder.download_and_prepare(str(tmp_path / "out"), file_format="parquet")
    assert "x_instruction-train.parquet" in os.listdir(tmp_path / "out")
    assert builder.hash != XInstruction(config_name="sw", source=run.root).hash
