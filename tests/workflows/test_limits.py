import pytest

from searchhub.errors import InvalidInputError
from searchhub.formatting import read_amount
from searchhub.generation import Limit
from searchhub.networks.network import network_name
from searchhub.workflows.limits import read_limits


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


@pytest.mark.parametrize("word", ["macs", "macs=", "=300M", "macs:300M", "macs=30ms", "macs=x=3"])
def test_words_that_are_no_limit(word):
    with pytest.raises(InvalidInputError, match=r"`--min` must be a cost and a number, like `--min macs=300M`"):
        read_limits(None, [word], None)


def test_names():
    assert network_name([Limit("macs", max=430_000.0)]) == "macs-430K"
    assert network_name([Limit("macs", min=1, max=812_004)]) == "macs-812.004K-macs-min-1"
    assert network_name([Limit("params", equal=5_000_000)]) == "params-equal-5M"
