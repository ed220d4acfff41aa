"""What the Hub's client raises becomes words that help, without tokens."""

import socket
import threading
import time

import huggingface_hub
import pytest

from searchhub import hub_client
from searchhub.data.splits import from_hub
from searchhub.errors import HubError
from searchhub.hub.pretrained import find_folder
from searchhub.hub_client import download, hub_errors, is_path, kept_path, why_silent, why_unreached

LOGIN = "a-token-of-no-known-form"


@pytest.mark.parametrize("repeated", [LOGIN, "hf_" + "A" * 34, "x" * 270 + LOGIN])
def test_an_error_repeats_no_token_though_none_was_passed(monkeypatch, repeated):
    monkeypatch.setenv("HF_TOKEN", LOGIN)
    with pytest.raises(HubError) as raised, hub_errors("org/x", None, "Try again.", None):
        raise OSError(f"the proxy refused {repeated}")
    assert "the proxy refused" in str(raised.value)
    assert repeated not in str(raised.value)
    assert "a-token" not in str(raised.value)
    assert "hf_A" not in str(raised.value)
    assert raised.value.__suppress_context__


# -- where nothing answers --------------------------------------------------------------------------------------------


@pytest.fixture
def hub_at(monkeypatch):
    """Sets where the Hub is looked for, without a proxy."""

    def set_to(address):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub_client, "getproxies", dict)

    return set_to


def test_what_cannot_be_reached_is_said_at_once(hub_at, monkeypatch):
    hub_at("http://127.0.0.1:9")  # nobody listens
    started = time.perf_counter()
    for call in (find_folder, lambda name: download(name, "config.json")):
        with pytest.raises(HubError, match=r"The Hub at http://127.0.0.1:9 must be reachable .*Connection refused"):
            call("nobody/nothing")
    with pytest.raises(OSError, match="refused"):
        from_hub("nobody/nothing")
    assert isinstance(why_silent("nobody/nothing", "model"), ConnectionRefusedError)
    assert time.perf_counter() - started < 2 * 4


def test_what_never_answers_is_given_up(hub_at, monkeypatch):
    given_up = threading.Event()

    def look_up(address, timeout):
        given_up.wait(30)
        raise OSError("too late")

    hub_at("https://hub.invalid")
    monkeypatch.setattr(hub_client, "PATIENCE", 0.2)
    monkeypatch.setattr(socket, "create_connection", look_up)
    started = time.perf_counter()
    with pytest.raises(HubError, match=r"TimeoutError: no connection within 0.2 seconds\."):
        download("nobody/nothing", "config.json")
    assert time.perf_counter() - started < 10
    given_up.set()


def test_a_proxy_is_the_door(hub_at, monkeypatch):
    """Behind a proxy, names of the world outside need not be known."""
    hub_at("https://hub.invalid")
    asked = []
    monkeypatch.setattr(hub_client, "proxy_bypass", lambda host: host == "inside.invalid")
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: asked.append(address) or socket.socket())
    for proxies in ({"https": "http://door.invalid:3128"}, {"all": "door.invalid"}, {}):
        monkeypatch.setattr(hub_client, "getproxies", lambda found=proxies: found)
        assert why_unreached() is None
    assert asked == [("door.invalid", 3128), ("door.invalid", 80), ("hub.invalid", 443)]


def test_offline_nothing_is_asked(hub_at, monkeypatch):
    hub_at("https://hub.invalid")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("a connection was made"))
    assert "HF_HUB_OFFLINE" in str(why_unreached())


def test_a_path_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub_client, "why_unreached", lambda: pytest.fail("the Hub was asked"))
    (tmp_path / "data").mkdir()
    for name in (
        "./birds",
        "../birds",
        "~/birds",
        "/birds",
        "a/b/c",
        "data/birds",
        "birds/",
        "x.csv",
        "a\\b",
        "X.CSV.GZ",
    ):
        assert is_path(name), name
        with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
            from_hub(name)
    assert not any(map(is_path, ("birds", "owner/birds", "owner/birds-1.0")))


def test_a_path_that_is_kept_shows_that_it_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "birds").mkdir(parents=True)
    assert kept_path("owner") == "./owner"
    assert kept_path("gone") == "gone"  # a data set of the Hub
    assert kept_path("owner/birds") == "./owner/birds"
    for name in ("./owner", str(tmp_path)):
        assert kept_path(name) == name
