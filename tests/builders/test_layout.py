import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard

from x_instruction.builders import corrections, readback
from x_instruction.builders.corrections import Correction
from x_instruction.builders.files import ROW_GROUP
from x_instruction.builders.layout import build, verify
from x_instruction.builders.manifest import Manifest
from x_instruction.builders.reading import load
from x_instruction.builders.schema import Content, RowContent, arrow_schema, features
from x_instruction.errors import RecipeError, ShardError
from x_instruction.hashing import sealed, unsealed
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED


def bytes_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_config_loads_with_and_without_streaming(run, kit, split_recipe, folder):
    built = build(run, split_recipe, folder)
    assert list(built.rows) == list(kit.languages)
    assert built.skipped == {}
    assert sorted(datasets.get_dataset_config_names(str(folder))) == sorted([*kit.languages, "all"])
    for tag in kit.languages:
        expected = {row["id"]: row for row in kit.rows(kit.records(tag))}
        loaded = datasets.load_dataset(str(folder), tag)
        streamed = datasets.load_dataset(str(folder), tag, streaming=True)
        for data in (loaded, streamed):
            assert {row["id"]: row for split in data.values() for row in split} == expected
            assert all(split.features == features() for split in data.values())
        assert {split: data.num_rows for split, data in loaded.items()} == built.rows[tag]
    together = datasets.load_dataset(str(folder), "all")
    assert sum(data.num_rows for data in together.values()) == 24 * len(kit.languages)
    assert datasets.load_dataset(str(folder), split="train")["language"][0] == "sw"


def test_corrected_instructions_replace_those_of_the_run(run, kit, split_recipe, folder, tmp_path):
    first, second = kit.records("sw")[:2]
    edits = [Correction(record.id, "sw", record.instruction, f"Corrected {record.id}?") for record in (first, second)]
    corrections.write(edits, tmp_path / "a.jsonl")
    build(run, split_recipe, folder, corrections=[tmp_path / "a.jsonl"])
    rows = {row["id"]: row for split in datasets.load_dataset(str(folder), "sw").values() for row in split}
    changed = [row for row in rows.values() if row["generator"].endswith("+reviewed")]
    assert sorted(row["instruction"] for row in changed) == sorted(edit.corrected for edit in edits)
    assert len(rows) == len(kit.records("sw"))
    assert "+reviewed" in (folder / "README.md").read_text("utf-8")
    before = bytes_of(folder)
    other = dataclasses.replace(edits[0], corrected="Another?")
    corrections.write([other], tmp_path / "b.jsonl")
    with pytest.raises(RecipeError, match=r"b\.jsonl, line 1: another file corrects this row differently"):
        build(run, split_recipe, folder, corrections=[tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    (tmp_path / "c.jsonl").write_text('{"passage": 1}\n', "utf-8")
    with pytest.raises(RecipeError, match=r"c\.jsonl, line 1 is not a correction"):
        build(run, split_recipe, folder, corrections=[tmp_path / "c.jsonl"])
    assert bytes_of(folder) == before


def test_the_yaml_describes_the_files(run, split_recipe, folder):
    built = build(run, split_recipe, folder)
    data = DatasetCard.load(folder / "README.md").data
    infos = DatasetInfosDict.from_dataset_card_data(data)
    for tag, rows in built.rows.items():
        files = sorted((folder / "data" / tag).iterdir())
        assert infos[tag].features == features()
        assert {name: split.num_examples for name, split in infos[tag].splits.items()} == rows
        assert infos[tag].download_size == sum(file.stat().st_size for file in files)
        assert all(pq.read_schema(file).equals(arrow_schema()) for file in files)
    assert infos["all"].download_size == sum(infos[tag].download_size for tag in built.rows)
    assert data.language == ["sw", "th", "ur", "no", "en"]
    assert data.language_details == "swh-Latn, tha-Thai, urd-Arab, nob-Latn"
    assert data.license == "cc-by-sa-4.0"
    assert data.size_categories == ["n<1K"]
    assert [config["config_name"] for config in data.configs if config.get("default")] == ["sw"]


def test_no_document_is_in_two_splits(run, split_recipe, folder, kit):
    build(run, split_recipe, folder)
    for tag in kit.languages:
        data = datasets.load_dataset(str(folder), tag)
        documents = {split: set(rows["document_id"]) for split, rows in data.items()}
        assert sum(map(len, documents.values())) == len(set().union(*documents.values())) == 8


def test_files_are_split_and_numbered(run, kit, folder):
    build(run, kit.recipe(rows_per_file=10), folder)
    files = sorted((folder / "data" / "sw").iterdir())
    assert [file.name for file in files] == [f"train-{i:05d}-of-00003.parquet" for i in range(3)]
    assert [pq.read_metadata(file).num_rows for file in files] == [10, 10, 4]
    column = pq.read_metadata(files[0]).row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert column.has_offset_index
    assert column.has_column_index


def test_memory_is_bounded_by_a_row_group(tmp_path, kit, folder):
    run = RunFolder(tmp_path / "run")
    kit.write(run, "sw", kit.records("sw", ROW_GROUP + 500))
    build(run, kit.recipe(("sw",)), folder)
    (file,) = (folder / "data" / "sw").iterdir()
    assert [pq.read_metadata(file).row_group(i).num_rows for i in range(2)] == [ROW_GROUP, 500]


def test_equal_runs_give_equal_bytes_in_any_folder(run, tmp_path, kit, split_recipe, folder):
    build(run, split_recipe, folder)
    shutil.copytree(run.root, tmp_path / "elsewhere" / "other-run")
    build(RunFolder(tmp_path / "elsewhere" / "other-run"), split_recipe, tmp_path / "elsewhere" / "other-set")
    build(run, split_recipe, folder)
    assert bytes_of(folder) == bytes_of(tmp_path / "elsewhere" / "other-set")
    assert not any(str(tmp_path).encode() in content for content in bytes_of(folder).values())


def test_the_next_load_sees_a_changed_row(run, kit, folder):
    # datasets 5.2 keys the cache of a local folder by its README and not by its files, and here no size changes.
    recipe = kit.recipe(("sw",))
    build(run, recipe, folder)
    before = DatasetCard.load(folder / "README.md").data
    for config in ("sw", "all"):
        datasets.load_dataset(str(folder), config)
    rows = kit.records("sw")
    right = rows[3].text_hash
    for at in range(0, 64, 8):
        # Letters that change places compress alike.
        wrong = right[:at] + right[at : at + 8][::-1] + right[at + 8 :]
        rows[3] = dataclasses.replace(rows[3], text_hash=wrong)
        kit.write(run, "sw", rows)
        build(run, recipe, folder)
        if (after := DatasetCard.load(folder / "README.md").data).dataset_info == before.dataset_info:
            break
    assert after.dataset_info == before.dataset_info
    assert after.configs != before.configs
    for config in ("sw", "all"):
        assert datasets.load_dataset(str(folder), config, split="train")[3]["text_hash"] == wrong


@pytest.mark.parametrize("how", [KeyboardInterrupt, RuntimeError, OSError])
def test_a_failed_build_keeps_the_existing_folder(run, kit, built, how, tmp_path):
    before = bytes_of(built)

    def breaks(line):
        if line.startswith("th"):
            raise how(28, "No space left on device")

    kit.write(run, "sw", kit.records("sw", 3))
    with pytest.raises(ShardError if how is OSError else how):
        build(run, kit.recipe(), built, breaks)
    assert bytes_of(built) == before
    assert sorted(os.listdir(tmp_path)) == ["data-set", "run"]


@pytest.mark.parametrize("kind", [Content, RowContent])
def test_a_build_that_does_not_load_back_equal_is_discarded(run, kit, built, monkeypatch, tmp_path, kind):
    before = bytes_of(built)

    class Reversed(kind):
        def add(self, rows):
            super().add(rows.take(list(range(len(rows)))[::-1]))

    monkeypatch.setattr("x_instruction.builders.files.Content", Reversed)
    with pytest.raises(ShardError, match="reads back as"):
        build(run, kit.recipe(), built)
    assert bytes_of(built) == before
    assert sorted(os.listdir(tmp_path)) == ["data-set", "run"]


def test_a_flipped_bit_in_the_cache_of_datasets_is_found(run, kit, built, monkeypatch):
    cached = readback._cached

    def flipped(rows):
        path = Path(rows.cache_files[0]["filename"])
        data = bytearray(path.read_bytes())
        data[data.index(rows[1]["output"].encode()) + 5] ^= 1
        path.write_bytes(data)
        return cached(rows)

    before = bytes_of(built)
    monkeypatch.setattr(readback, "_cached", flipped)
    with pytest.raises(ShardError, match="loaded: split train reads back as"):
        build(run, kit.recipe(), built)
    assert bytes_of(built) == before


def test_data_sets_of_earlier_versions_are_read_back(run, kit, folder, monkeypatch):
    monkeypatch.setattr("x_instruction.builders.files.Content", RowContent)
    build(run, kit.recipe(), folder)
    content = Manifest.read(folder).configs["sw"]["train"].content
    assert len(content) == 64
    assert verify(folder).configs["sw"]["train"].content == content


def test_the_old_data_set_is_restored_after_a_kill_between_two_renames(run, kit, folder, built):
    built.rename(folder.with_name(".data-set.replaced"))
    (folder.with_name(".data-set.building") / "data").mkdir(parents=True)
    with pytest.raises(ShardError):
        build(RunFolder(run.root / "none"), kit.recipe(), folder)
    verify(folder)


def test_a_language_without_rows_is_left_out_and_reported(run, kit, folder):
    kit.write(run, "th", [])
    shutil.rmtree(run.root / "curated" / "ur")
    lines = []
    built = build(run, kit.recipe(kit.languages), folder, lines.append)
    assert list(built.rows) == ["sw", "no"]
    assert built.skipped == {"th": "it has no curated rows", "ur": "its curated shards are not complete"}
    assert "th: skipped, it has no curated rows" in lines
    assert "th" not in datasets.get_dataset_config_names(str(folder))


def test_a_run_without_rows_is_an_error(tmp_path, kit, folder):
    run = RunFolder(tmp_path / "run")
    kit.write(run, "sw", [])
    with pytest.raises(
        ShardError, match=r"has no rows to build a data set from .*sw: it has no curated rows; th: its curated"
    ):
        build(run, kit.recipe(("sw", "th")), folder)
    assert not folder.exists()


def test_a_damaged_shard_is_reported_and_nothing_is_built(run, kit, folder):
    path = run.path(CURATED.shard("th", 1))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ShardError, match="is damaged: its bytes are not those"):
        build(run, kit.recipe(), folder)
    path.unlink()
    with pytest.raises(ShardError, match="cannot read shard"):
        build(run, kit.recipe(), folder)
    assert not folder.exists()


def test_rows_with_the_same_id_are_refused(run, kit, folder):
    kit.write(run, "sw", [kit.curated("sw", 1), kit.curated("sw", 1)])
    with pytest.raises(ShardError, match="sw: 1 row ids are not unique"):
        build(run, kit.recipe(), folder)


def test_a_record_of_another_language_is_refused(run, kit, folder):
    kit.write(run, "sw", [kit.curated("th", 1)])
    with pytest.raises(ShardError, match="record in 'th', expected 'sw'"):
        build(run, kit.recipe(), folder)


def test_the_language_code_all_is_refused(run, kit, folder):
    with pytest.raises(RecipeError, match="Allar"):
        build(run, kit.recipe(("all",)), folder)


def test_a_folder_with_other_files_is_never_replaced(run, kit, built):
    (built / ".cache").mkdir()
    (built / ".cache" / "upload.lock").touch()
    build(run, kit.recipe(), built)
    (built / "notes.txt").write_text("mine")
    with pytest.raises(RecipeError, match=r"notes\.txt"):
        build(run, kit.recipe(), built)
    with pytest.raises(RecipeError, match="that `build` did not write"):
        build(run, kit.recipe(), run.root)
    with pytest.raises(RecipeError, match="is a file"):
        build(run, kit.recipe(), built / "notes.txt")


def damage_truncate(folder):
    path = next((folder / "data" / "sw").iterdir())
    path.write_bytes(path.read_bytes()[:-30])


def damage_remove(folder):
    next((folder / "data" / "sw").iterdir()).unlink()


def damage_add(folder):
    path = next((folder / "data" / "sw").iterdir())
    shutil.copy(path, path.with_name("train-00099-of-00100.parquet"))


def damage_count(folder):
    manifest = unsealed(json.loads((folder / "manifest.json").read_text()))
    manifest["configs"]["th"]["train"]["rows"] += 1
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))


def damage_figure(folder):
    path = folder / "manifest.json"
    path.write_text(re.sub(r'"mean": (\d)', lambda match: f'"mean": {9 - int(match[1])}', path.read_text(), count=1))


def damage_manifest(folder):
    (folder / "manifest.json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncate, "has digest"),
        (damage_remove, "is missing"),
        (damage_add, "is not in manifest.json"),
        (damage_count, "config 'th' of .*, streamed: split train reads back as"),
        (damage_figure, "cannot read .*: its fields are not those that were written; build the data set again"),
        (damage_manifest, "cannot read"),
    ],
)
def test_verify_finds_any_difference(built, damage, message):
    damage(built)
    with pytest.raises(ShardError, match=message):
        verify(built)


def test_a_manifest_of_an_earlier_version_has_no_checksum(built):
    manifest, path = Manifest.read(built), built / "manifest.json"
    path.write_text(json.dumps(unsealed(json.loads(path.read_text()))))
    assert Manifest.read(built) == manifest


def test_unusual_paths_work_unless_they_read_as_a_pattern(run, kit, tmp_path):
    folder = tmp_path / "a b #d %20 é {x} ~"
    build(run, kit.recipe(("sw",)), folder)
    assert load("sw", folder, split="train").num_rows == 24
    with pytest.raises(RecipeError, match="reads as a pattern"):
        build(run, kit.recipe(("sw",)), tmp_path / "a[b]")
