import pytest

from searchhub.errors import InvalidInputError
from searchhub.hub.card import CardFacts, model_card
from searchhub.models.papers import PAPERS, bibtex
from searchhub.models.supernet import Supernet

OWN = "@article{own2026, title={Own {NAS}}}"


def test_known_keys_and_entries_of_ones_own():
    assert bibtex(("dcnas", f"\n{OWN}\n")) == [PAPERS["dcnas"], OWN]
    assert bibtex(()) == []


@pytest.mark.parametrize("key", PAPERS)
def test_known_papers_are_entries(key):
    assert bibtex([PAPERS[key]]) == [PAPERS[key]]


@pytest.mark.parametrize(
    "wrong",
    [
        "fbnt",
        "",
        2026,
        "@article",
        "@article{own2026}",
        "@article{own2026, title={Own}",
        "@article{own2026, title={Own}}}",
        "@article{own2026, title={Own}} and more",
        "@article{one, title={1}} @article{two, title={2}}",
        "@article{own2026, title={```}}",
    ],
)
def test_what_is_neither_is_refused_when_the_class_is_defined(wrong):
    with pytest.raises(
        InvalidInputError, match=r"Each of `OwnSupernet.papers` must be among \['dcnas', 'ddpnas', 'deeplabv3'\] or one"
    ):
        type("OwnSupernet", (Supernet,), {"papers": ("ddpnas", wrong)})


def test_a_text_is_no_tuple():
    with pytest.raises(
        InvalidInputError, match=r"`OwnSupernet.papers` must be a tuple of texts, but got the text 'ddpnas'"
    ):
        type("OwnSupernet", (Supernet,), {"papers": "ddpnas"})


def test_cards_cite_the_papers_of_a_familys_own():
    own = type("OwnSupernet", (Supernet,), {"papers": ("ddpnas", OWN)})
    text = model_card(CardFacts(model_name="m", model_class="C", architecture={}, papers=own.papers))
    assert text.endswith(f"## Citation\n\n```bibtex\n{PAPERS['ddpnas']}\n```\n\n```bibtex\n{OWN}\n```\n")
