import pytest

from x_instruction.config.mixing import load
from x_instruction.config.section import toml_value
from x_instruction.mixing.pool import ExamplePool
from x_instruction.seed.pairs import Pair


@pytest.fixture
def pair():
    """Make a pair; omitted fields get defaults."""

    def make(id, ask="en", answer="sw", **values):
        fields = {
            "id": str(id),
            "instruction": f"{ask} asks {id}",
            "output": f"{answer} answers {id}",
            "language": answer,
            "instruction_language": ask,
            "source": "test",
        }
        return Pair(**fields | values)

    return make


@pytest.fixture
def stock(tmp_path):
    """A frozen pool of pairs, web ones first."""
    made = []

    def make(pairs, seeds=()):
        found = ExamplePool(tmp_path)
        made.append(found)
        for kind, several in (("web", pairs), ("seed", seeds)):
            for one in several:
                assert found.add(one, kind) is None
        found.freeze()
        return found

    yield make
    for one in made:
        one.__exit__(None, None, None)


@pytest.fixture
def parallel(pair):
    """The same items in every language, with instruction and response in that language."""

    def make(number, *tags):
        return [pair(f"p{i:04d}", tag, tag) for i in range(number) for tag in tags]

    return make


@pytest.fixture
def mixing(tmp_path):
    """A mixing recipe from TOML lines."""

    def make(text, **overrides):
        path = tmp_path / "mixing.toml"
        path.write_text(f'name = "m"\n{text}', "utf-8")
        return load(path, {key.replace("__", "."): toml_value(value) for key, value in overrides.items()})

    return make
