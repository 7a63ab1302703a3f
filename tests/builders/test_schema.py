import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from x_instruction.builders import schema
from x_instruction.builders.schema import COLUMNS, Content, arrow_schema, features, published, row_digest

WANTED = """id instruction output language language_code instruction_language source url license document_id segment
text_hash identified_confidence style generator generator_revision rater rater_revision score p_best p_flawed p_worst
round cluster rank"""


def test_columns_agree_with_the_card_and_the_files():
    assert [column.name for column in COLUMNS] == WANTED.split() == arrow_schema().names == list(features())


def test_features_equal_what_datasets_infers_from_a_file(tmp_path, kit):
    table = pa.Table.from_pylist([published(kit.curated("sw", 1))], schema=arrow_schema())
    pq.write_table(table, tmp_path / "x.parquet")
    assert datasets.Features.from_arrow_schema(pq.read_schema(tmp_path / "x.parquet")) == features()


def test_a_row_keeps_the_record_and_has_both_names_of_the_language(kit):
    record = kit.curated("sw", 4, p_best=0.5)
    row = published(record)
    assert row["output"] == record.text
    assert (row["language"], row["language_code"]) == ("sw", "swh_Latn")
    assert (row["p_best"], row["p_flawed"]) == (0.5, None)
    assert published(kit.curated("no", 1))["language_code"] == "nob_Latn"


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
    assert published(kit.curated("sw", 1, url=url))["url"] == published_url


def test_candidates_and_rounds_of_one_passage_have_unique_ids(kit):
    rows = [kit.curated("sw", 1, candidate=c, round=r) for c in (0, 1) for r in (0, 1)]
    ids = [schema.row_id(row) for row in rows]
    assert ids[0] == f"{rows[0].id}-0"
    assert len(set(ids)) == 4


def test_the_content_digest_depends_on_values_and_not_on_order(kit):
    rows = [published(record) for record in kit.records("sw", 3)]

    def digest(rows):
        content = Content()
        for row in rows:
            content.add(row_digest(row))
        return content.digest

    assert digest(rows) == digest([dict(reversed(row.items())) for row in rows])
    assert digest(rows) != digest(rows[::-1])
    for name in WANTED.split():
        assert digest([rows[0], rows[1] | {name: None if rows[1][name] is not None else 0.5}, rows[2]]) != digest(rows)
