import pytest

from x_instruction.config.mixing import SECTIONS, load, names
from x_instruction.errors import RecipeError
from x_instruction.mixing import MIXERS, mixer
from x_instruction.mixing.pinch import counts

TEXT = 'languages = ["sw", "fin"]\n[crossin]\nsize = 10\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('languages = ["sw"]', "the recipe has no section, expected at least one of crossin, pinch"),
        ('languages = ["sw"]\n[crossing]\nsize = 1', "unknown key crossing, did you mean 'crossin'"),
        ('languages = ["sw"]\n[crossin]\nsiz = 1', "unknown key crossin.siz, did you mean 'size'"),
        ('languages = ["sw"]\n[crossin]\nsize = 0', "crossin.size is 0, expected a number above 0"),
        ('languages = ["sw"]\n[crossin]\nsize = "all"', "crossin.size is 'all', expected an integer"),
        ('languages = ["sw"]\n[crossin]\nmodes = ["en2xx"]', "modes\\[0\\] is 'en2xx', expected 'mono', 'en2x'"),
        ('languages = ["sw"]\n[crossin]\nmodes = ["mono", "mono"]', "expected each mode once"),
        ('languages = ["sw"]\n[crossin]\nmodes = []', r"modes is \[\], expected at least 1 value"),
        (
            'languages = ["sw"]\n[crossin]\ntag = "[{lang}]"',
            r"tag is '\[\{lang\}\]', expected text with no placeholders but",
        ),
        ('languages = ["sw"]\n[crossin]\ntag = "{"', "expected text with no placeholders but"),
        ('languages = ["sw"]\n[pinch]\nbudget = 10', "pinch.percent and k_examples are not set, expected one of them"),
        (
            'languages = ["sw"]\n[pinch]\nbudget = 10\npercent = 1\nk_examples = 4',
            "pinch.percent and k_examples are both set, expected one of them: set the other to 0",
        ),
        (
            'languages = ["sw"]\n[pinch]\nbudget = 10\nk_examples = 11',
            "k_examples is 11, expected at most budget, which is 10",
        ),
        ('languages = ["sw"]\n[pinch]\nbudget = 10\npercent = 101', "percent is 101, expected at most 100"),
        ('languages = ["sw"]\n[pinch]\npercent = 1', "pinch.budget is missing"),
        ('languages = ["sw"]\n[afp]\ncross_probability = 1.5', "cross_probability is 1.5"),
        ('languages = ["sw"]\n[afp]\nrepeat = 0', "repeat is 0"),
        ('languages = ["sw"]\n[humpback]\ninference = "all"', "expected 'both', 'seed', 'web' or 'none'"),
        ('languages = ["sw"]\n[muri]\ncap = 0', "cap is 0"),
        ('languages = ["en"]\n[afp]\n', "languages has only the pivot en, and \\[afp\\] needs another"),
        (
            'languages = ["sw"]\nheld_out = ["swh"]\n[muri]\n',
            "held_out has sw, expected languages",
        ),
        (
            'languages = ["sw"]\nheld_out = ["en"]\n[muri]\n',
            "held_out has en, expected languages",
        ),
        ("languages = []\n[muri]\n", r"languages is \[\], expected at least 1 value"),
        ('languages = ["zzzz"]\n[muri]\n', "zzzz"),
        ("languages = [", "not valid TOML"),
    ],
)
def test_invalid_recipes_are_refused(mixing, text, message):
    with pytest.raises(RecipeError, match=message):
        mixing(text)


def test_an_unknown_recipe_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"cannot read mixing recipe crosin: .*one of afp, crossin"):
        load("crosin")
    (tmp_path / "x.toml").write_bytes(b"\xff")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load(tmp_path / "x.toml")


def test_languages_become_tags(mixing):
    found = mixing(TEXT, held_out="['Swedish']")
    assert (found.languages, found.held_out, found.others) == (("sw", "fi"), ("sv",), ("sw", "fi"))
    assert found.sections() == ["crossin"]


@pytest.mark.parametrize("name", names())
def test_included_recipes_load(name):
    found = load(name)
    assert found.name == name
    assert found.sections()


def test_pinch_recipes_accept_a_percentage_or_a_number():
    share = load("pinch", {"pinch.percent": 1, "pinch.k_examples": 0}).pinch
    assert counts(share, 11) == [4_597] + [4] * 10 + [3]
    number = load("pinch-six", {"pinch.percent": 0, "pinch.k_examples": 40}).pinch
    assert counts(number, 5) == [4_600] + [8] * 5


def test_every_section_has_a_mixer():
    assert tuple(MIXERS) == SECTIONS
    assert all(callable(mixer(name)) for name in MIXERS)
