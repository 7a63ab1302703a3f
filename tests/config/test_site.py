"""Sites: valid and invalid keys and values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from x_instruction.config.site import load
from x_instruction.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[slurm]\npartitoin = 'a'", "unknown key slurm.partitoin, did you mean 'partition'"),
        ("[slurm]\nshards_per_element = 0", "slurm.shards_per_element is 0, expected a number above 0"),
        ("[slurm]\nenv = ['HF_TOKEN=hf_secret']", "slurm.env holds something other than a name"),
        ("[slurm]\nwriter_server = ['serve']", "slurm.writer_server is 'serve', expected a command with {port}"),
        ("[hf_jobs]\nsecrets = ['a-b']", "hf_jobs.secrets holds something other than a name"),
        ("[slurm", "is not valid TOML"),
    ],
)
def test_an_invalid_site_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(text)
    with pytest.raises(RecipeError) as raised:
        load(file)
    assert message in str(raised.value)
    assert "hf_secret" not in str(raised.value)


def test_a_missing_site_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot read the site .*none.toml: No such file"):
        load(tmp_path / "none.toml")


def test_the_sites_in_the_documentation_are_valid(tmp_path: Path) -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "scale.md"
    found = re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    sites = [text for text in found if re.match(r"\[(slurm|hf_jobs|ray)\]|scratch", text)]
    assert len(sites) >= 2
    for text in sites:
        (tmp_path / "site.toml").write_text(text)
        assert load(tmp_path / "site.toml")
