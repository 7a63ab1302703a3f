import json
import random

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from x_instruction.cli import cli
from x_instruction.config.section import toml_value, validate
from x_instruction.config.seeds import Seeds
from x_instruction.corpus.contamination import ContaminationIndex
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import language
from x_instruction.seed.collect import collect, detect_format
from x_instruction.seed.pairs import Pair
from x_instruction.seed.screen import screen

SW = language("sw")
# Swahili of our own, one sentence a topic.
TEXTS = [
    "Mvua hunyesha kwa wingi katika miezi ya Machi na Aprili, na wakulima hupanda mahindi na maharagwe wakati huo.",
    "Watoto wengi katika kijiji chetu hutembea umbali mrefu kila asubuhi ili kufika shuleni kabla ya kengele kulia.",
    "Ili kupika wali mtamu, osha mchele mara mbili, kisha uchemshe maji yenye chumvi kidogo na mafuta ya nazi.",
    "Bahari ya Hindi ina samaki wa aina nyingi, na wavuvi huondoka usiku wakiwa na taa ili kuwavutia karibu na mashua.",
    "Mwalimu alieleza kwamba afya njema huanza na chakula bora, usingizi wa kutosha na mazoezi ya kila siku.",
]


def pair(number, **values):
    fields = {
        "id": f"p{number}",
        "instruction": f"What do people say about topic {number}?",
        "output": TEXTS[number % 5],
        "language": "sw",
        "instruction_language": "en",
        "source": "test",
    }
    return Pair(**fields | values)


def run(pairs, evaluations=None, **values):
    made = list(screen(pairs, Seeds(**values), SW, evaluations or ContaminationIndex(8)))
    kept = [m for m in made if isinstance(m, Pair)]
    return kept, {m.id: m.reason for m in made if not isinstance(m, Pair)}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"instruction": " \u200b"}, "no_instruction"),
        ({"output": "\n"}, "no_output"),
        ({"instruction": "Why?"}, "instruction_too_short"),
        ({"instruction": "why " * 2_000}, "instruction_too_long"),
        ({"input": "why " * 2_000}, "instruction_too_long"),
        ({"output": "Ndiyo."}, "output_too_short"),
        ({"output": TEXTS[0] * 200}, "output_too_long"),
        ({"language": "fi"}, "other_language"),
        ({"language": "no such"}, "other_language"),
        ({"instruction_language": "sw"}, "other_language"),
        (
            {"output": "The rain falls in March and April, and farmers plant maize and beans at that time."},
            "wrong_language",
        ),
        ({"output": "ฝนตกหนักในเดือนมีนาคมและเมษายน ชาวนาปลูกข้าวโพดและถั่วในช่วงเวลานั้น"}, "wrong_script"),
        ({"instruction": "Please: how can I improve my time management skills at work?"}, "contaminated"),
    ],
)
def test_invalid_pairs_are_dropped_with_a_reason(values, reason):
    evaluations = ContaminationIndex(8)
    evaluations.add("How can I improve my time management skills?", "vicuna")
    kept, dropped = run([pair(1), pair(2, **values)], evaluations)
    assert [p.id for p in kept] == ["p1"]
    assert dropped == {"p2": reason}


def test_any_name_of_a_language_is_accepted():
    assert len(run([pair(1, language="swh_Latn"), pair(2, language="Swahili")])[0]) == 2


def test_duplicates_are_dropped():
    pairs = [
        pair(1),
        pair(2, instruction="what do people  say about topic 1?"),
        pair(3, output=TEXTS[4]),
        pair(4),
        pair(5, output=TEXTS[0][:-1] + " pia."),
        pair(10, output=TEXTS[0]),
    ]
    kept, dropped = run(pairs)
    assert sorted(dropped.values()) == ["duplicate_instruction", "exact_duplicate", "near_duplicate"]
    assert len(kept) == 3
    assert len({p.output for p in kept}) == 3


def test_the_sample_depends_on_the_seed_and_not_on_the_order():
    words = " ".join(TEXTS).split()
    pairs = [pair(i, output=" ".join(random.Random(i).sample(words, 40))) for i in range(40)]
    everything, _ = run(pairs, language_check=False)
    kept, dropped = run(pairs, count=10, language_check=False)
    assert kept == everything[:10]
    assert set(dropped.values()) == {"over_count"}
    assert run(random.Random(3).sample(pairs, 40), count=10, language_check=False)[0] == kept
    assert run(pairs, count=10, seed=2, language_check=False)[0] != kept


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cuont", "1", "unknown key cuont, did you mean 'count'"),
        ("count", "0", "count is 0, expected a number above 0"),
        ("format", "tree", "format is 'tree', expected 'auto', 'trees', 'parallel' or 'pairs'"),
        ("min_chars", "20000", "min_chars is 20000, expected at most max_chars, which is 10000"),
        ("instruction_language", "zzzz", "zzzz"),
        ("near_duplicate_jaccard", "2.0", "near_duplicate_jaccard is 2.0"),
    ],
)
def test_invalid_settings_are_refused(key, value, message):
    with pytest.raises(RecipeError, match=message):
        validate(Seeds, {}, {key: toml_value(value)})


def source(tmp_path, name="pairs.jsonl"):
    rows = [{"id": i, "instruction": f"Tell me about topic {i}.", "output": text} for i, text in enumerate(TEXTS)]
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n", "utf-8")
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_command_writes_pairs(tmp_path, suffix):
    out = tmp_path / f"seeds.{suffix}"
    held = tmp_path / "vicuna.txt"
    held.write_text("Tell me about topic 3.\n")
    arguments = [
        "seeds",
        "collect",
        str(source(tmp_path)),
        "--languages",
        "swh",
        "--out",
        str(out),
        "--exclude-eval",
        str(held),
    ]
    shown = CliRunner().invoke(cli, arguments)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == f"{out}: 4 seeds of 6 rows\n"
    rows = (
        pq.read_table(out).to_pylist() if suffix == "parquet" else list(map(json.loads, out.read_text().splitlines()))
    )
    assert {row["id"] for row in rows} == {"0", "1", "2", "4"}
    assert {row["language"] for row in rows} == {"sw"}
    report = json.loads((tmp_path / "seeds.report.json").read_text())
    assert report["dropped"] == {"contaminated": 1, "malformed_json": 1}
    assert report["evaluation"] == {"vicuna.txt": 1}
    assert str(tmp_path) not in json.dumps(report)
    gone = pq.read_table(tmp_path / "seeds.dropped.parquet").to_pylist()
    assert sorted(row["id"] for row in gone) == ["3", "pairs.jsonl:6"]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_language_without_kept_pairs_has_an_empty_file(tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    report = collect([source(tmp_path)], Seeds(), language("fi"), out)
    assert (report["kept"], report["dropped"]) == (0, {"malformed_json": 1, "wrong_language": 5})
    assert json.loads((tmp_path / "out.report.json").read_text()) == report
    assert pq.read_table(tmp_path / "out.dropped.parquet").num_rows == 6
    # It can be taken like any other.
    assert collect([out], Seeds(), language("fi"), tmp_path / "again.jsonl")["rows_in"] == 0
    assert (tmp_path / "again.jsonl").read_bytes() == b""


def test_the_command_fails_with_the_reasons_if_nothing_is_kept(tmp_path):
    out = tmp_path / "out.jsonl"
    shown = CliRunner().invoke(cli, ["seeds", "collect", str(source(tmp_path)), "--languages", "fi", "--out", str(out)])
    assert isinstance(shown.exception, CorpusError)
    assert "no usable seed in Finnish in pairs.jsonl (malformed_json 1, wrong_language 5)" in str(shown.exception)
    assert (tmp_path / "out.dropped.parquet").exists()


def test_invalid_files_are_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"cannot write .*out.csv: expected a name that ends in .jsonl or .parquet"):
        collect([], Seeds(), SW, tmp_path / "out.csv")
    (tmp_path / "bad.jsonl").write_text("not json\n\n")
    with pytest.raises(CorpusError, match="holds no row that can be read"):
        collect([tmp_path / "bad.jsonl"], Seeds(), SW, tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": {"text": "a", "replies": []}}, "trees"),
        ({"parent_id": None, "text": "a"}, "trees"),
        ({"title_en": "a", "text": "b"}, "parallel"),
        ({"prompt": "a", "completion": "b"}, "pairs"),
        ({"messages": []}, "pairs"),
    ],
)
def test_the_format_is_detected_from_the_columns(tmp_path, row, expected):
    path = tmp_path / "x.jsonl"
    path.write_text("oops\n" + json.dumps(row))
    assert detect_format(path, 1_000) == expected


def test_a_huge_row_is_dropped_without_reading_it(tmp_path):
    path = source(tmp_path)
    with path.open("a") as stream:
        stream.write(json.dumps({"instruction": "x" * 50_000, "output": "y"}) + "\n")
    report = collect([path], Seeds(max_row_bytes=20_000), SW, tmp_path / "out.jsonl")
    assert report["dropped"] == {"line_too_long": 1, "malformed_json": 1}


def test_instructions_may_be_in_the_language_of_their_responses(tmp_path):
    rows = [
        {"instruction": "Watu wa kijiji husema nini juu ya mvua?", "output": TEXTS[0], "instruction_language": "sw"},
        {
            "instruction": "What do people say about the way to school?",
            "output": TEXTS[1],
            "instruction_language": "en",
        },
    ]
    source, out = tmp_path / "sw.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = collect([source], Seeds(instruction_language="same"), SW, out)
    assert (report["kept"], report["dropped"]) == (1, {"other_language": 1})
    assert report["settings"]["instruction_language"] == "same", "what is compared is what the recipe says"
    assert json.loads(out.read_text())["instruction_language"] == "sw"
