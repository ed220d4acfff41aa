"""What the Hub's client raises becomes words that help, without tokens."""

import pytest

from searchhub.errors import HubError
from searchhub.hub_client import hub_errors

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
