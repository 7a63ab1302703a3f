import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from x_instruction.errors import CorpusError
from x_instruction.records import Dropped
from x_instruction.seed.trees import read_trees


def reply(text, rank, lang="en", **values):
    return {"message_id": text, "text": text, "role": "assistant", "lang": lang, "rank": rank, "replies": []} | values


def tree(id, replies, **values):
    prompt = {"message_id": id, "text": f"{id}?", "role": "prompter", "lang": "en", "replies": replies} | values
    return {"message_tree_id": id, "tree_state": "ready_for_export", "prompt": prompt}


TREES = [
    tree("two", [reply("worse", 1), reply("best", 0, replies=[reply("deeper", 0)])]),
    tree("unranked", [reply("only", None)]),
    tree("silent", []),
    tree("german", [reply("gut", 0, "de")], lang="de"),
    tree("mixed", [reply("gut", 0, "de")]),
    tree("deleted", [reply("x", 0)], deleted=True),
    tree("refused", [reply("x", 0)], review_result=False),
    tree("gone", [reply("x", 0, deleted=True), reply("y", 1)]),
    tree("regional", [reply("colour", 0, "en-GB")]),
    tree("reviewed", [reply("z", 0, review_result=True)], review_result=None),
]
EXPECTED = {
    "two": "best",
    "two#2": "later_turn",
    "unranked": "no_answer",
    "silent": "no_answer",
    "german": "other_language",
    "mixed": "other_language",
    "deleted": "deleted",
    "refused": "deleted",
    "gone": "no_answer",
    "regional": "colour",
    "reviewed": "z",
}


def outcome(made):
    return {m.id: m.reason if isinstance(m, Dropped) else m.output for m in made}


def flat(trees):
    """The same trees with one message per row."""

    def walk(message, parent):
        keys = ("message_id", "text", "role", "lang", "rank", "deleted", "review_result")
        yield {"parent_id": parent} | {key: message.get(key) for key in keys}
        for below in message["replies"]:
            yield from walk(below, message["message_id"])

    return [row for one in trees for row in walk(one["prompt"], None)]


def test_trees_are_read_one_per_line(tmp_path):
    path = tmp_path / "trees.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in TREES) + "{broken\n")
    made = list(read_trees(path, 10_000, "en", license="Apache-2.0"))
    assert outcome(made) == EXPECTED | {"trees.jsonl:11": "malformed_json"}
    assert (made[0].instruction, made[0].source, made[0].license) == ("two?", "trees.jsonl", "Apache-2.0")


def test_messages_are_read_in_any_order(tmp_path):
    path = tmp_path / "messages.parquet"
    rows = [row | {"text": f"{row['parent_id']}: {row['text']}"} for row in flat(TREES)]
    pq.write_table(pa.Table.from_pylist(rows[::-1]), path)
    made = list(read_trees(path, 10_000, "en"))
    found = {m.id: m.reason if isinstance(m, Dropped) else m.output.split(": ")[1] for m in made}
    assert found == EXPECTED


def test_a_deleted_first_reply_is_skipped(tmp_path):
    path = tmp_path / "trees.jsonl"
    path.write_text(json.dumps(tree("a", [reply("gone", 0, deleted=True), reply("left", 0)])))
    assert outcome(read_trees(path, 10_000, "en")) == {"a": "left"}


def test_another_shape_is_reported(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"instruction": "a", "output": "b"}')
    with pytest.raises(CorpusError, match=r"expected a tree .columns prompt with replies.*, got columns 'instruction'"):
        list(read_trees(path, 1_000, "en"))
