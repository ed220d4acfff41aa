import math
import re

import pytest

from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InfeasibleLimitError, InvalidInputError
from searchhub.formatting import read_amount
from searchhub.generation import Limit, generate
from searchhub.generation.infeasible import never_cut
from searchhub.networks.network import network_name
from searchhub.result import SearchResult
from searchhub.workflows.arguments import LimitArguments
from searchhub.workflows.limits import check_words, largest_of, read_limit_sets, read_limits
from searchhub.workflows.text_arguments import BertNetworkArguments

from ..models.tiny_bert import tiny_bert_supernet


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("600", 600),
        ("300M", 300_000_000),
        ("300m", 300_000_000),
        ("1.5G", 1_500_000_000),
        ("1.5B", 1_500_000_000),
        ("2T", 2 * 10**12),
        ("0.3M", 300_000),  # in floats 0.29M would be 290000.00000000006
        ("0.29M", 290_000),
        ("812,004", 812_004),  # as errors write it
        ("600_000_000", 600_000_000),
        ("6e8", 600_000_000),
        ("30.25", 30.25),
        (".5", 0.5),
        ("-1", -1),
    ],
)
def test_amounts(text, value):
    read = read_amount(text)
    assert read == value
    assert isinstance(read, type(value))


@pytest.mark.parametrize("text", ["", "M", "1,5M", "30ms", "1.2.3", "1e", "e5", ".", "-", "nan", "inf", "12 34"])
def test_what_is_no_amount(text):
    assert read_amount(text) is None


def test_limits_of_every_kind_in_order():
    limits = read_limits(["macs=300M", "latency_ms=30"], ["macs=200M"], ["non_parameter=4"])
    assert limits == [
        Limit("macs", max=300_000_000),
        Limit("latency_ms", max=30),
        Limit("macs", min=200_000_000),
        Limit("non_parameter", equal=4),
    ]
    assert read_limits(None, None, None) == []


def test_limits_that_a_comma_joins_hold_together():
    assert read_limits(["macs=812,004, params=15K"], None, ["non_parameter=4,height=2"]) == [
        Limit("macs", max=812_004),
        Limit("params", max=15_000),
        Limit("non_parameter", equal=4),
        Limit("height", equal=2),
    ]


def test_a_network_for_each_word():
    assert read_limit_sets(["macs=3M", "params=1M"], None, None) == [
        (Limit("macs", max=3_000_000),),
        (Limit("params", max=1_000_000),),
    ]
    # As on the command line: one word of each is one network.
    words = (["macs=300M"], ["params=15K"], ["non_parameter=4"])
    assert read_limit_sets(*words) == [tuple(read_limits(*words))]
    # First with first, second with second; a single word holds for all.
    assert read_limit_sets(["macs=3M", "macs=4M"], ["macs=1M", "macs=2M"], ["height=2"]) == [
        (Limit("macs", max=3_000_000), Limit("macs", min=1_000_000), Limit("height", equal=2)),
        (Limit("macs", max=4_000_000), Limit("macs", min=2_000_000), Limit("height", equal=2)),
    ]
    assert read_limit_sets(None, [], None) == []


def test_a_hyphen_stands_for_no_limit():
    assert read_limit_sets(["params=3M", "-"], None, ["-", "height=2,non_parameter=4"]) == [
        (Limit("params", max=3_000_000),),
        (Limit("height", equal=2), Limit("non_parameter", equal=4)),
    ]
    with pytest.raises(InvalidInputError, match="Every network must have a limit, but network 2 has none"):
        read_limit_sets(["params=3M", "-"], None, None)


def test_words_that_do_not_go_together():
    message = r"or one for each network, but there are 2 of `--max`, 3 of `--min`, 1 of `--equal`"
    with pytest.raises(InvalidInputError, match=message):
        read_limit_sets(["a=1", "a=2"], ["b=1", "b=2", "b=3"], ["c=1"])


@pytest.mark.parametrize("word", ["macs", "macs=", "=300M", "macs:300M", "macs=30ms", "macs=x=3", "macs<=3M"])
def test_words_that_are_no_limit(word):
    with pytest.raises(InvalidInputError, match=r"`--min` must be a cost and a number, like `--min macs=300M`"):
        read_limits(None, [word], None)


def test_names():
    assert network_name([Limit("macs", max=430_000.0)]) == "macs-430K"
    assert network_name([Limit("macs", min=1, max=812_004)]) == "macs-812.004K-macs-min-1"
    assert network_name([Limit("params", equal=5_000_000)]) == "params-equal-5M"


# -- shares -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert_costs():
    supernet = tiny_bert_supernet()
    return macs_table(supernet), params_table(supernet), params_table(supernet, embeddings=False)


def test_a_share_is_of_the_largest_network(bert_costs):
    largest = {cost.name: cost.bounds()[1] for cost in bert_costs}
    words = ["encoder_params=50%,macs=12.5 %", "params=100%"]
    assert read_limit_sets(words, None, None, largest_of(bert_costs)) == [
        (Limit("encoder_params", max=largest["encoder_params"] // 2), Limit("macs", max=largest["macs"] // 8)),
        (Limit("params", max=largest["params"]),),
    ]
    # What is measured is no whole number.
    assert read_limits(["latency_ms=50%"], None, None, lambda name: 1.23456) == [Limit("latency_ms", max=0.6173)]


def test_recipes_take_shares(bert_costs):
    half = bert_costs[2].bounds()[1] // 2
    assert LimitArguments(max=["encoder_params=50%"]).limits(bert_costs) == [Limit("encoder_params", max=half)]
    wanted = BertNetworkArguments(max_params=["90%", "2M"])
    share = Limit("params", max=math.floor(0.9 * bert_costs[1].bounds()[1]))
    assert wanted.limits_within(bert_costs) == [share, Limit("params", max=2_000_000)]


def test_a_share_of_what_has_no_table():
    with pytest.raises(InvalidInputError, match=r"`50%`, must be of one of the costs \[\], but got `height`"):
        read_limits(["height=50%"], None, None)
    assert check_words(["height=50%"], ["macs=1M"], None) == {"height", "macs"}
    with pytest.raises(InvalidInputError, match="must be a cost and a number"):
        check_words(["macs=half%"], None, None)


def test_embeddings_are_never_cut_and_it_is_said(bert_costs):
    space = bert_costs[0].space
    result = SearchResult(space, (), ArchitectureDistribution.uniform(space)).with_costs(*bert_costs)
    (low, high), (encoder_low, encoder_high) = (cost.bounds() for cost in bert_costs[1:])
    embeddings = (50 + 40 + 2) * 24 + 2 * 24
    said = (
        f"Of all parameters {embeddings:,} are embeddings, which are never cut, so that networks have {low:,.0f} to "
        f"{high:,.0f}. Limit what is cut, `encoder_params`, of which they have {encoder_low:,.0f} to "
        f"{encoder_high:,.0f}; half of the largest's are `encoder_params=50%`, {encoder_high // 2:,.0f}."
    )
    with pytest.raises(InfeasibleLimitError, match=re.escape(said)):
        generate(result, Limit("params", max=low - 1))
    assert never_cut({"params": low}, result.costs) == never_cut({"macs": 1}, result.costs) == ""
    assert never_cut({"params": 1}, {"params": bert_costs[1]}) == ""  # pictures have no embeddings
