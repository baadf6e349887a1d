"""Allowed and denied targets of connections."""

import asyncio

import pytest
from noetl_common.egress import Egress, EgressRefused, EgressSettings

USUAL = Egress.from_settings(EgressSettings())


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.169.254.",
        "[fe80::1]",
        "fe80::1%lo",
        "::ffff:169.254.169.254",
        "[::ffff:a9fe:a9fe]",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "0xa9fea9fe",
        "2852039166",
        "169.254.43518",
        "fd00:ec2::254",
        "100.100.100.200",
        "METADATA.google.internal",
    ],
)
async def test_metadata_of_clouds_is_out_of_reach(host: str) -> None:
    with pytest.raises(EgressRefused, match="may not be connected to"):
        await USUAL.addresses(host, 80)


async def test_loopback_is_in_reach() -> None:
    assert "127.0.0.1" in await USUAL.addresses("localhost", 80)
    assert await USUAL.addresses("127.0.0.1", 80) == ["127.0.0.1"]


async def test_a_name_is_what_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolved(*_args: object, **_named: object) -> object:
        return [(0, 0, 0, "", ("127.0.0.1", 80)), (0, 0, 0, "", ("169.254.1.2", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved, raising=False)
    with pytest.raises(EgressRefused):
        await USUAL.addresses("rebind.example", 80)


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("api.example.com", True),
        ("example.com", False),
        ("10.1.2.3", True),
        ("10.9.0.1", False),
        ("127.0.0.1", False),
        ("db.internal", True),
    ],
)
async def test_a_list_of_the_allowed_closes_the_rest(
    host: str, *, is_allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    egress = Egress(allow=["*.example.com", "10.0.0.0/8", "db.internal"], deny=["10.9.0.0/16"])

    async def resolved(host: str, *_args: object, **_named: object) -> object:
        shown = host if host[0].isdigit() else "192.0.2.7"
        return [(0, 0, 0, "", (shown, 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved, raising=False)
    if is_allowed:
        assert await egress.addresses(host, 80)
    else:
        with pytest.raises(EgressRefused):
            await egress.addresses(host, 80)
