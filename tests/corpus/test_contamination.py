import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from x_instruction.corpus.contamination import ContaminationIndex
from x_instruction.errors import CorpusError

QUESTION = "How can I improve my time management skills at work?"


@pytest.fixture
def sets():
    found = ContaminationIndex(words=5)
    found.add(QUESTION, "vicuna")
    found.add("Write a haiku.", "short")
    found.add("generic", "label")
    found.add("การบริหารเวลาที่ดีต้องเริ่มจากอะไร", "thai")
    return found


@pytest.mark.parametrize(
    ("text", "spaced", "found"),
    [
        ("Tell me: how can I IMPROVE my time?", True, "'how can i improve my' is in vicuna"),
        ("how can I improve", True, None),  # four words
        ("improve my “time management” skills, please", True, "'improve my time management skills' is in vicuna"),
        ("How can they improve my time or skills at work?", True, None),
        ("write a HAIKU!", True, "'write a haiku' is in short"),
        ("Write a haiku about rain.", True, None),
        ("generic", True, None),
        ("อยากรู้ว่าการบริหารเวลาที่ดีต้องเริ่มจากอะไรบ้าง", False, "'การบริหารเวลาที' is in thai"),
        ("อยากรู้ว่าการบริหารเวลาที่ดีต้องเริ่มจากอะไรบ้าง", True, None),
        ("", False, None),
    ],
)
def test_shared_runs_of_words_are_found(sets, text, spaced, found):
    assert sets.shared(text, spaced) == found


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet", "txt"])
def test_every_text_of_a_file_is_indexed(tmp_path, suffix):
    path = tmp_path / f"set.{suffix}"
    rows = [{"question_id": 1, "turns": [QUESTION, "And at home?"]}, {"question_id": 2, "turns": ["Why does it rain?"]}]
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == "txt":
        path.write_text("\n\n".join(turn for row in rows for turn in row["turns"]))
    else:
        path.write_text(json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows)))
    found = ContaminationIndex(words=8)
    assert found.read(path, 10_000) == 3
    assert found.shared(QUESTION, True) is not None
    assert found.shared("and at home", True) is not None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("set.jsonl", "not json\n", "row 1: malformed_json, .*correct the file"),
        ("set.jsonl", '{"id": 3}\n', "holds no text to compare with"),
        ("set.txt", "\n \n", "holds no text to compare with"),
        ("set.parquet", "nonsense", "damaged"),
        ("set.csv", "a,b", "holds no text to compare with"),
        ("set.xlsx", "a,b", "cannot tell the format"),
    ],
)
def test_an_unreadable_set_is_an_error(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        ContaminationIndex(8).read(tmp_path / name, 1_000)
    with pytest.raises(CorpusError, match="nowhere"):
        ContaminationIndex(8).read(tmp_path / f"nowhere{name}", 1_000)


def test_short_texts_are_found_inside_longer_ones_if_within_is_true():
    sets = ContaminationIndex(words=8)
    sets.add("Why does it rain in spring?", "short")
    sets.add("Why is that?", "label")
    passage = "He asked: why does it rain in spring? Why is that?"
    assert sets.shared(passage, True) is None
    assert sets.shared(passage, True, within=True) == "'why does it rain in spring' is in short"
    assert sets.shared("Why is that? Because.", True, within=True) is None


def test_the_first_matching_set_is_named():
    sets = ContaminationIndex(words=3)
    sets.add("yksi kaksi kolme neljä", "first")
    sets.add("kaksi kolme neljä viisi", "second")
    assert sets.shared("kaksi kolme neljä", True) == "'kaksi kolme neljä' is in first"
    assert sets.shared("kolme neljä viisi", True) == "'kolme neljä viisi' is in second"
