import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from x_instruction.cli import cli
from x_instruction.config.recipe import names as recipe_names
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.mixing.files import Source, schema, sources, write


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def parallel(path, tag, number=6):
    rows = [
        {
            "id": f"p{i}",
            "language": tag,
            "instruction_language": tag,
            "instruction": f"{tag}? {i}",
            "output": f"{tag}! {i}",
        }
        for i in range(number)
    ]
    return lines(path / f"{tag}.jsonl", rows)


PINCH = 'languages = ["sw"]\nheld_out = ["fi"]\n[pinch]\nbudget = 5\nk_examples = 2'


def test_invalid_rows_are_dropped_with_a_reason(tmp_path, mixing):
    english = parallel(tmp_path, "en")
    bad = lines(
        tmp_path / "bad.jsonl",
        [
            {"id": "a", "language": "sw", "instruction": "x", "output": "y"},
            {"id": "b", "language": "sw", "instruction": " ", "output": "y"},
            {"id": "c", "language": "sw", "instruction": "x", "output": ""},
            {"id": "d", "instruction": "x", "output": "y"},
            {"id": "e", "language": "no such language", "instruction": "x", "output": "y"},
            {"id": "f", "language": "fi", "instruction": "x", "output": "y"},
            {"id": "g", "language": "th", "instruction": "x", "output": "y"},
            {"id": "a", "language": "sw", "instruction": "x", "output": "another"},
            {"id": "a", "language": "sw", "instruction": "x", "output": "y"},
            {"text": "x"},
        ],
    )
    with bad.open("a") as stream:
        stream.write("not json\n")
    recipe = mixing(PINCH)
    report = write(
        recipe, [Source(english, "web"), Source(parallel(tmp_path, "sw"), "web"), Source(bad, "web")], tmp_path / "out"
    )
    assert report["dropped"] == {
        "conflicting_id": 1,
        "held_out": 1,
        "malformed_json": 1,
        "no_instruction": 1,
        "no_language": 1,
        "no_output": 1,
        "other_language": 1,
        "unknown_language": 1,
        "wrong_shape": 1,
    }
    gone = pq.read_table(tmp_path / "out" / "dropped.parquet").to_pylist()
    assert {row["id"]: row["detail"] for row in gone}["bad.jsonl:11"].startswith("Expecting value")
    assert report["rows"] == 5
    assert report["by_language"] == {"en": 3, "sw": 2}


def test_text_that_parquet_cannot_store_is_repaired(tmp_path, mixing):
    """From the case 25-surrogate-nul: half a surrogate pair and NUL in any field, of rows that are kept or dropped."""
    rows = [
        {"id": "a", "language": "sw", "instruction": "half \ud83d", "output": "nul \0 \ud83d\ude00"},
        {
            "id": "b",
            "language": "sw",
            "messages": [{"role": "user", "content": "\udfff"}, {"role": "assistant", "content": "\ud800"}],
        },
        {"id": "c \ud83d", "language": "sw", "instruction": "", "output": "gone \ud83d"},
    ]
    write(
        mixing('languages = ["sw"]\n[x_instruction]'),
        [Source(lines(tmp_path / "a.jsonl", rows), "web")],
        tmp_path / "out",
    )
    kept = pq.read_table(tmp_path / "out" / "train-00000-of-00001.parquet").to_pylist()
    assert {row["source_id"]: row["completion"] for row in kept} == {"a": "nul  \U0001f600", "b": "\ufffd"}
    (gone,) = pq.read_table(tmp_path / "out" / "dropped.parquet").to_pylist()
    assert (gone["id"], gone["text"]) == ("c \ufffd", "gone \ufffd")


def test_the_files_of_a_mix_are_written(tmp_path, mixing):
    files = [Source(parallel(tmp_path, tag), "web") for tag in ("en", "sw")]
    report = write(mixing("rows_per_file = 2\n" + PINCH), files, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["dropped.parquet", "mix.json", *(f"train-{i:05d}-of-00003.parquet" for i in range(3))]
    tables = [pq.read_table(tmp_path / "out" / name) for name in names[2:]]
    assert [len(table) for table in tables] == [2, 2, 1]
    assert all(table.schema.equals(schema()) for table in tables)
    assert [row["id"] for table in tables for row in table.to_pylist()] == [f"m-{i:07d}" for i in range(5)]
    assert json.loads((tmp_path / "out" / "mix.json").read_text()) == report
    assert report["by_shape"] == {"pinch.mono": 5}
    assert report["recipe"]["pinch.k_examples"] == 2
    assert [entry["name"] for entry in report["inputs"]] == ["en.jsonl", "sw.jsonl"]


def test_the_bytes_do_not_depend_on_order_and_no_temporary_files_remain(tmp_path, mixing):
    files = [Source(parallel(tmp_path, tag), "web") for tag in ("en", "sw")]
    write(mixing("rows_per_file = 1\n" + PINCH), files, tmp_path / "one")
    write(mixing(PINCH), files, tmp_path / "one")
    reversed_rows = (tmp_path / "sw.jsonl").read_text().splitlines()[::-1]
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "sw.jsonl").write_text("\n".join(reversed_rows))
    again = [Source(tmp_path / "again" / "sw.jsonl", "web"), files[0]]
    write(mixing(PINCH), again, tmp_path / "two")
    # The fallback source is the file's name, which is the same.
    for path in (tmp_path / "one").glob("train-*"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert len(list((tmp_path / "one").glob("train-*"))) == 1


def test_files_are_aligned_by_position(tmp_path, mixing):
    files = []
    for tag in ("en", "sw"):
        rows = [{"instruction": f"{tag}? {i}", "output": f"{tag}! {i}", "instruction_language": tag} for i in range(4)]
        files.append(Source(lines(tmp_path / f"{tag}.jsonl", rows), "web", tag))
    text = '\nlanguages = ["sw"]\n[crossin]\nmodes = ["en2x"]'
    with pytest.raises(CorpusError, match="the data has 0: add data"):
        write(mixing('languages = ["sw"]\n[crossin]\nmodes = ["en2x"]\nsize = 4'), files, tmp_path / "out")
    write(mixing('align = "position"' + text), files, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "train-00000-of-00001.parquet").to_pylist()
    assert rows
    assert all(row["prompt"][4] == row["completion"][4] for row in rows)


def asked_in(path, ask, answer, number=3, **values):
    rows = [
        {"id": f"{answer}{i}", "instruction": f"{ask}? {i}", "output": f"{answer}! {i}", **values}
        | {"language": answer, "instruction_language": ask}
        for i in range(number)
    ]
    return Source(lines(path / f"{ask}-{answer}.jsonl", rows), "web")


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ("[x_instruction]", "en to sw"),
        ("[humpback]", "sw to sw"),
        ("[muri]", "sw to sw"),
        ("[afp]", "all of en, sw"),
        ('[crossin]\nmodes = ["en2x"]', "en to sw"),
    ],
)
def test_a_mix_without_rows_is_refused_and_writes_nothing(tmp_path, mixing, section, why):
    data = [asked_in(tmp_path, "en", "yo"), asked_in(tmp_path, "en", "fi", 1)]
    with pytest.raises(CorpusError) as error:
        write(mixing(f'languages = ["sw"]\n{section}'), data, tmp_path / "out")
    assert str(error.value) == (
        f"no row fits recipe m, which needs {why} (instruction to response); the data has en to yo (3), en to fi (1): "
        'for these languages, add --set \'languages=["fi", "yo"]\''
    )
    assert not (tmp_path / "out").exists()


def test_a_mix_without_parallel_rows_is_refused(tmp_path, mixing):
    data = [asked_in(tmp_path, "en", "en"), asked_in(tmp_path, "sw", "sw")]
    for section in ("[afp]", '[crossin]\nmodes = ["en2x"]', '[crossin]\nmodes = ["en2x"]\nsize = 4'):
        with pytest.raises(CorpusError, match=r"no item is in both languages: .* one id, or set align = 'position' if"):
            write(mixing(f'languages = ["sw"]\n{section}'), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mix_without_rows_reports_what_was_dropped(tmp_path, mixing):
    data = [Source(lines(tmp_path / "rows.jsonl", [{"instruction": "x", "output": "y"}] * 2), "web")]
    with pytest.raises(CorpusError, match=r"the data has no usable row \(no_language 2\)$"):
        write(mixing('languages = ["sw"]\n[muri]'), data, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"the data has sw to sw \(3\)$"):
        write(mixing('languages = ["sw"]\n[humpback]\nweb = 0'), [asked_in(tmp_path, "sw", "sw")], tmp_path / "out")


def test_a_refused_mix_keeps_the_earlier_one(tmp_path, mixing):
    write(mixing('languages = ["sw"]\n[muri]'), [asked_in(tmp_path, "sw", "sw")], tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for recipe in ('languages = ["fi"]\n[muri]', 'languages = ["sw"]\n[humpback]\nweb = 9'):
        with pytest.raises(CorpusError):
            write(mixing(recipe), [asked_in(tmp_path, "sw", "sw")], tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_language_without_rows_is_reported(tmp_path):
    data = [asked_in(tmp_path, "en", "sw"), asked_in(tmp_path, "en", "fi", 1)]
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\nlanguages = ["sw", "th", "fi", "vi"]\n[x_instruction]')
    out = tmp_path / "mixed"
    run = CliRunner().invoke(cli, ["mix", str(recipe), *(str(source.path) for source in data), "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "warning: no rows in th, vi, which the recipe names" in run.stderr.splitlines()
    run = CliRunner().invoke(
        cli, ["mix", str(recipe), str(data[0].path), "--out", str(out), "--set", 'languages=["sw"]']
    )
    assert "warning" not in run.stderr


def test_an_unrelated_folder_is_not_replaced(tmp_path, mixing):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(RecipeError, match=r"has files that are not of a mix, such as thesis.tex"):
        write(mixing(PINCH), [], tmp_path / "out")
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_sources_are_files_or_built_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"empty has no train-\*.parquet"):
        sources(str(tmp_path / "empty"), "web")
    for tag in ("sw", "fi"):
        (tmp_path / "set" / tag).mkdir(parents=True)
        (tmp_path / "set" / tag / "train-00000-of-00001.parquet").touch()
    (tmp_path / "set" / "fi" / "test-00000-of-00001.parquet").touch()
    assert [s.path.parent.name for s in sources(str(tmp_path / "set"), "web")] == ["fi", "sw"]
    assert sources("swh=x.json", "seed")[0].tag == "sw"
    with pytest.raises(RecipeError):
        sources("zzzz=x.json", "seed")


def test_the_command_writes_a_mix(tmp_path):
    data = [str(parallel(tmp_path, tag)) for tag in ("en", "sw")]
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\nlanguages = ["sw"]\n[pinch]\nbudget = 5\nk_examples = 2')
    out = tmp_path / "mixed"
    run = CliRunner().invoke(cli, ["mix", str(recipe), *data, "--out", str(out), "--set", "pinch.k_examples=1"])
    assert run.exit_code == 0, run.output
    assert f"{out}: 5 rows of 6 items" in run.stdout
    assert json.loads((out / "mix.json").read_text())["by_language"] == {"en": 4, "sw": 1}
    shown = CliRunner().invoke(cli, ["recipe", "list", "--kind", "mix"]).output
    assert [line.split()[1] for line in shown.splitlines()][1:3] == ["afp", "crossin"]
    assert "mixing" not in recipe_names()
    nothing = CliRunner().invoke(cli, ["mix", "pinch"])
    assert isinstance(nothing.exception, CorpusError)
    shutil.rmtree(out)


def test_a_built_data_set_can_be_mixed(tmp_path, mixing):
    from x_instruction.builders.schema import arrow_schema

    columns = arrow_schema()
    for tag in ("sw", "fi"):
        rows = [
            {field.name: "x" if pa.types.is_string(field.type) else 1 for field in columns}
            | {"id": f"{tag}-{i}-0", "instruction": f"Ask {i}", "output": f"{tag} {i}", "language": tag}
            | {"instruction_language": "en", "license": "CC0-1.0", "source": "corpus"}
            for i in range(3)
        ]
        (tmp_path / "set" / tag).mkdir(parents=True)
        pq.write_table(
            pa.Table.from_pylist(rows, schema=columns), tmp_path / "set" / tag / "train-00000-of-00001.parquet"
        )
    recipe = mixing('languages = ["sw", "fi"]\n[x_instruction]')
    report = write(recipe, sources(str(tmp_path / "set"), "web"), tmp_path / "out")
    assert report["dropped"] == {}
    assert report["by_direction"] == {"en-fi": 3, "en-sw": 3}
    (row,) = [
        row
        for row in pq.read_table(tmp_path / "out" / "train-00000-of-00001.parquet").to_pylist()
        if row["source_id"] == "sw-1-0"
    ]
    assert (row["prompt"], row["completion"]) == ("Ask 1 Answer in Swahili.", "sw 1")
    assert (row["source"], row["license"], row["mixer"]) == ("corpus", "CC0-1.0", "x_instruction")


SEED, WEB = "Answer in Swahili and the style of an AI assistant.", "Answer in Swahili."


@pytest.mark.parametrize(
    ("inference", "kinds", "tag"),
    [
        ("seed", "seed web", SEED),
        ("both", "seed web", f"{SEED} {WEB}"),
        ("web", "seed web", WEB),
        # A tag that no row ends with was never seen.
        ("seed", "web", WEB),
        ("both", "web", WEB),
        ("both", "seed", SEED),
        ("web", "seed", SEED),
        ("none", "seed web", ""),
    ],
)
def test_the_report_has_the_inference_tag(tmp_path, mixing, inference, kinds, tag):
    row = {"id": "1", "language": "sw", "instruction": "x", "output": "y"}
    data = [Source(lines(tmp_path / f"{kind}.jsonl", [row]), kind) for kind in kinds.split()]
    recipe = mixing(f'languages = ["sw", "fi"]\n[x_instruction]\ninference = "{inference}"')
    report = write(recipe, data, tmp_path / "out")
    assert report["inference"] == ({"sw": tag} if tag else {})
    assert report["by_tag"] == {text: 1 for kind, text in (("seed", SEED), ("web", WEB)) if kind in kinds}


def test_the_command_prints_the_inference_tag(tmp_path):
    data = asked_in(tmp_path, "en", "sw")
    arguments = [str(data.path), "--out", str(tmp_path / "out"), "--set", 'languages=["sw"]']
    run = CliRunner().invoke(cli, ["mix", "x-instruction", *arguments])
    assert f"ask      sw                       {WEB}" in run.stderr.splitlines()
