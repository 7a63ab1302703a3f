"""Evaluation sets that are known by name, with local folders in the place of the Hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.contamination import evaluation_sets
from x_instruction.corpus.known_sets import SETS, KnownSet
from x_instruction.corpus.sources import fingerprint
from x_instruction.errors import CorpusError
from x_instruction.languages import language

TEXT = "Lohikeitto on suomalainen kalakeitto, jossa on kermaa, tilliä ja perunoita."
TRAINING = "Sauna on lämmin huone, jossa istutaan lauteilla ja heitetään löylyä kiukaalle."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set with the layout of many: a folder for each config, a file for each split."""
    configs = []
    for config in ("fin_Latn", "zho_Hans"):
        (tmp_path / config).mkdir()
        for split, text in (("train", TRAINING), ("test", f"{TEXT} {config}")):
            row = {"id": 1, "flores_passage": text, "answers": {"text": ["kermaa"]}}
            (tmp_path / config / f"{split}.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
        files = "".join(f"  - split: {split}\n    path: {config}/{split}.jsonl\n" for split in ("train", "test"))
        configs.append(f"- config_name: {config}\n  data_files:\n{files}")
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{''.join(configs)}---\n", "utf-8")
    monkeypatch.setitem(SETS, "belebele", KnownSet(str(tmp_path), "{code}"))
    return tmp_path


@pytest.mark.parametrize(("tag", "found"), [("fi", "fin_Latn"), ("zh", "zho_Hans"), ("sw", None)])
def test_a_known_set_is_read_in_the_requested_language(folder: Path, tag: str, found: str | None) -> None:
    sets = evaluation_sets(("belebele",), language(tag), 8, 100_000)
    assert sets is not None
    shared = sets.shared(TEXT, True)
    assert shared == ("'lohikeitto on suomalainen kalakeitto jossa on kermaa tilliä' is in belebele" if found else None)
    # Training splits are not evaluation data.
    assert sets.shared(TRAINING, True) is None


def test_names_and_paths_can_be_mixed(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.fi.txt"
    path.write_text("Joulupukki asuu Korvatunturilla ja lähtee sieltä aattona matkaan.", "utf-8")
    entries = ("belebele", f"{tmp_path}/mine.{{tag}}.txt")
    sets = evaluation_sets(entries, language("fi"), 8, 100_000)
    assert sets is not None
    assert str(sets.shared(path.read_text("utf-8"), True)).endswith("is in mine.fi.txt")
    assert str(sets.shared(TEXT, True)).endswith("is in belebele")
    keys = fingerprint(Corpus(source="sample", decontaminate=entries), language("fi"))
    assert {"fi.jsonl", "decontaminate.belebele:fin_Latn/test.jsonl", f"decontaminate.{path}"} <= keys.keys()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "belebel",
            r"names 'belebel', which is no evaluation set .* did you mean 'belebele'\? expected one of belebele",
        ),
        (
            "my set",
            r"names 'my set', which is no evaluation set that is known by name; expected one of belebele, flores",
        ),
    ],
)
def test_an_unknown_name_is_refused(name: str, message: str) -> None:
    for read in (
        lambda: evaluation_sets((name,), language("fi"), 8, 100_000),
        lambda: fingerprint(Corpus(source="sample", decontaminate=(name,)), language("fi")),
    ):
        with pytest.raises(CorpusError, match=message):
            read()


def test_an_unreadable_set_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETS, "belebele", KnownSet(str(tmp_path / "nowhere"), "{code}"))
    with pytest.raises(CorpusError, match="nowhere"):
        evaluation_sets(("belebele",), language("fi"), 8, 100_000)


def test_the_description_of_the_key_lists_every_name() -> None:
    description = Corpus.model_fields["decontaminate"].description or ""
    assert [name for name in SETS if f"`{name}`" not in description] == []
