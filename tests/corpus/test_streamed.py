"""Hub data sets, with a local folder in the place of the Hub."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.sources import count, fingerprint, read
from x_instruction.errors import CorpusError
from x_instruction.languages import language

CARD = """---
configs:
- config_name: swh_Latn
  data_files:
  - split: train
    path: swh_Latn/*.jsonl
---
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "swh_Latn").mkdir()
    rows = [{"text": f"Maandishi {i}", "id": f"d{i}", "url": "u"} for i in range(3)]
    (tmp_path / "swh_Latn" / "0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "README.md").write_text(CARD)
    return tmp_path


def hub(folder: Path, config: str = "{code}", split: str = "train") -> Corpus:
    return Corpus(source="hub", dataset=str(folder), config=config, split=split)


@pytest.mark.parametrize(("config", "split"), [("xyz", "train"), ("{code}", "test")])
def test_an_unknown_config_or_split_is_reported(folder: Path, config: str, split: str) -> None:
    with pytest.raises(CorpusError, match=r"cannot read data set"):
        list(read(hub(folder, config, split), language("sw")))


def test_a_missing_column_is_reported(folder: Path) -> None:
    (folder / "swh_Latn" / "0.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(CorpusError, match=r"no column 'text', there are 'body'"):
        list(read(hub(folder), language("sw")))


def test_a_damaged_file_is_reported(folder: Path) -> None:
    (folder / "swh_Latn" / "0.jsonl").write_bytes(b'{"text": \xff\xff\n')
    with pytest.raises(CorpusError, match=r"cannot read data set"):
        list(read(hub(folder), language("sw")))


def test_duplicate_columns_are_reported(tmp_path: Path) -> None:
    columns = pa.Table.from_arrays([pa.array(["x"])] * 2, names=["text", "text"])
    pq.write_table(columns, tmp_path / "train-00000.parquet")
    with pytest.raises(CorpusError, match=r"two columns are called 'text'; rename one of them$") as caught:
        list(read(Corpus(source="hub", dataset=str(tmp_path), split="train"), language("sw")))
    assert "\n" not in str(caught.value)


def test_a_missing_data_set_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    corpus = Corpus(source="hub", dataset="nobody/nothing", config="x")
    with pytest.raises(CorpusError, match=r"nobody/nothing"):
        list(read(corpus, language("sw")))
    with pytest.raises(CorpusError, match=r"cannot look up data set 'nobody/nothing'"):
        fingerprint(corpus, language("sw"))


def test_rows_are_streamed_with_their_provenance(folder: Path) -> None:
    found = list(read(hub(folder), language("sw")))
    assert [f.id for f in found] == ["d0", "d1", "d2"]
    assert getattr(found[0], "source", "") == f"{folder.name}/swh_Latn"
    assert count(hub(folder), language("sw")) is None


def test_a_local_folder_is_identified_by_its_files(folder: Path) -> None:
    before = fingerprint(hub(folder), language("sw"))
    assert sorted(before) == ["README.md", "swh_Latn/0.jsonl"]
    (folder / "README.md").write_text(CARD + "x")
    assert fingerprint(hub(folder), language("sw")) != before


def test_a_hub_data_set_is_identified_by_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Info:
        sha = "a" * 40

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda self, name, revision: Info())
    assert fingerprint(Corpus(source="hub", dataset="org/set"), language("sw")) == {"org/set": "a" * 40}
