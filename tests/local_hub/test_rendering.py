"""A card's folds and directions, as HTML."""

from __future__ import annotations

import pytest

from x_instruction.local_hub.rendering import render


def test_details_elements_are_rendered():
    html = render("<details>\n<summary>More &amp; more</summary>\n\n**b**\n\n</details>\n\nafter", "/x")
    assert html.startswith(
        '<details>\n<summary>More &amp;amp; more</summary>\n<p dir="auto"><strong>b</strong></p>\n</details>\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        "<details>\n<summary>a</summary>\n\nopen",
        "</details>\n\n<details>\n<summary>a</summary>",
        "<details>\n<summary>a</summary>\n\n</details>\n\n</details>",
        "> <details>\n> <summary>a</summary>\n\n</details>",
        "<details open onclick=x>\n<summary>a</summary>\n\n</details>",
        "<details>\n<summary><b>a</b></summary>\n\n</details>",
        "`<details><summary>a</summary>`\n\n`</details>`",
    ],
)
def test_unclosed_details_elements_stay_text(text):
    html = render(text, "/x")
    assert "<details" not in html
    assert "</details>" not in html
    assert "<b>" not in html


def test_blocks_have_a_direction_and_numbers_a_class():
    html = render("# a\n\n| a | b |\n|---|--:|\n| \u0627 | 1 |\n\n- c\n", "/x")
    assert '<h1 dir="auto">' in html
    assert '<td dir="auto">' in html
    assert '<td dir="auto" class="number">1</td>' in html
    assert "style" not in html
