import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from x_instruction.corpus.rows import RowError
from x_instruction.errors import CorpusError
from x_instruction.languages import language
from x_instruction.seed.files import read_rows, seed_files
from x_instruction.seed.pairs import Pair, read_pairs


def write(tmp_path, content, name="seed.json"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, limit=10_000):
    return list(read_rows(path, ("instruction", "output"), limit))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"a": 1}\n\n{"a": 2}]', "line 3, column 1: expected a comma or the end of the list"),
        ('[{"a": 1},\n]', "line 2, column 1: row 2 is missing"),
        ('[{"a": 1},\n{"a": 2}\n', "line 3, column 1: .*got the end of the file"),
        ("[" + '{"a": "' + "x" * 3_000_000, "line 1, column 2: this row of 3000007 characters has no end"),
    ],
)
def test_a_broken_array_is_reported_with_its_line(tmp_path, content, message):
    with pytest.raises(CorpusError, match=message):
        read(write(tmp_path, content))


def test_broken_rows_of_an_array_are_dropped(tmp_path):
    made = read(write(tmp_path, b'[\n{"a": 1},\n{"a": \n oops}, {"a": "\xff\xfe"}, {"a": 2}\n]'))
    assert [row.reason if isinstance(row, RowError) else row for _, row in made] == [
        {"a": 1},
        "malformed_json",
        "invalid_utf8",
        {"a": 2},
    ]
    assert made[1][1].detail == "Expecting value: line 4 column 2"


@pytest.mark.parametrize("name", ["seed.xlsx", "seed", "seed.txt", "seed.txt.gz", "seed.json.zip"])
def test_other_file_types_are_reported(tmp_path, name):
    with pytest.raises(CorpusError, match="seed"):
        read(write(tmp_path, "x", name))


def test_a_missing_file_and_a_folder_are_reported(tmp_path):
    with pytest.raises(CorpusError, match="No such file"):
        read(tmp_path / "nowhere.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(CorpusError, match="Is a directory"):
        read(tmp_path / "folder.json")


def test_a_damaged_parquet_file_is_reported(tmp_path):
    with pytest.raises(CorpusError, match="damaged"):
        read(write(tmp_path, b"PAR1 no more", "seed.parquet"))


def test_unusable_rows_of_an_array_are_dropped(tmp_path):
    made = read(write(tmp_path, json.dumps([{"a": 1}, 3, {"a": "x" * 20_000}, {"a": 2}])))
    assert [position for position, _ in made] == [1, 2, 3, 4]
    assert [row.reason if isinstance(row, RowError) else row for _, row in made] == [
        {"a": 1},
        "malformed_json",
        "line_too_long",
        {"a": 2},
    ]


def test_json_lines_in_a_json_file_are_read(tmp_path):
    made = read(write(tmp_path, '{"a": 1}\nnot json\n{"a": 2}\n'))
    assert [(place, row.reason if isinstance(row, RowError) else row["a"]) for place, row in made] == [
        (1, 1),
        (2, "malformed_json"),
        (3, 2),
    ]


ROWS = [
    ({"instruction": "Why?", "output": "Kwa sababu."}, ("Why?", "", "Kwa sababu.")),
    ({"instruction": "Why?", "input": "rain", "output": "Kwa sababu."}, ("Why?", "rain", "Kwa sababu.")),
    ({"instruction": "Why?", "response": "Kwa sababu."}, ("Why?", "", "Kwa sababu.")),
    ({"prompt": "Why?", "completion": "Kwa sababu."}, ("Why?", "", "Kwa sababu.")),
    (
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Why?"},
                {"role": "assistant", "content": "Kwa sababu."},
                {"role": "user", "content": "Thanks"},
            ]
        },
        ("Why?", "", "Kwa sababu."),
    ),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Why"}, {"type": "text", "text": "now?"}]},
                {"role": "assistant", "content": [{"type": "output_text", "text": "Kwa sababu."}]},
            ]
        },
        ("Why\nnow?", "", "Kwa sababu."),
    ),
    (
        {
            "prompt": [{"role": "user", "content": "Why?"}],
            "completion": [{"role": "assistant", "content": "Kwa sababu."}],
        },
        ("Why?", "", "Kwa sababu."),
    ),
    (
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Kwa sababu."}]},
        ("Why?", "", "Kwa sababu."),
    ),
]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "jsonl.gz", "parquet"])
@pytest.mark.parametrize(("row", "expected"), ROWS)
def test_every_shape_is_read_in_every_format(tmp_path, suffix, row, expected):
    path = tmp_path / f"seed.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        text = json.dumps([row] if suffix == "json" else row)
        path.write_bytes(gzip.compress(text.encode()) if suffix == "jsonl.gz" else text.encode())
    pair = next(read_pairs(path, 10_000, "sw"))
    assert isinstance(pair, Pair)
    assert (pair.instruction, pair.input, pair.output) == expected
    assert (pair.id, pair.language, pair.instruction_language) == (f"seed.{suffix}:1", "sw", "en")
    assert (pair.source, pair.license) == (f"seed.{suffix}", "unknown")


def test_fields_of_a_row_are_kept(tmp_path):
    row = {
        "id": 7,
        "instruction": "Mbona?",
        "output": "x",
        "lang": "sw",
        "instruction_language": "sw",
        "license": "MIT",
    }
    (pair,) = read_pairs(write(tmp_path, json.dumps([row])), 1_000, "th", "en", "CC0")
    assert isinstance(pair, Pair)
    assert (pair.id, pair.language, pair.instruction_language, pair.license) == ("7", "sw", "sw", "MIT")


def test_a_file_of_another_shape_is_reported_with_its_columns(tmp_path):
    with pytest.raises(CorpusError, match=r"row 1: no column 'instruction' or 'prompt', there are 'text', 'url'"):
        list(read_pairs(write(tmp_path, '[{"text": "x", "url": "y"}]'), 1_000))
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "seed.parquet")
    with pytest.raises(CorpusError, match="no column 'instruction' or 'prompt', there are 'text'"):
        list(read_pairs(tmp_path / "seed.parquet", 1_000))


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ({"instruction": "a", "output": 3}, "output is a int, expected text"),
        ({"instruction": ["a"], "output": "b"}, "instruction is a list, expected text"),
        ({"instruction": "a"}, "no column 'output' or 'response' or 'completion', there are 'instruction'"),
        ({"messages": [{"role": "assistant", "content": "b"}]}, "the chat is assistant, expected user and assistant"),
        ({"messages": []}, "the chat is empty"),
        ({"messages": ["hi"]}, "a turn of the chat is a str"),
        ({"messages": "hi"}, "the chat is empty"),
    ],
)
def test_a_later_row_of_another_shape_is_dropped(tmp_path, row, detail):
    made = list(read_pairs(write(tmp_path, json.dumps([{"instruction": "a", "output": "b"}, row])), 1_000))
    assert [type(m).__name__ for m in made] == ["Pair", "Dropped"]
    assert (made[1].id, made[1].reason) == ("seed.json:2", "wrong_shape")
    assert detail in made[1].detail


def turn(role, content):
    return {"role": role, "content": content}


FIRST = [turn("user", "Why?"), turn("assistant", "Kwa sababu.")]


@pytest.mark.parametrize(
    ("row", "left"),
    [
        ({"messages": FIRST}, {}),
        ({"messages": [turn("system", "Be kind."), *FIRST]}, {"#system": ("system_text", "Be kind.")}),
        ({"messages": [turn("developer", [{"type": "text", "text": "Be kind."}]), *FIRST]}, {"#system": None}),
        ({"system": "Be kind.", "messages": FIRST}, {"#system": ("system_text", "Be kind.")}),
        # An empty system text says nothing.
        ({"messages": [turn("system", ""), *FIRST]}, {}),
        (
            {"messages": [*FIRST, turn("user", "And?"), turn("assistant", "Ndiyo."), turn("user", "Thanks")]},
            {"#2": ("later_turn", "And?"), "#3": ("later_turn", "Thanks")},
        ),
        ({"messages": [*FIRST, turn("tool", "4"), turn("assistant", "Nne.")]}, {"#2": ("later_turn", "4")}),
        (
            {"messages": [*FIRST, turn("user", [{"type": "image_url", "image_url": {"url": "x"}}])]},
            {"#2": ("later_turn", '[{"type": "image_url", "image_url": {"url": "x"}}]')},
        ),
    ],
)
def test_messages_that_are_left_out_of_a_chat_are_counted(tmp_path, row, left):
    pair, *rest = read_pairs(write(tmp_path, json.dumps([row])), 10_000, "sw")
    assert isinstance(pair, Pair)
    assert (pair.instruction, pair.output) == ("Why?", "Kwa sababu.")
    assert {row.id.removeprefix("seed.json:1") for row in rest} == left.keys()
    for row in rest:
        expected = left[row.id.removeprefix("seed.json:1")]
        assert expected is None or (row.reason, row.text) == expected


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (
            {"messages": [turn("user", [{"type": "image_url"}, {"type": "text", "text": "Why?"}]), FIRST[1]]},
            "not_text",
            "the user message holds a part of type image_url, expected text",
        ),
        ({"messages": [turn("user", 3), FIRST[1]]}, "not_text", "the user message holds a part of type int"),
        ({"messages": FIRST, "license": {"url_of": 3}}, "unclear_license", "the license is an object with 'url_of'"),
    ],
)
def test_an_invalid_first_row_is_dropped(tmp_path, row, reason, detail):
    lost, pair = read_pairs(write(tmp_path, json.dumps([row, {"messages": FIRST}])), 10_000, "sw")
    assert (lost.id, lost.reason) == ("seed.json:1", reason)
    assert detail in lost.detail
    # Shown as JSON, not as Python would.
    assert json.loads(lost.text) == row
    assert isinstance(pair, Pair)


@pytest.mark.parametrize(("name", "delimiter"), [("seed.csv", ","), ("seed.tsv", "\t"), ("seed.csv.gz", ",")])
def test_pairs_are_read_from_a_table(tmp_path, name, delimiter):
    text = delimiter.join(["instruction", "output"]) + "\n" + delimiter.join(["Why?", '"Kwa\nsababu."']) + "\n"
    content = text.encode("utf-16")
    (pair,) = read_pairs(write(tmp_path, gzip.compress(content) if name.endswith("gz") else content, name), 1_000, "sw")
    assert (pair.instruction, pair.output, pair.id) == ("Why?", "Kwa\nsababu.", f"{name}:2")


def test_a_json_list_with_the_suffix_jsonl_is_reported(tmp_path):
    path = write(tmp_path, json.dumps([{"instruction": "a", "output": "b"}], indent=1), "seed.jsonl")
    with pytest.raises(CorpusError, match=r"seed.jsonl is one JSON list: name it seed.json, or write one object per"):
        list(read_pairs(path, 1_000))


def test_special_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "seed.jsonl")
    with pytest.raises(CorpusError, match=r"seed\.jsonl is not a regular file"):
        read(tmp_path / "seed.jsonl")
    with pytest.raises(CorpusError, match=r"seed\.jsonl is not a regular file"):
        seed_files((f"{tmp_path}/*.jsonl",), language("sw"))
