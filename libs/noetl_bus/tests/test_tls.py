"""TLS to the broker, with certificates made here."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from noetl_bus.broker import connect
from noetl_bus.settings import NatsSettings, TlsMisconfigured
from noetl_testkit.bus import flush
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import unless_it_hangs
from pydantic import SecretStr

from libs.noetl_common.tests.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def tls_nats(tmp_path: Path, authority: Authority) -> Iterator[NatsServer]:
    """A server that speaks TLS only, and wants a certificate of its clients."""
    pair = authority.issue("nats")
    server = NatsServer(tmp_path / "nats")
    server.instance.prepare()
    configuration = server.instance.directory / "nats.conf"
    plain = type(server.instance).prepare

    def prepare(_self: object) -> None:
        plain(server.instance)
        with configuration.open("a") as file:
            file.write(
                f'\ntls {{ cert_file: "{pair.certificate}", key_file: "{pair.key}", '
                f'ca_file: "{authority.file}", verify: true }}\n'
            )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(server.instance), "prepare", prepare)
        patch.setattr(type(server.instance), "is_ready", lambda _self: is_listening(server))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def is_listening(server: NatsServer) -> bool:
    log = server.instance.directory / "nats.log"
    return log.exists() and "Server is ready" in log.read_text()


def broker(server: NatsServer, ca: Path, client: Pair) -> NatsSettings:
    return NatsSettings(
        nats_url=SecretStr(server.url),
        nats_ca=str(ca),
        nats_cert=str(client.certificate),
        nats_key=str(client.key),
    )


async def test_a_service_speaks_tls_to_the_broker_and_shows_its_certificate(
    tls_nats: NatsServer, authority: Authority
) -> None:
    settings = broker(tls_nats, authority.file, authority.issue("client"))
    async with unless_it_hangs(), connect(settings, name="test") as bus:
        await flush(bus)


async def test_a_broker_of_another_authority_is_not_spoken_to(
    tls_nats: NatsServer, tmp_path: Path, authority: Authority
) -> None:
    other = Authority(tmp_path, "other")
    settings = broker(tls_nats, other.file, authority.issue("client"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), connect(settings, name="test"):
            pass


async def test_a_missing_file_is_an_error_by_name(tls_nats: NatsServer) -> None:
    settings = NatsSettings(nats_url=SecretStr(tls_nats.url), nats_ca="/no/such/file")
    with pytest.raises(TlsMisconfigured, match="NOETL_NATS_CA"):
        async with connect(settings, name="test"):
            pass
