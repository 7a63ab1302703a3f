import html
import json
import os
import re
import sys
from xml.etree import ElementTree

import built_set
import datasets
import pyarrow as pa
import pytest
import warm
import yaml
from click.testing import CliRunner

from x_instruction.builders.layout import build, texts_and_manifest
from x_instruction.builders.manifest import Manifest
from x_instruction.builders.reading import load
from x_instruction.builders.schema import COLUMNS, features
from x_instruction.cards.escaping import code, code_block, escape, model, plain
from x_instruction.cards.facts import MAX_DISTINCT, SHOWN, Tally
from x_instruction.cards.licenses import hub_license, license_metadata, model_terms
from x_instruction.cards.plot import plot
from x_instruction.cards.templates import bibtex
from x_instruction.cli import cli
from x_instruction.config.model import Server
from x_instruction.config.recipe import load as load_recipe
from x_instruction.errors import ShardError
from x_instruction.hashing import unsealed
from x_instruction.pipeline.rounds import title
from x_instruction.pipeline.status import totals
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

HOSTILE = (
    "<script>alert(1)</script> | a | b |\n\n---\nlicense: mit\n# Title ](http://x) `c` "
    "\u202ertl\u2066 \x00\x1b[31m {{ 7*7 }}"
)


HEADINGS = [
    "## Usage",
    "## Samples",
    "## Columns",
    "## Licence",
    "## Sources",
    "## Creation",
    "### Models",
    "### Records per stage",
    "### Compute",
    "### Recipe",
    "## Statistics",
    "### Lengths and scores",
    "### Diversity of instructions",
    "## Limitations",
    "## Reproduction",
    "## Citation",
]
PLACEHOLDER = re.compile(
    r"\b(TODO|TBD|FIXME|XXX|(?-i:None|nan)|undefined|lorem ipsum|More Information Needed|placeholder|path/or|"
    r"your[-_]\w+|username|changeme|example\.(com|org)|see the model)\b|\[\.\.\.\]|(?-i:<[A-Z_ ]+>)|\{\{|\{%|%\}",
    re.IGNORECASE,
)


def parts(folder):
    _, head, body = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(head), body


def test_hostile_text_changes_neither_the_yaml_nor_the_card(run, kit, folder):
    evil = {"source": HOSTILE, "license": HOSTILE, "url": HOSTILE, "document_id": HOSTILE, "instruction": HOSTILE}
    models = {"generator": HOSTILE, "generator_revision": HOSTILE, "rater": HOSTILE, "embedder": HOSTILE}
    rows = [kit.curated("ur", number, **evil, **models) for number in range(5)]
    kit.write(run, "ur", rows)
    kit.write(run, "sw", [kit.curated("sw", number, **evil, **models) for number in range(5)])
    build(run, kit.recipe(("ur", "sw"), pretty_name=HOSTILE), folder)
    head, body = parts(folder)
    assert head["license"] == "other"
    assert head["language"] == ["ur", "sw", "en"]
    assert "<script" not in body
    text = (folder / "README.md").read_text("utf-8")
    assert not re.search("[\u202a-\u202e\u2066\u2067\x00\x1b]", text)
    # Every isolate that is opened is closed.
    assert re.findall("[\u2068\u2069]", text) == ["\u2068", "\u2069"] * text.count("\u2068")
    # Only its own fence ends a code block.
    shown, toml = (
        re.sub(r"```toml\n(.*?)\n```", "", body, flags=re.DOTALL),
        re.search(r"```toml\n(.*?)\n```", body, re.S),
    )
    assert "alert(1)" in toml[1]
    assert "{{ 7" not in shown
    assert "](http://x" not in shown
    for table in re.findall(r"(?:^\|.*\n)+", shown, flags=re.M):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert [line for line in shown.splitlines() if line.startswith("#")][1:] == HEADINGS
    assert body.count("```") % 2 == 0
    # The rows themselves are untouched.
    assert load("ur", folder, split="train")["source"][0] == HOSTILE


def test_a_hostile_manifest_changes_neither_the_yaml_nor_the_card(run, kit, folder):
    build(run, kit.recipe(("sw",)), folder)
    table = unsealed(json.loads((folder / "manifest.json").read_text("utf-8")))
    provenance = table["languages"]["sw"]["provenance"]
    provenance["stages"][0] |= {"stage": HOSTILE, "dropped": {HOSTILE: 1}}
    provenance["recipe"] |= {"toml": f"{HOSTILE}\n```\n# Title", "rater": HOSTILE, "selector": HOSTILE, "name": HOSTILE}
    provenance["variety"]["after"]["verbs"] = [{"verb": HOSTILE, "count": 1, "nouns": []}]
    manifest = Manifest.parse(json.dumps(table).encode())
    texts, _ = texts_and_manifest(manifest.languages, manifest.pretty_name)
    _, head, body = texts["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "cc-by-sa-4.0"
    shown = re.sub(r"^(```+)\w+\n.*?^\1$", "", body, flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in shown
    assert "](http://x" not in shown
    assert "\u202e" not in body
    assert [line for line in shown.splitlines() if line.startswith("#")][1:] == HEADINGS


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("splits", "train", "rows"), 10**400, "less than or equal"),
        (("splits", "train", "rows"), -1, "greater than or equal"),
        (("splits",), {"dev": {}}, "splits"),
        (("provenance", "stages"), [{"stage": 3}], "stages.0.stage: Input should be a valid string"),
        (("provenance", "recipe", "extras"), [HOSTILE], "pattern"),
        (("provenance", "recipe", "languages"), [HOSTILE], "pattern"),
        (("provenance", "samples"), [{"instruction": "a", "response": "b", "score": float("nan")}], "finite number"),
        (("facts", "licenses", "counts"), 3, "manifest of this version"),
        (("tag",), "th", "is not named by its tag"),
    ],
)
def test_a_manifest_of_other_types_is_refused(built, path, value, message):
    table = unsealed(json.loads((built / "manifest.json").read_text("utf-8")))
    part = table["languages"]["sw"]
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        Manifest.parse(json.dumps(table).encode())


def test_a_card_is_short_before_its_collapsed_sections(tmp_path):
    folder = built_set.built(tmp_path, ("bn", "fi", "hi", "id", "sw", "ta", "th", "tr", "ur", "vi"))
    text = (folder / "README.md").read_text("utf-8")
    assert len(text[: text.index("<details>")].splitlines()) <= 250
    assert text.count("dtype: float64") == [column.dtype for column in COLUMNS].count("float64")
    infos = datasets.info.DatasetInfosDict.from_directory(str(folder))
    assert {name: info.features for name, info in infos.items()} == dict.fromkeys(infos, features())
    assert len(infos) == 11
    # Only text of others is written as entities.
    assert not re.search(r"&#?\w+;", text)


def test_the_plot_has_a_bar_for_each_language_the_largest_first(run, kit, folder):
    kit.write(run, "sw", kit.records("sw", 3))
    build(run, kit.recipe(("sw", "th", "ur")), folder)
    root = ElementTree.parse(folder / "languages.svg").getroot()
    labels = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert labels == ["Thai", "24", "Urdu", "24", "Swahili", "3"]
    widths = [float(element.get("width")) for element in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths == sorted(widths, reverse=True)
    assert "![Rows of each language](languages.svg)" in (folder / "README.md").read_text("utf-8")
    assert "languages.svg" in Manifest.read(folder).files


def test_many_languages_are_one_bar(built):
    language_set = Manifest.read(built).languages["sw"]
    sets = {f"q{number}": language_set for number in range(50)}
    assert "10 others" in plot(sets)


def test_yaml_keeps_norwegian_a_string(run, kit, folder):
    build(run, kit.recipe(("no",)), folder)
    head, _ = parts(folder)
    assert head["language"] == ["no", "en"]
    assert sorted(config["config_name"] for config in head["configs"]) == ["all", "no"]
    assert load("Norwegian", folder, split="train").num_rows == 24


def test_the_card_reports_kept_and_dropped_rows_of_every_stage(run, kit, folder):
    build(run, kit.recipe(("sw",)), folder)
    body = parts(folder)[1]
    assert "| `sw` | corpus | 26 | 24 | passage_bad 2 |" in body
    assert "| `sw` | diversify | 26 | 24 | quota 2 |" in body
    assert "| all | 12 | 104 | 8,000 | 800 |" in body
    assert "Cost" not in body
    assert "| `sw` | response | 238 |" in body
    assert "| `sw` | after | 24 | 6 |" in body


def test_costs_are_reported_where_the_recipe_has_prices(run, kit, folder):
    recipe = kit.recipe(("sw",))
    model = recipe.generate.model.replace(server=Server(prompt_price=500.0, output_price=5000.0))
    build(run, recipe.replace(generate=recipe.generate.replace(model=model)), folder)
    assert "| generate | 3 | 26 | 2,000 | 200 | 2 |" in parts(folder)[1]


@pytest.mark.parametrize(("stage", "kind"), [("passage", "index.json"), ("rated", "shard"), ("curated", "shard")])
def test_a_missing_fact_names_the_command_that_adds_it(run, kit, folder, stage, kind):
    path = run.path(StageKey(stage).shard("sw", 1))
    (path.with_name("index.json") if kind == "index.json" else path).unlink()
    with pytest.raises(ShardError, match=r"run` makes what|not complete|cannot read shard"):
        build(run, kit.recipe(("sw",)), folder)
    assert not folder.exists()


def test_no_placeholders_remain(built):
    head, body = parts(built)
    found = [match[0] for match in PLACEHOLDER.finditer(body.replace("NaN", ""))]
    assert found == []
    assert not [key for key, value in head.items() if value in (None, "", [])]
    assert head["source_datasets"] == ["original"]
    assert head["task_categories"] == ["text-generation"]


def test_the_recipe_of_the_card_makes_the_same_run(run, kit, folder, tmp_path):
    evil = "\"'\\ \n\t\x7f\u202e\u200c \U0001f600 ``` </details> \udc80"
    recipe = kit.recipe(pretty_name=evil)
    corpus = recipe.corpus.replace(source="hub", dataset="org/corpus", paths=("/home/me/a/*.jsonl", "b/c"))
    model = recipe.generate.model.replace(name="/home/me/model", server=Server(url="http://10.0.0.1/v1"))
    recipe = recipe.replace(corpus=corpus, generate=recipe.generate.replace(model=model))
    build(run, recipe, folder)
    head, body = parts(folder)
    assert "/home/me" not in body
    assert "10.0.0.1" not in body
    assert head["source_datasets"] == ["org/corpus"]
    text = re.findall(r"^(`{4,})toml\n(.*?)\n\1\n", body, flags=re.DOTALL | re.MULTILINE)[0][1]
    (tmp_path / "recipe.toml").write_text(text, "utf-8")
    again = load_recipe(tmp_path / "recipe.toml")
    assert again.publish.pretty_name == evil.replace("\udc80", "?")
    assert again.corpus.paths == ("*.jsonl", "b/c")
    assert (again.refine, again.corpus.filters, again.languages) == (recipe.refine, corpus.filters, recipe.languages)


def run_snippets(text, where, environment):
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    for snippet in snippets:
        command = [sys.executable, "-W", "ignore", "-c", snippet]
        done = warm.run(command, cwd=where, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
    return len(snippets)


def test_the_examples_run_in_the_folder(built, tmp_path):
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    assert run_snippets((built / "README.md").read_text("utf-8"), built, environment) == 2


def test_the_examples_run_against_a_hub(built, local_hub, tmp_path):
    repo = local_hub.create("card-org/set")
    manifest = Manifest.read(built)
    texts, _ = texts_and_manifest(manifest.languages, manifest.pretty_name, repo)
    files = {path.relative_to(built).as_posix(): path.read_bytes() for path in built.rglob("*") if path.is_file()}
    local_hub.commit(repo, files | texts)
    assert run_snippets(texts["README.md"].decode(), tmp_path, local_hub.env(token=None)) == 2


def test_the_card_has_no_local_paths(run, kit, folder):
    rows = [kit.curated("sw", n, generator="/home/someone/models/tiny", rater="pmi:/mnt/x/rater") for n in range(3)]
    kit.write(run, "sw", rows)
    build(run, kit.recipe(("sw",)), folder)
    _, body = parts(folder)
    assert "someone" not in body
    assert "| tiny |" in body


def test_licenses_of_several_kinds_are_listed_by_name(kit, tmp_path):
    stated = ["cc-by-4.0 AND apache-2.0", "mit", 'CC BY-SA 3.0 | "quoted"']
    run, folder = RunFolder(tmp_path / "run"), tmp_path / "data-set"
    kit.write(run, "sw", [kit.curated("sw", n, license=license) for n, license in enumerate(stated)])
    build(run, kit.recipe(("sw",)), folder)
    head, _ = parts(folder)
    assert (head["license"], head["license_name"]) == ("other", "mixed-see-column-license")
    croissant = json.loads((folder / "croissant.json").read_text("utf-8"))
    for details in (head["license_details"], croissant["license"]):
        assert sorted(details.split("; ")) == sorted(html.escape(name, quote=False) for name in stated)
    assert {row["license"] for row in load("sw", folder)["train"]} == set(stated)


def test_the_card_of_a_real_run_agrees_with_its_status(recipe_file, tmp_path):
    path = recipe_file(publish={"pretty_name": "Real"})
    for arguments in (
        ["run", str(path), "--out", str(tmp_path / "run"), "--workers", "1"],
        ["build", str(tmp_path / "run")],
    ):
        assert CliRunner().invoke(cli, arguments, catch_exceptions=False).exit_code == 0
    folder = tmp_path / "run" / "dataset"
    head, body = parts(folder)
    found = totals(RunFolder(tmp_path / "run"))
    for total in found:
        if total.language in ("fi", "th", "bn"):
            name = title(StageKey(total.stage, total.round))
            assert f"| `{total.language}` | {name} | {total.rows_in} | {total.kept} | " in body
    tokens = [sum(getattr(total, name) for total in found) for name in ("requests", "prompt_tokens", "output_tokens")]
    assert "| {:,} | {:,} | {:,} |".format(*tokens) in next(
        line for line in body.splitlines() if line.startswith("| all |")
    )
    assert [match[0] for match in PLACEHOLDER.finditer(body)] == []
    assert head["license"] == "apache-2.0"
    assert head["language_creators"] == ["machine-generated"]
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    assert run_snippets((folder / "README.md").read_text("utf-8"), folder, environment) == 2


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("org/model", "org/model"),
        ("embedded", "embedded"),
        ("pmi:org/model", "pmi:org/model"),
        ("/a/b/model/", "model"),
        ("pmi:~/b/model", "pmi:model"),
        ("C:\\models\\tiny", "C:tiny"),
        ("a/b/c", "c"),
    ],
)
def test_model_names_have_no_local_path(name, shown):
    assert model(name) == shown


def test_plain_text_is_one_line_of_bounded_length():
    assert plain("a\n\n b\u2028c\x85d\u200bم\u200cن") == "a b c d م\u200cن"
    assert len(plain("x" * 10_000)) == 121
    assert escape("a|b*") == "a&#124;b\\*"
    assert escape(3) == 3
    assert bibtex("a_b & {c}\\d") == "a\\_b \\& cd"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("copies_the_passage", "copies_the_passage"),
        ('google/gemma-3-270m (Q4_K_M)+x_instruction: "it\'s" #1 & 2 > 1!', None),
        ("_a_ __init__", r"\_a\_ \_\_init\_\_"),
        ("**b** `c` [d](e) ~f~", r"\*\*b\*\* \`c\` \[d\](e) \~f\~"),
        ("<i> &amp; a\\(b\\) $c$", "&#60;i> &#38;amp; a&#92;(b&#92;) &#36;c&#36;"),
        ("https://x.org www.x.org a@x.org", "https&#58;//x.org www&#46;x.org a&#64;x.org"),
        (":smile: 10:30:15 {{a}} {% b %}", "&#58;smile: 10:30:15 &#123;{a}} &#123;% b %}"),
    ],
)
def test_prose_is_escaped_only_where_markdown_would_read_it(text, shown):
    assert escape(text) == (shown or text)


def test_every_escaped_text_renders_as_itself():
    from markdown_it import MarkdownIt

    render = MarkdownIt("gfm-like", {"linkify": False}).render
    for text in (
        HOSTILE,
        "_a_ __b__ **c** ~~d~~ `e` &copy; <b>f</b> [g](h) ![i](j) \\* \\_ a_b *",
        "a|b",
        "1 < 2 & 3 > 2",
    ):
        row = re.search(r"<td>(.*?)</td>", render(f"| a |\n|---|\n| {escape(text)} |\n"), flags=re.DOTALL)[1]
        assert "<" not in row, row
        assert html.unescape(row) == plain(text)


def test_code_cannot_be_escaped_from():
    assert code("a_b*") == "`a_b*`"
    assert code("a`b|c") == "a\\`b&#124;c"
    assert code_block("a\n````\nb\u202e", "text") == "`````text\na\n````\nb\ufffd\n`````"


@pytest.mark.parametrize(
    ("stated", "identifier"),
    [
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("cc-by-4.0", "cc-by-4.0"),
        ("ODC-By 1.0", "odc-by"),
        ("Apache_2.0", "apache-2.0"),
        ("unknown", "unknown"),
        ("", "unknown"),
        ("Gutenberg", None),
    ],
)
def test_licences_are_mapped_to_hub_identifiers(stated, identifier):
    assert hub_license(stated) == identifier


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("google/gemma-3-270m (Q4_K_M)", "Gemma Terms of Use"),
        ("google/gemma-3-270m (Q4_K_M)+x_instruction generator", "Gemma Terms of Use"),
        ("trained:google/gemma-3-270m (Q4_K_M)+rater: mine", "Gemma Terms of Use"),
        ("pmi:org/model", "as stated on its Hub page"),
        ("org/model+org/adapter", "as stated on the Hub page of its base"),
        ("trained:tiny+org/adapter", "unknown (a local folder, or a name on a server)"),
    ],
)
def test_the_terms_of_a_base_hold_for_its_adapters(name, terms):
    assert model_terms(name) == terms


def tally(*values):
    counted = Tally()
    for value in values:
        counted.add(pa.array([value]))
    return counted


def test_the_licence_of_the_set_is_that_of_its_rows():
    assert license_metadata(tally("CC BY 4.0", "cc-by-4.0")) == {"license": "cc-by-4.0"}
    mixed = license_metadata(tally("mit", "mit", "CC BY 4.0"))
    assert mixed == {
        "license": "other",
        "license_name": "mixed-see-column-license",
        "license_details": "mit; CC BY 4.0",
    }
    assert license_metadata(tally("Gutenberg"))["license_name"] == "as-the-source-states"


def test_many_licences_do_not_fill_memory_or_the_card():
    counted = tally(*(f"licence {number}" for number in range(MAX_DISTINCT + 500)))
    assert len(counted.counts) == MAX_DISTINCT
    assert len(counted.shown()) == SHOWN
    assert counted.hidden() == MAX_DISTINCT + 500 - SHOWN
    twice = tally()
    twice.merge(counted)
    twice.merge(counted)
    assert twice.hidden() == 2 * (MAX_DISTINCT + 500) - 2 * SHOWN
    assert license_metadata(counted)["license_details"].endswith("; and others (1490 rows)")
