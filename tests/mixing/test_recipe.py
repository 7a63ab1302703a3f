import pytest

from x_instruction.config.mixing import SECTIONS, load, names
from x_instruction.errors import RecipeError
from x_instruction.mixing import MIXERS, mixer
from x_instruction.mixing.pinch import counts

TEXT = 'languages = ["sw", "fin"]\n[crossin]\nsize = 10\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('languages = ["sw"]', "no section, wanted at least one of crossin, pinch"),
        ('languages = ["sw"]\n[crossing]\nsize = 1', "unknown recipe key crossing, did you mean 'crossin'"),
        ('languages = ["sw"]\n[crossin]\nsiz = 1', "unknown recipe key crossin.siz, did you mean 'size'"),
        ('languages = ["sw"]\n[crossin]\nsize = 0', "crossin: size is 0, wanted 1 or more"),
        ('languages = ["sw"]\n[crossin]\nsize = "all"', "crossin.size is 'all', wanted int"),
        ('languages = ["sw"]\n[crossin]\nmodes = ["en2xx"]', "modes holds 'en2xx', wanted some of mono, en2x"),
        ('languages = ["sw"]\n[crossin]\nmodes = ["mono", "mono"]', "none twice"),
        ('languages = ["sw"]\n[crossin]\nmodes = []', "at least one"),
        ('languages = ["sw"]\n[crossin]\ntag = "[{lang}]"', r"tag is '\[\{lang\}\]', wanted text in which only"),
        ('languages = ["sw"]\n[crossin]\ntag = "{"', "wanted text in which only"),
        ('languages = ["sw"]\n[pinch]\nbudget = 10', "wanted one of percent and k_examples"),
        (
            'languages = ["sw"]\n[pinch]\nbudget = 10\npercent = 1\nk_examples = 4',
            "percent and k_examples are both there: set the one that is not wanted to 0",
        ),
        ('languages = ["sw"]\n[pinch]\nbudget = 10\nk_examples = 11', "k_examples is 11, wanted 0 to 10"),
        ('languages = ["sw"]\n[pinch]\nbudget = 10\npercent = 101', "percent is 101.0, wanted 0 to 100"),
        ('languages = ["sw"]\n[pinch]\npercent = 1', "pinch.budget is missing"),
        ('languages = ["sw"]\n[afp]\ncross_probability = 1.5', "cross_probability is 1.5"),
        ('languages = ["sw"]\n[afp]\nrepeat = 0', "repeat is 0"),
        ('languages = ["sw"]\n[humpback]\ninference = "all"', "wanted one of 'both', 'seed', 'web', 'none'"),
        ('languages = ["sw"]\n[muri]\ncap = 0', "cap is 0"),
        ('languages = ["en"]\n[afp]\n', "holds only the pivot en, and afp needs another"),
        ('languages = ["sw"]\nheld_out = ["swh"]\n[muri]\n', "sw is in the mix and held out"),
        ('languages = ["sw"]\nheld_out = ["en"]\n[muri]\n', "en is in the mix and held out"),
        ("languages = []\n[muri]\n", "languages is empty"),
        ('languages = ["zzzz"]\n[muri]\n', "zzzz"),
        ("languages = [", "not valid TOML"),
    ],
)
def test_bad_recipes(mixing, text, message):
    with pytest.raises(RecipeError, match=message):
        mixing(text)


def test_no_such_recipe(tmp_path):
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
def test_recipes_that_ship_load(name):
    found = load(name)
    assert found.name == name
    assert found.sections()


def test_a_pinch_that_ships_is_asked_in_the_other_way():
    share = load("pinch", {"pinch.percent": "1", "pinch.k_examples": "0"}).pinch
    assert counts(share, 11) == [4_597] + [4] * 10 + [3]
    number = load("pinch-six", {"pinch.percent": "0", "pinch.k_examples": "40"}).pinch
    assert counts(number, 5) == [4_600] + [8] * 5


def test_every_section_has_a_mixer():
    assert tuple(MIXERS) == SECTIONS
    assert all(callable(mixer(name)) for name in MIXERS)
