import pytest

from searchhub.redact import is_secret, redact, redact_command, redact_tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf_abcdefghijklmnopqrstuvwxyzABCDEFGH", "REDACTED"),
        ("api_org_abcdefghij", "REDACTED"),
        ("url https://user:hf_abcdefghij@example.org", "url https://user:REDACTED@example.org"),
        ("hf_xet 1.8.0", "hf_xet 1.8.0"),
        ("the half_hf_abcdefghij", "the half_REDACTED"),
    ],
)
def test_tokens(text, expected):
    assert redact_tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/x.csv", "x.csv"),
        ("/home/ann/data/", "data"),
        ("~/data/x.csv", "x.csv"),
        ("file:///home/ann/x.csv", "x.csv"),
        ("'/home/ann/x.csv', \"/srv/y\"", "'x.csv', \"y\""),
        ("train=/a/b,test:/c/d", "train=b,test:d"),
        (r"C:\Users\ann\x.csv", "x.csv"),
        ("data/x.csv and ../y, ./z", "data/x.csv and ../y, ./z"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("images/second, 3/4, a / b", "images/second, 3/4, a / b"),
    ],
)
def test_paths(text, expected):
    assert redact(text) == expected


def test_a_command_keeps_what_others_need():
    command = ["accelerate", "launch", "recipes/ddp_mobile.py", "--dataset", "uoft-cs/cifar10", "--lr=0.1", "--flip"]
    assert redact_command(command) == " ".join(command)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/usr/bin/python", "-m", "x"], "python -m x"),
        (["x", "--data", "/home/ann/my data"], "x --data 'my data'"),
        (["x", "--data=/home/ann/my data"], "x '--data=my data'"),
        (["x", "--data=file:///home/ann/d"], "x --data=d"),
        (["x", r"C:\Users\ann\my data"], "x 'my data'"),
        (["x", r"\\server\ann\d"], "x d"),
        (["x", '--override={"data": "/home/ann/d"}'], """x '--override={"data": "d"}'"""),
        (["x", "--hub_token", "nothing-like-it"], "x --hub_token REDACTED"),
        (["x", "--token=short"], "x --token=REDACTED"),
        (["HF_TOKEN=abc", "x"], "HF_TOKEN=REDACTED x"),
        (["x", "--tokenizer", "bert"], "x --tokenizer bert"),
        (["x", "--data", "/"], "x --data /"),
    ],
)
def test_commands(arguments, expected):
    assert redact_command(arguments) == expected


def test_names_of_secrets():
    assert all(map(is_secret, ["token", "HF_TOKEN", "--hub-token", "api_key", "password"]))
    assert not any(map(is_secret, ["tokenizer", "max_tokens_seen", "tokens", "key"]))
