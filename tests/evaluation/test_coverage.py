"""Names of benchmarks, tasks and languages, without lm-evaluation-harness."""

from __future__ import annotations

import pytest

from x_instruction.errors import RecipeError
from x_instruction.evaluation.coverage import BENCHMARKS, TaskName, coverage, resolve

KNOWN = {
    *("belebele_swh_Latn", "belebele_tha_Thai", "xcopa_sw", "xcopa_th", "paws_de", "multiblimp_tur"),
    *("global_piqa_nonparallel_cloze_swh_latn", "gsm8k", "mine_sw_prompt_1", "mine_sw_prompt_2"),
}


@pytest.mark.parametrize(
    ("names", "tags", "tasks"),
    [
        (
            ["belebele"],
            ["sw", "th"],
            [("belebele_swh_Latn", "belebele", "sw"), ("belebele_tha_Thai", "belebele", "th")],
        ),
        (["multiblimp"], ["tr"], [("multiblimp_tur", "multiblimp", "tr")]),
        (["paws-x"], ["de"], [("paws_de", "paws-x", "de")]),
        (["global-piqa"], ["sw"], [("global_piqa_nonparallel_cloze_swh_latn", "global-piqa", "sw")]),
        (["xcopa_sw", "xcopa"], ["sw"], [("xcopa_sw", "xcopa", "sw")]),
        (["gsm8k"], [], [("gsm8k", "gsm8k", "")]),
        (["belebele_swh_Latn"], [], [("belebele_swh_Latn", "belebele", "sw")]),
    ],
)
def test_task_names_are_parsed(names: list[str], tags: list[str], tasks: list[tuple[str, str, str]]) -> None:
    found = resolve(names, tags, KNOWN)
    assert [(task.name, task.benchmark, task.language) for task in found][-len(tasks) :] == tasks


def test_a_benchmark_resolves_to_every_variant_of_its_prompt() -> None:
    expected = [TaskName("mine_sw_prompt_1", "mine", "sw", 1), TaskName("mine_sw_prompt_2", "mine", "sw", 2)]
    assert resolve(["mine"], ["sw"], KNOWN) == expected
    assert resolve(["mine_sw_prompt_2"], [], KNOWN) == expected[1:]


@pytest.mark.parametrize(
    ("names", "tags", "message"),
    [
        (["belebele"], ["sw", "fi"], "belebele has no task in fi: leave these languages out, or add their tasks"),
        (["xcopa"], ["fi"], "xcopa has no task in fi"),
        (["xcoppa"], ["sw"], "unknown task 'xcoppa', did you mean 'xcopa'"),
        (["nothing"], [], r"unknown task 'nothing' \(expected a benchmark such as belebele, xcopa"),
    ],
)
def test_an_unknown_task_is_refused(names: list[str], tags: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve(names, tags, KNOWN)


def test_coverage_is_shown_by_language() -> None:
    table = {benchmark.name: tags for benchmark, tags in coverage(["sw", "th"], KNOWN)}
    assert list(table) == list(BENCHMARKS)
    assert (table["belebele"], table["global-piqa"], table["xnli"]) == (["sw", "th"], ["sw"], [])
