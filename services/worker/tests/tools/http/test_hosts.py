"""Hosts that secrets may be sent to."""

import pytest
from noetl_worker.tools.http.hosts import addresses_of, may_be_sent


@pytest.mark.parametrize(
    ("url", "allowed", "is_allowed"),
    [
        ("https://evil.example/x", None, True),
        ("https://evil.example/x", (), False),
        ("https://api.example.com/x", ("api.example.com",), True),
        ("https://API.example.com./x", ("api.Example.com",), True),
        ("https://api.example.com:8443/x", ("api.example.com",), True),
        ("https://api.example.com:8443/x", ("api.example.com:443",), False),
        ("https://api.example.com/x", ("api.example.com:443",), True),
        ("https://a.b.example.com/x", ("*.example.com",), True),
        ("https://example.com/x", ("*.example.com",), False),
        ("https://evilexample.com/x", ("*.example.com",), False),
        ("https://api.example.com@evil.example/x", ("api.example.com",), False),
        ("https://evil.example/api.example.com", ("api.example.com",), False),
        ("https://evil.example\\@api.example.com/", ("evil.example",), False),
        ("http://[::1]:8082/x", ("[::1]:8082",), True),
        ("no url", ("no url",), False),
        ("http://[", ("x",), False),
    ],
)
def test_a_secret_goes_to_its_hosts(
    *, url: str, allowed: tuple[str, ...] | None, is_allowed: bool
) -> None:
    assert may_be_sent(url, allowed) is is_allowed


def test_the_addresses_of_a_server() -> None:
    found = addresses_of("http://edge", "https://[::1]/x", "nonsense")

    assert found == ("edge:80", "[::1]:443")
