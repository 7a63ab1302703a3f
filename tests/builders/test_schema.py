import hashlib
import json
import random

import datasets
import factories
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from x_instruction.builders.schema import (
    COLUMNS,
    Content,
    RowContent,
    arrow_schema,
    content_of,
    features,
    published,
)


def row_of(record):
    return published(factories.batch([record])).to_pylist()[0]


NAMES = """id instruction output language language_code instruction_language source url license document_id segment
text_hash identified_confidence style generator generator_revision rater rater_revision score p_best p_flawed p_worst
round cluster rank"""


def test_columns_agree_with_the_card_and_the_files():
    assert [column.name for column in COLUMNS] == NAMES.split() == arrow_schema().names == list(features())


def test_features_equal_what_datasets_infers_from_a_file(tmp_path, kit):
    table = published(factories.batch([kit.curated("sw", 1)]))
    pq.write_table(table, tmp_path / "x.parquet")
    assert datasets.Features.from_arrow_schema(pq.read_schema(tmp_path / "x.parquet")) == features()


def test_a_row_keeps_the_record_and_has_both_names_of_the_language(kit):
    record = kit.curated("sw", 4, p_best=0.5)
    row = row_of(record)
    assert row["output"] == record.text
    assert (row["language"], row["language_code"]) == ("sw", "swh_Latn")
    assert (row["p_best"], row["p_flawed"]) == (0.5, None)
    assert row_of(kit.curated("no", 1))["language_code"] == "nob_Latn"


@pytest.mark.parametrize(
    ("url", "published_url"),
    [
        ("https://me:secret@example.org/a@b", "https://example.org/a@b"),
        ("ftp://me@example.org", "ftp://example.org"),
        ("//me:se/cret@x", "//me:se/cret@x"),
        ("https://example.org/?q=a@b", "https://example.org/?q=a@b"),
        ("mailto:me@example.org", "mailto:me@example.org"),
        ("", ""),
    ],
)
def test_a_published_address_has_no_password(kit, url, published_url):
    assert row_of(kit.curated("sw", 1, url=url))["url"] == published_url


def test_candidates_and_rounds_of_one_passage_have_unique_ids(kit):
    rows = [kit.curated("sw", 1, candidate=c, round=r) for c in (0, 1) for r in (0, 1)]
    assert published(factories.batch(rows))["id"].to_pylist() == [
        f"{rows[0].id}-{end}" for end in ("0", "0-r1", "1", "1-r1")
    ]


@pytest.mark.parametrize("kind", [Content, RowContent])
def test_the_content_digest_depends_on_values_and_on_the_order_of_rows(kit, kind):
    rows = [row_of(record) for record in kit.records("sw", 3)]

    def digest(rows):
        table = pa.Table.from_pylist(rows, schema=arrow_schema())
        content, parts = kind(), kind()
        content.add(table)
        for start in range(len(rows)):
            parts.add(table.slice(start, 1))
        assert content.digest == parts.digest
        assert content.rows == parts.rows == len(rows)
        assert isinstance(content_of(content.digest), kind)
        return content.digest

    before = digest(rows)
    for changed in (
        rows[::-1],
        rows[:2],
        *([rows[0], rows[1] | {name: None if rows[1][name] is not None else 0.5}, rows[2]] for name in NAMES.split()),
    ):
        assert digest(changed) != before


def test_digests_of_earlier_versions_are_those_of_rows_in_json(kit):
    rows = [
        row_of(kit.curated("sw", 1, **values))
        for values in (
            {"score": -0.0, "instruction": 'a "quoted" \\ line\n\u2028 \U0001f600', "p_best": 1e-300},
            {"score": 0.0, "url": "", "p_best": None},
            {"score": float("nan"), "instruction": "", "p_worst": 0.1},
            {"score": float("-inf"), "rank": 2**31 - 1},
        )
    ]
    for some in (rows, rows[:1], []):
        content = RowContent()
        content.add(pa.Table.from_pylist(some, schema=arrow_schema()))
        texts = [json.dumps(list(row.values()), separators=(",", ":")).encode() for row in some]
        digests = [hashlib.sha256(text).digest() for text in texts]
        assert content.digest == hashlib.sha256(b"".join(digests)).hexdigest()


def test_rows_have_one_digest_however_they_are_stored(kit):
    table = published(factories.batch([kit.curated("sw", n, p_best=None if n % 2 else 0.5) for n in range(9)]))
    nulls = table["p_best"].is_null().to_numpy()
    below = pa.array(np.where(nulls, 7.0, 0.5), mask=nulls)
    assert np.frombuffer(below.buffers()[1])[1] == 7.0
    stored = [
        table,
        pa.concat_tables([table.slice(0, 1), table.slice(1, 0), table.slice(1, 4), table.slice(5)]),
        pa.Table.from_pylist(table.to_pylist(), table.schema),
        table.set_column(table.schema.get_field_index("p_best"), "p_best", below),
        pa.concat_tables([table.slice(3), table]).slice(6),
    ]
    assert len({content(one) for one in stored}) == 1


def test_columns_of_another_type_have_no_digest(kit):
    table = published(factories.batch([kit.curated("sw", 1)]))
    place = table.schema.get_field_index("url")
    with pytest.raises(ValueError, match="column 'url' has the type binary, expected string"):
        content(table.set_column(place, "url", table["url"].cast(pa.binary())))
    with pytest.raises(KeyError):
        content(table.remove_column(place))


def test_bits_between_texts_and_below_numbers_are_told_apart(kit):
    """Neither where a text ends, nor which value is null, nor the sign of a zero is lost."""
    like = row_of(kit.curated("sw", 1))
    pairs = [
        ({"id": "ab", "instruction": "c"}, {"id": "a", "instruction": "bc"}),
        ({"p_best": None, "p_worst": 0.0}, {"p_best": 0.0, "p_worst": None}),
        ({"p_best": 0.0}, {"p_best": -0.0}),
        ({"url": ""}, {"url": None}),
    ]
    for one, other in pairs:
        found = {content(pa.Table.from_pylist([like | values], arrow_schema())) for values in (one, other)}
        assert len(found) == 2
    split = [["ab", "c"], ["a", "bc"]]
    assert len({content(pa.Table.from_pylist([like | {"id": id} for id in ids], arrow_schema())) for ids in split}) == 2


def test_a_flipped_bit_in_a_cache_changes_the_content(kit):
    """The bytes of a cache are read without a check, so every one of them that holds a value counts."""
    rows = [kit.curated("sw", n, p_best=None if n % 2 else 0.5, url=f"https://a.org/{n}") for n in range(5)]
    table = published(factories.batch(rows))
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    written, before = stream.getvalue().to_pybytes(), content(table)
    chance = random.Random(0)
    found = 0
    for place in chance.choices(range(len(written)), k=1_500):
        changed = bytearray(written)
        changed[place] ^= 1 << chance.randrange(8)
        try:
            read = pa.ipc.open_stream(bytes(changed)).read_all()
            equal = content(read) == before
        except (pa.ArrowException, OSError, KeyError, ValueError):
            equal = False
        found += not equal
        # What is left are padding, what is stored below a null, and counts of nulls.
        assert not equal or read.to_pylist() == table.to_pylist()
    assert found > 500


def content(table):
    made = Content()
    made.add(table)
    return made.digest
