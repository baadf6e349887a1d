"""Client addresses of requests, directly and through proxies."""

import ipaddress
from typing import Any

import pytest
from noetl_api_gateway.intake.peers import CLIENT, Proxies, address_of
from noetl_api_gateway.settings import Settings
from pydantic import ValidationError

PROXIES = Proxies(map(ipaddress.ip_network, ("10.0.0.0/24", "192.0.2.7", "2001:db8::/64")))


def scope(peer: str, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
    return {"client": (peer, 1), "headers": [(b"forwarded", b"for=8.8.8.8"), *headers]}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", ["1.1.1.1"], None),
        ("10.0.1.5", ["1.1.1.1"], None),
        ("no address", ["1.1.1.1"], None),
        ("10.0.0.5", ["1.1.1.1"], "1.1.1.1"),
        ("192.0.2.7", ["1.1.1.1"], "1.1.1.1"),
        ("::ffff:10.0.0.5", ["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.5", ["::ffff:1.1.1.1"], "1.1.1.1"),
        ("10.0.0.5", ["9.9.9.9, 1.1.1.1"], "1.1.1.1"),
        ("10.0.0.5", ["9.9.9.9", "1.1.1.1"], "1.1.1.1"),
        ("10.0.0.5", ["9.9.9.9, 1.1.1.1, 10.0.0.6,2001:db8::3"], "1.1.1.1"),
        ("10.0.0.5", ["10.0.0.9, 1.1.1.1"], "1.1.1.1"),
        ("10.0.0.5", ["10.0.0.9, 10.0.0.6"], "10.0.0.9"),
        ("10.0.0.5", ["9.9.9.9, unknown"], "10.0.0.5"),
        ("10.0.0.5", ["9.9.9.9, nonsense, 10.0.0.6"], "10.0.0.6"),
        ("10.0.0.5", ["9.9.9.9, "], "10.0.0.5"),
        ("10.0.0.5", ["1.1.1.1:4711"], "1.1.1.1"),
        ("10.0.0.5", ["[2001:db8:1::5]:80"], "2001:db8:1::5"),
        ("10.0.0.5", ["2001:db8:1::5"], "2001:db8:1::5"),
        ("10.0.0.5", [], "10.0.0.5"),
        ("10.0.0.5", ["1.1.1.1" + ",10.0.0.6" * 5000], "10.0.0.6"),
    ],
)
def test_a_trusted_proxy_names_its_client(
    peer: str, forwarded: list[str], client: str | None
) -> None:
    found = PROXIES.client_of(scope(peer, *forwarded))

    assert found == client


def test_without_proxies_nobody_is_believed() -> None:
    asked = scope("10.0.0.5", "1.1.1.1")

    assert Proxies().client_of(asked) is None
    assert address_of(asked) == "10.0.0.5"
    assert address_of({**asked, CLIENT: "1.1.1.1"}) == "1.1.1.1"
    assert address_of({"headers": []}) == ""


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.example", "0.0.0.0/0", "10.0.0.1 10.0.0.2"])
def test_what_is_no_proxy_is_named(text: str) -> None:
    with pytest.raises(ValidationError, match=f"NOETL_TRUSTED_PROXIES: .*{text}"):
        Settings(trusted_proxies=f"192.0.2.1, {text}")
