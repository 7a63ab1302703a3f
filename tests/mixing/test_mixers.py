"""Counts and shapes of every mixer, by hand."""

from collections import Counter

import pytest

from x_instruction.config.mixing import Pinch
from x_instruction.errors import CorpusError
from x_instruction.mixing import mix
from x_instruction.mixing.pinch import counts


def rows(mixing, stock):
    number, made = mix(mixing, stock)
    found = list(made)
    assert len(found) == number
    assert [row.id for row in found] == [f"m-{i:07d}" for i in range(number)]
    return found


def directions(made):
    return Counter((row.shape, row.prompt_language, row.language) for row in made)


def test_crossin(mixing, stock, parallel):
    recipe = mixing(
        'languages = ["zh", "vi", "es"]\n[crossin]\nsize = 10\nbase = 3\n'
        'modes = ["mono", "en2x", "x2en", "x2x", "translation"]'
    )
    made = rows(recipe, stock(parallel(5, "en", "zh", "vi", "es")))
    assert directions(made) == {
        **{("mono", tag, tag): count for tag, count in (("en", 3), ("zh", 3), ("vi", 2), ("es", 2))},
        **{("en2x", "en", tag): count for tag, count in (("zh", 4), ("vi", 3), ("es", 3))},
        **{("x2en", tag, "en"): count for tag, count in (("zh", 4), ("vi", 3), ("es", 3))},
        ("x2x", "zh", "vi"): 2,
        ("x2x", "zh", "es"): 2,
        ("x2x", "vi", "zh"): 2,
        ("x2x", "vi", "es"): 2,
        ("x2x", "es", "zh"): 1,
        ("x2x", "es", "vi"): 1,
        **{("translation", tag, "en"): count for tag, count in (("zh", 4), ("vi", 3), ("es", 3))},
        ("base", "en", "en"): 3,
    }
    shapes = {
        "mono": ("zh asks {}", "zh answers {}"),
        "x2en": ("zh asks {}\n[en]", "en answers {}"),
        "translation": ("Translate this into English:\nzh asks {}", "en asks {}"),
    }
    for row in made:
        if row.prompt_language == "zh" and row.shape in shapes:
            prompt, completion = shapes[row.shape]
            assert row.prompt == prompt.format(row.source_id)
            assert row.completion == completion.format(row.source_id)
        if row.shape in ("en2x", "x2x"):
            assert row.prompt == f"{row.prompt_language} asks {row.source_id}\n[{row.language}]"
            assert row.completion == f"{row.language} answers {row.source_id}"
            assert row.tag == f"[{row.language}]"
    assert len({row.source_id for row in made if row.shape == "base"}) == 3


def test_crossin_covers_every_language(mixing, stock, parallel):
    made = rows(mixing('languages = ["zh", "vi"]\n[crossin]\nmodes = ["en2x"]'), stock(parallel(7, "en", "zh", "vi")))
    assert directions(made) == {("en2x", "en", "zh"): 4, ("en2x", "en", "vi"): 3}


def test_crossin_puts_the_input_above_the_tag(mixing, stock, pair):
    items = stock([pair(1, input="some rain"), pair(1, "sw", "sw")])
    (row,) = rows(mixing('languages = ["sw"]\n[crossin]\nmodes = ["en2x"]'), items)
    assert row.prompt == "en asks 1\nsome rain\n[sw]"


def test_crossin_without_parallel_rows_names_the_missing_ones(mixing, stock, pair):
    items = stock([pair(1), pair(2)])
    recipe = mixing('languages = ["sw"]\n[crossin]\nsize = 5\nmodes = ["x2en"]')
    with pytest.raises(
        CorpusError, match=r"crossin.0: the recipe needs 5 rows of x2en \(sw to en\) and the data has 0"
    ):
        rows(recipe, items)


def test_forty_examples_over_eleven_languages():
    assert counts(Pinch(budget=4_640, k_examples=40), 11) == [4_600] + [4] * 7 + [3] * 4


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        # 46.4 rows over twelve languages: 3.87 for each but English, which has 4,597.47: ten are left for ten of them.
        (1, [4_597] + [4] * 10 + [3]),
        (100, [387] * 8 + [386] * 4),
        (0, [4_640] + [0] * 11),
    ],
)
def test_percent_of_a_budget(percent, expected):
    assert counts(Pinch(budget=4_640, percent=float(percent)), 11) == expected
    assert sum(expected) == 4_640


def test_pinch(mixing, stock, parallel):
    recipe = mixing('languages = ["ar", "fi", "sw"]\nheld_out = ["th"]\n[pinch]\nbudget = 20\nk_examples = 7')
    made = rows(recipe, stock(parallel(20, "en", "ar", "fi", "sw")))
    assert directions(made) == {("mono", t, t): n for t, n in (("en", 13), ("ar", 3), ("fi", 2), ("sw", 2))}
    assert len({row.source_id for row in made}) == 20  # an item is in one language only
    assert all(row.prompt == f"{row.language} asks {row.source_id}" for row in made)


@pytest.mark.parametrize(
    ("cross", "change", "expected"),
    [
        # 12 rows: half stay (3 and 3), half cross (3 and 3).
        (
            0.5,
            0.5,
            {("mono", "en", "en"): 3, ("mono", "zh", "zh"): 3, ("en2x", "en", "zh"): 3, ("x2en", "zh", "en"): 3},
        ),
        (1.0, 0.25, {("en2x", "en", "zh"): 9, ("x2en", "zh", "en"): 3}),
        (0.0, 0.5, {("mono", "en", "en"): 6, ("mono", "zh", "zh"): 6}),
    ],
)
def test_afp_in_two_languages(mixing, stock, parallel, cross, change, expected):
    recipe = mixing(f'languages = ["zh"]\n[afp]\ncross_probability = {cross}\nchange_probability = {change}')
    made = rows(recipe, stock(parallel(4, "en", "zh")))
    assert directions(made) == expected
    assert set(Counter(row.source_id for row in made).values()) == {3}
    for row in made:
        other = "zh" if row.prompt_language == "en" else "en"
        assert row.prompt == f"{row.sentence}\nAnswer in {'Chinese' if row.language == 'zh' else 'English'}:"
        assert row.sentence == f"{row.prompt_language} asks {row.source_id}"
        assert row.parallel == f"{other} asks {row.source_id}"


def test_afp_in_four_languages(mixing, stock, parallel, pair):
    # 24 items three times: 72 rows. 36 cross, 18 out and 18 back over three languages; 36 stay, 9 in each language.
    items = stock([*parallel(24, "en", "zh", "fi", "sw"), pair("lone", "zh", "zh")])
    made = rows(mixing('languages = ["zh", "fi", "sw"]\n[afp]\n'), items)
    assert directions(made) == {
        **{("mono", tag, tag): 9 for tag in ("en", "zh", "fi", "sw")},
        **{("en2x", "en", tag): 6 for tag in ("zh", "fi", "sw")},
        **{("x2en", tag, "en"): 6 for tag in ("zh", "fi", "sw")},
    }
    assert "lone" not in {row.source_id for row in made}
    partners = Counter(row.parallel[:2] for row in made if row.shape == "mono" and row.language == "en")
    assert partners == {"zh": 3, "fi": 3, "sw": 3}


def test_afp_translations(mixing, stock, parallel):
    recipe = mixing('languages = ["zh", "fi"]\n[afp]\nrepeat = 1\ntranslation = 7')
    made = [row for row in rows(recipe, stock(parallel(8, "en", "zh", "fi"))) if row.shape == "translation"]
    assert Counter((row.prompt_language, row.language) for row in made) == {
        ("en", "zh"): 2,
        ("en", "fi"): 2,
        ("zh", "en"): 2,
        ("fi", "en"): 1,
    }
    for row in made:
        name = {"zh": "Chinese", "fi": "Finnish", "en": "English"}[row.language]
        assert row.prompt == f"Translate this into {name}:\n{row.prompt_language} asks {row.source_id}"
        assert row.completion == row.parallel == f"{row.language} asks {row.source_id}"


def test_humpback(mixing, stock, pair):
    web = [pair(i, "en", "en") for i in range(5)]
    seeds = [pair(i, "en", "en", output=f"seed {i}") for i in range(3)]
    made = rows(mixing('languages = ["en"]\n[humpback]\nweb = 4'), stock(web, seeds))
    assert Counter((row.kind, row.shape) for row in made) == {("web", "web"): 4, ("seed", "seed"): 3}
    for row in made:
        end = {
            "seed": "Answer in the style of an AI Assistant.",
            "web": "Answer with knowledge from web search.",
        }[row.kind]
        assert row.prompt == f"en asks {row.source_id} {end}"
        assert row.tag == end


def test_x_instruction_in_two_languages_and_in_one(mixing, stock, pair):
    web = [pair(f"{tag}-{i}", "en", tag) for tag in ("sw", "fi") for i in range(4)]
    items = stock(web, [pair("s", "en", "sw")])
    made = rows(mixing('languages = ["sw", "fi"]\n[x_instruction]\n'), items)
    assert directions(made) == {("web", "en", "sw"): 4, ("web", "en", "fi"): 4, ("seed", "en", "sw"): 1}
    ends = {(row.kind, row.language): row.prompt.removeprefix(f"en asks {row.source_id}") for row in made}
    assert ends == {
        ("web", "sw"): " Answer in Swahili.",
        ("web", "fi"): " Answer in Finnish.",
        ("seed", "sw"): " Answer in Swahili and the style of an AI assistant.",
    }
    mono = rows(mixing('languages = ["fi"]\n[x_instruction]\nweb = 3'), items)
    assert directions(mono) == {("web", "en", "fi"): 3}
    with pytest.raises(CorpusError, match=r"5 rows of web .* the data has 4"):
        rows(mixing('languages = ["fi"]\n[x_instruction]\nweb = 5'), items)


@pytest.mark.parametrize(
    ("asked", "cap", "expected"),
    [
        ("target", 100, {("mono", "sw", "sw"): 3}),
        ("target", 2, {("mono", "sw", "sw"): 2}),
        ("pivot", 100, {("en2x", "en", "sw"): 4}),
        ("both", 100, {("mono", "sw", "sw"): 3, ("en2x", "en", "sw"): 2}),
        ("both", 3, {("mono", "sw", "sw"): 2, ("en2x", "en", "sw"): 1}),
    ],
)
def test_muri(mixing, stock, pair, asked, cap, expected):
    # Items 0 and 1 are asked in both languages, 2 and 3 in English, 4 in Swahili.
    pairs = [pair(i) for i in range(4)] + [pair(i, "sw") for i in (0, 1, 4)]
    made = rows(mixing(f'languages = ["sw"]\n[muri]\ninstruction_language = "{asked}"\ncap = {cap}'), stock(pairs))
    assert directions(made) == expected
    assert len({row.source_id for row in made}) == len(made)
    # A row that is asked in another language says in which to answer.
    for row in made:
        assert row.tag == ("" if row.prompt_language == "sw" else "Answer in Swahili.")
        assert row.prompt.endswith(f" {row.tag}") or not row.tag


@pytest.mark.parametrize("section", ["x_instruction", "muri", "afp"])
def test_cross_lingual_mixes_name_the_language_of_the_answer(mixing, stock, parallel, section):
    more = '\ninstruction_language = "pivot"' if section == "muri" else ""
    made = rows(mixing(f'languages = ["sw"]\n[{section}]{more}'), stock(parallel(20, "en", "sw")))
    across = [row for row in made if row.prompt_language != row.language and row.shape != "x2en"]
    assert across
    assert all("Answer in Swahili" in row.prompt for row in across if row.language == "sw")


def test_sections_add_up(mixing, stock, parallel):
    recipe = mixing('languages = ["sw"]\n[crossin]\nsize = 4\n[pinch]\nbudget = 6\nk_examples = 2\n[muri]\ncap = 3')
    made = rows(recipe, stock(parallel(6, "en", "sw")))
    assert Counter(row.mixer for row in made) == {"crossin": 16, "pinch": 6, "muri": 3}


def test_the_seed_changes_the_mix(mixing, stock, parallel):
    items = stock(parallel(20, "en", "sw"))
    one, two = (mixing('languages = ["sw"]\n[pinch]\nbudget = 9\nk_examples = 4', seed=seed) for seed in ("1", "2"))
    assert rows(one, items) == rows(one, items)
    assert rows(one, items) != rows(two, items)
    assert directions(rows(one, items)) == directions(rows(two, items))
