"""The card of a model: made from records only, safe to show, with a licence that is never guessed."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from model_facts import evaluation, records, training

from x_instruction.cards.model import eval_results, license_of, model_card
from x_instruction.engines.embedded import MODELS
from x_instruction.errors import RecipeError

HOSTILE = "<script>alert(1)</script> | a |\n\n---\nlicense: mit\n# T ](http://x) ``` \u202ertl {{ 7*7 }}"


def card(evaluations=(), repo="facts-org/model", **changes):
    return model_card(records(*evaluations, training=training(**changes)), repo)


@pytest.mark.parametrize("stated", ["", "unknown", "  "])
def test_an_unknown_licence_is_refused_with_a_remedy(stated):
    with pytest.raises(RecipeError, match=r"licence of facts-org/base is unknown.*base_license"):
        card(base_license=stated)


@pytest.mark.parametrize("link", ["", "http://example.org", "https://x>y", "javascript:alert(1)"])
def test_a_licence_that_the_hub_does_not_know_needs_a_link(link):
    with pytest.raises(RecipeError, match="base_license_link"):
        card(base_license="Somebody's Terms", base_license_link=link)


@pytest.mark.parametrize("base", ["/home/me/model", "model", "a/b/c", "../x", "org/..", "org/a--b"])
def test_a_base_model_that_is_not_on_the_hub_is_refused(base):
    with pytest.raises(RecipeError, match="expected the id of a model on the Hub"):
        card(base_model=base)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("apache-2.0", {"license": "apache-2.0"}),
        ("Apache 2.0", {"license": "apache-2.0"}),
        ("Gemma Terms of Use", {"license": "gemma"}),
        ("llama3.1", {"license": "llama3.1"}),
    ],
)
def test_the_licence_is_that_of_the_base_model(stated, expected):
    assert license_of(training(base_license=stated)) == expected


def test_other_terms_have_name_and_address():
    terms = license_of(training(base_license="Acme Model Terms 2", base_license_link="https://example.org/terms"))
    assert terms == {
        "license": "other",
        "license_name": "acme-model-terms-2",
        "license_link": "https://example.org/terms",
    }


@pytest.mark.parametrize(("relation", "library"), [("adapter", "peft"), ("merge", "transformers")])
def test_the_metadata_says_what_the_model_is(relation, library):
    figures = [evaluation(), evaluation(language="ur", name="accuracy", value=0.25)]
    data = ModelCard(card(figures, relation=relation)).data
    assert data.base_model == "facts-org/base"
    assert data.base_model_relation == relation
    assert data.library_name == library
    assert data.pipeline_tag == "text-generation"
    assert data.language == ["th", "ur", "en"]
    assert data.datasets == ["facts-org/set"]
    assert data.license == "apache-2.0"
    assert data.metrics == ["accuracy", "win_rate"]
    assert [(one.metric_type, one.metric_value, one.dataset_type) for one in data.eval_results] == [
        ("win_rate", 0.53, "facts-org/questions"),
        ("accuracy", 0.25, "facts-org/questions"),
    ]


def test_yaml_keeps_norwegian_a_string_and_a_local_data_set_is_not_linked():
    text = card(languages=("no",), dataset="mine")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["language"] == ["no", "en"]
    assert "datasets" not in head
    assert "| Data | mine, revision `v1.0.0` |" in text


def test_results_on_a_registered_benchmark_are_separate_files():
    figures = [
        evaluation(),
        evaluation(dataset="bench/a", benchmark_task="th"),
        evaluation(dataset="bench/a", benchmark_task="ur", language="ur", value=1),
    ]
    files = eval_results(records(*figures, training=training()).figures)
    assert list(files) == [".eval_results/bench--a.yaml"]
    entries = parse_eval_result_entries(yaml.safe_load(files[".eval_results/bench--a.yaml"]))
    assert [(one.dataset_id, one.task_id, one.value, one.date) for one in entries] == [
        ("bench/a", "th", 0.53, "2026-11-20"),
        ("bench/a", "ur", 1, "2026-11-20"),
    ]


def test_hostile_records_change_nothing():
    names = ("hardware", "dataset", "dataset_revision", "base_revision", "example", "configuration")
    evil = dict.fromkeys(names, HOSTILE)
    evil |= {"prompt": HOSTILE + "{instruction}", "software": {HOSTILE: HOSTILE}, "hyperparameters": {HOSTILE: HOSTILE}}
    text = card([evaluation(dataset=HOSTILE, name=HOSTILE, notes=HOSTILE, config=HOSTILE)], **evil)
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "apache-2.0"
    fence = re.search(r"^(````+)text\n.*?^\1$", body, flags=re.MULTILINE | re.DOTALL)
    shown = re.sub(r"^```\w+\n.*?^```$", "", body.replace(fence[0], ""), flags=re.MULTILINE | re.DOTALL)
    assert "<script" not in shown
    assert "{{ 7" not in shown
    assert "](http://x" not in shown
    assert "\u202e" not in text
    assert [line for line in shown.splitlines() if line.startswith("#")] == [
        *("# model", "## Usage", "## Training", "## Evaluation", "## Languages", "## Licence", "## Limitations"),
        "## Citation",
    ]
    for snippet in re.findall(r"^```python\n(.*?)^```$", body, flags=re.MULTILINE | re.DOTALL):
        compile(snippet, "card", "exec")


def test_the_card_of_a_model_without_evaluations_says_so():
    text = card()
    assert "was not evaluated" in text
    assert "model-index" not in text
    assert "eval_results" not in text


def test_no_placeholders_remain():
    body = card([evaluation()]).split("---\n", 2)[2]
    body = body.split("````text")[0] + body.split("````")[-1]
    assert re.findall(r"\b(TODO|TBD|None|nan|More Information Needed|placeholder|your[-_]\w+)\b|\{\{|\{%", body) == []
    assert "| Wall time | 90 minutes |" in body
    assert "| Tokens | 31,000,000 |" in body
    assert "| Final loss | 1.23 nats per token |" in body


@pytest.mark.parametrize(
    ("task", "sentence", "key"),
    [
        (
            "instructions",
            "writes the instruction (`en`) that a text answers, for texts in Thai and Urdu",
            'prompt = "trained-auto"',
        ),
        ("ratings", "rates how well a text answers an instruction (`en`)", 'rater = "trained"'),
    ],
)
def test_models_of_the_pipeline_state_their_task_and_their_recipe_keys(task, sentence, key):
    text = card(task=task, prompt="", relation="adapter")
    assert sentence in text
    block = text.split("```toml\n")[1].split("```")[0]
    assert key in block
    assert tomllib.loads(block)[{"instructions": "generate", "ratings": "refine"}[task]]["model"] == {
        "name": "facts-org/base",
        "adapter": "facts-org/model",
    }
    assert "apply_chat_template" not in text


def test_a_quantised_base_is_named_after_the_original_model():
    text = card(base_note="weights of its Q4_K_M file, sha256:12", relation="adapter")
    assert 'from_pretrained("facts-org/base")' in text
    assert "trained on weights of its Q4_K_M file, sha256:12. The example loads other weights" in text
    assert "other weights" not in card(relation="adapter")


@pytest.mark.parametrize("task", ["instructions", "ratings"])
def test_the_recipe_in_the_card_names_the_embedded_base_model(task):
    model = MODELS["embedded"]
    text = card(
        base_model=model.hub_id,
        base_revision=model.revision,
        base_note="weights of its Q4_K_M file",
        base_license="gemma",
        task=task,
        relation="adapter",
    )
    section = {"instructions": "generate", "ratings": "refine"}[task]
    recipe = tomllib.loads(text.split("```toml\n")[1].split("```")[0])
    assert recipe[section]["model"] == {"name": "embedded", "adapter": "facts-org/model"}


@pytest.mark.parametrize(("task", "section"), [("instructions", "generate"), ("ratings", "refine")])
@pytest.mark.parametrize("relation", ["merge", "finetune"])
def test_the_recipe_in_the_card_names_a_full_model_itself(task, section, relation):
    text = card(task=task, relation=relation)
    recipe = tomllib.loads(text.split("```toml\n")[1].split("```")[0])
    assert recipe[section]["model"] == {"name": "facts-org/model"}


@pytest.mark.parametrize("task", ["instructions", "ratings"])
def test_cards_of_generators_and_raters_do_not_describe_answers(task):
    text = card(task=task, relation="adapter")
    sections = re.split("^## (Evaluation|Licence|Limitations|Citation)$", text, flags=re.MULTILINE)
    results, limits = sections[2], sections[6]
    assert "was not evaluated" in results
    assert "well it answers" not in results
    assert not re.search(r"its answers|training for answers|answers take", limits)
    assert len(re.findall("^- ", limits, re.MULTILINE)) == 4


def test_results_of_a_rater_have_the_task_text_classification():
    data = ModelCard(card([evaluation(name="auroc")], task="ratings")).data
    assert (data.eval_results[0].task_type, data.eval_results[0].task_name) == (
        "text-classification",
        "Rating of pairs in Thai",
    )
    data = ModelCard(card([evaluation()], task="instructions")).data
    assert (data.eval_results[0].task_type, data.eval_results[0].task_name) == (
        "text-generation",
        "Instructions for texts in Thai",
    )


def test_the_licence_of_training_data_is_linked_only_for_hub_data_sets():
    assert "The training data has its own licence, stated in its card." in card()
    assert "its card" not in card(dataset="mine")
    assert "The licence of the training data is not recorded here." in card(dataset="mine")
