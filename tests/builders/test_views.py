"""Views: rows in the formats of trainers, streamed or not, from every kind of source."""

from __future__ import annotations

import json

import datasets
import pytest

import x_instruction
from x_instruction.builders.exports import export
from x_instruction.builders.reading import languages, load
from x_instruction.builders.schema import features
from x_instruction.builders.views import KEPT_COLUMNS, VIEWS, alpaca, chat, prompt_completion
from x_instruction.errors import RecipeError, UnknownLanguage

# Texts that break code which takes text for markup, a line, terminal output or Latin letters.
HOSTILE = (
    "\x00\x01\x1b[31m\x7f\x85\u2028\u2029\r\n\ttab",
    "<script>alert('x')</script> &amp; {{ jinja }} {% raw %} <|im_end|>",
    "\u202eעברית اردو\u2066 \ufeff zero\u200bwidth",
    '\U0001f469\u200d\U0001f33e \ufffd \U0010ffff \\ud800 \\u0000 "quoted" \\',
    "",
)


@pytest.fixture(params=["run", "built", "original"])
def source(request, run, tmp_path):
    if request.param == "original":
        folder = tmp_path / "original"
        folder.mkdir()
        rows = [{"instruction": f"What is {n}?", "input": "", "output": f"Jibu {n}"} for n in range(24)]
        for tag in ("sw", "th"):
            (folder / f"{tag}.json").write_text(json.dumps(rows))
        return folder
    return run.root if request.param == "run" else request.getfixturevalue("built")


@pytest.mark.parametrize("name", ["chatt", "prompt_completion", "", "messages"])
def test_an_unknown_view_lists_the_known_ones(run, name):
    with pytest.raises(RecipeError, match=r"known: chat, prompt-completion, alpaca"):
        load("sw", run.root, view=name)
    with pytest.raises(RecipeError, match=r"unknown view"):
        x_instruction.view(load("sw", run.root), name)


def test_a_misspelt_view_gets_a_suggestion():
    with pytest.raises(RecipeError, match="did you mean 'prompt-completion'"):
        load("sw", "org/name", view="prompt_completion")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_view_of_other_columns_says_which_one_is_missing(built, streaming):
    with pytest.raises(RecipeError, match="needs the column 'instruction', and the rows have id, output"):
        load("sw", built, view="chat", columns=["id", "output"], streaming=streaming)


def test_an_unknown_split_lists_the_known_ones(source):
    for streaming in (False, True):
        with pytest.raises(ValueError, match=r"split.*train"):
            load("sw", source, split="nothing", view="chat", streaming=streaming)


def test_an_unknown_language_is_refused(source):
    with pytest.raises(RecipeError, match=r"only .*sw, th"):
        load("fi", source, view="chat")
    with pytest.raises(UnknownLanguage, match="did you mean"):
        load("swahilli", source, view="chat")


@pytest.mark.parametrize("name", VIEWS)
def test_streamed_and_loaded_views_are_equal(source, name):
    loaded = load("sw", source, view=name)
    streamed = load("sw", source, view=name, streaming=True)
    assert list(loaded) == list(streamed) == ["train"]
    assert loaded["train"].features == streamed["train"].features == VIEWS[name].features()
    assert loaded["train"].column_names == streamed["train"].column_names == [*KEPT_COLUMNS, *VIEWS[name].columns]
    rows = list(loaded["train"])
    assert rows == list(streamed["train"])
    assert len(rows) == 24
    plain = load("sw", source, split="train")
    assert plain.features == features()
    for row, whole in zip(rows, plain, strict=True):
        assert row == {column: whole[column] for column in KEPT_COLUMNS} | VIEWS[name].row(whole)


def test_views_have_the_documented_shape():
    row = {"instruction": "Why?", "output": "Kwa sababu.", "id": "sw-1"}
    user, assistant = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Kwa sababu."}
    assert chat(row) == {"messages": [user, assistant]}
    assert prompt_completion(row) == {"prompt": [user], "completion": [assistant]}
    assert alpaca(row) == {"instruction": "Why?", "input": "", "output": "Kwa sababu."}


@pytest.mark.parametrize("streaming", [False, True])
def test_hostile_and_long_texts_are_unchanged(run, kit, streaming):
    texts = [*HOSTILE, "ก" * 350_000]
    rows = [kit.curated("sw", n, instruction=text or "?", text=text) for n, text in enumerate(texts)]
    kit.write(run, "sw", rows)
    seen = list(load("sw", run.root, view="chat", split="train", streaming=streaming))
    assert [row["messages"][1]["content"] for row in seen] == texts
    assert [row["messages"][0]["content"] for row in seen] == [text or "?" for text in texts]


def test_row_functions_work_with_load_dataset(built):
    expected = load("sw", built, view="chat", split="train")["messages"]
    for streaming in (False, True):
        rows = datasets.load_dataset(str(built), "sw", split="train", streaming=streaming)
        assert [row["messages"] for row in rows.map(chat)] == list(expected)
        assert [row["messages"] for row in x_instruction.view(rows, "chat")] == list(expected)


def test_views_take_slices_and_processes(built):
    assert len(load("sw", built, view="alpaca", split="train[:5]")) == 5
    one = load("all", built, view="chat", split="train")
    two = load("all", built, view="chat", split="train", num_proc=2, download_mode="force_redownload")
    assert sorted(one["id"]) == sorted(two["id"])


def test_languages_of_a_source_are_listed(source):
    assert {"sw", "th"} <= set(languages(source))


def test_an_unreachable_hub_is_reported_in_one_line():
    with pytest.raises(RecipeError, match="cannot load org/no-such-set from the Hub"):
        load("sw", "org/no-such-set")
    with pytest.raises(RecipeError, match="cannot load org/no-such-set from the Hub"):
        languages("org/no-such-set")


CLIENT = """
    import sys
    from huggingface_hub import HfApi
    import x_instruction
    from x_instruction.builders.exports import export
    from x_instruction.builders.reading import languages
    from x_instruction.builders.views import VIEWS
    from x_instruction.errors import RecipeError

    repo, folder, out = sys.argv[1:]
    api = HfApi()
    api.create_repo(repo, repo_type="dataset")
    api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder)
    print(*languages(repo))
    for name in VIEWS:
        local = x_instruction.load("sw", folder, split="train", view=name)
        for streaming in (False, True):
            rows = x_instruction.load("swh_Latn", repo, split="train", view=name, streaming=streaming)
            assert rows.features == local.features and list(rows) == list(local)
    for bad, expected in {"fi": "does not have 'fi'", "swahilli": "did you mean"}.items():
        try:
            x_instruction.load(bad, repo, view="chat")
        except RecipeError as error:
            assert expected in str(error), error
    export(repo, __import__("pathlib").Path(out), "original")
"""


@pytest.mark.parametrize("layout", ["built", "original"])
def test_views_load_from_a_hub(local_hub, built, kit, tmp_path, layout):
    folder = built
    if layout == "original":
        export(built, tmp_path / "release", "original")
        folder = tmp_path / "release"
    repo = local_hub.python(CLIENT, f"views/{layout}", str(folder), str(tmp_path / "out"))
    assert repo.split() == sorted(kit.languages)
    export(built, tmp_path / "local", "original")
    for tag in kit.languages:
        assert (tmp_path / "out" / f"{tag}.json").read_bytes() == (tmp_path / "local" / f"{tag}.json").read_bytes()
