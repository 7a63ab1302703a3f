import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.builders.splits import Shares, split_of

IDS = [f"https://example.org/{number}" for number in range(10_000)]


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.0), (0.1, 0.0), (0.05, 0.1), (0.3, 0.6)])
def test_splits_have_the_requested_shares(validation, test):
    shares = Shares(validation, test, seed=7)
    found = [split_of(one, shares) for one in IDS]
    assert found.count("validation") / len(IDS) == pytest.approx(validation, abs=0.015)
    assert found.count("test") / len(IDS) == pytest.approx(test, abs=0.015)
    assert set(found) <= set(shares.splits)


@given(st.text(), st.integers())
def test_the_split_of_a_document_does_not_depend_on_other_documents(document, seed):
    shares = Shares(0.2, 0.2, seed)
    assert split_of(document, shares) == split_of(document, shares)


def test_the_split_of_an_id_never_changes_between_versions():
    found = [split_of(f"doc-{number}", Shares(0.25, 0.25, seed=1)) for number in range(8)]
    assert found == ["train", "train", "validation", "test", "train", "validation", "train", "train"]


def test_a_larger_test_share_contains_the_smaller_one():
    small, large = Shares(0.1, 0.1, 3), Shares(0.1, 0.2, 3)
    held = [{one for one in IDS if split_of(one, shares) == "test"} for shares in (small, large)]
    assert held[0] < held[1]


def test_another_seed_draws_other_documents():
    held = [{one for one in IDS if split_of(one, Shares(test=0.5, seed=seed)) == "test"} for seed in (1, 2)]
    assert 2_000 < len(held[0] & held[1]) < 3_000


def test_an_id_may_have_a_lone_surrogate():
    assert split_of("\ud800", Shares(test=0.5)) in ("train", "test")
