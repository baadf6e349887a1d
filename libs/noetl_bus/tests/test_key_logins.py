"""Logins at a real broker by nkeys and by credentials files."""

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from noetl_bus.broker import connect
from noetl_bus.nkeys import BadKey, from_creds, from_seed, new_seed
from noetl_bus.settings import NatsSettings
from noetl_contract.documents.broker_logins import authorization
from noetl_contract.documents.broker_users import broker_users
from noetl_testkit.bus import flush
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import PATIENCE_SECONDS
from pydantic import SecretStr

_OPERATOR, _ACCOUNT = 14 << 3, 0


@contextmanager
def running(folder: Path, text: str) -> Iterator[str]:
    """Run a server whose users are in a text; yield its address."""
    server = NatsServer(folder / "nats")
    kind = type(server.instance)
    with pytest.MonkeyPatch.context() as patch:
        conf = server.instance.directory / "nats.conf"

        def prepare(_self: object) -> None:
            conf.parent.mkdir(parents=True, exist_ok=True)
            conf.write_text(f"host: 127.0.0.1\nport: {server.instance.port}\n{text}")

        log = server.instance.directory / "nats.log"
        patch.setattr(kind, "prepare", prepare)
        patch.setattr(
            kind, "is_ready", lambda _self: log.exists() and "is ready" in log.read_text()
        )
        server.start()
        try:
            yield f"nats://127.0.0.1:{server.instance.port}"
        finally:
            server.kill()


async def logs_in(*, seconds: float = PATIENCE_SECONDS, **settings: Any) -> bool:
    """Return whether a login is accepted; a refused one is retried until the timeout."""
    try:
        async with asyncio.timeout(seconds), connect(NatsSettings(**settings), name="test") as bus:
            await flush(bus)
            return True
    except TimeoutError:
        return False


async def test_a_service_logs_in_by_its_nkey_with_its_own_rights_and_no_other(
    tmp_path: Path,
) -> None:
    seeds = {user.name: new_seed() for user in broker_users()}
    keys = {name: from_seed(seed, variable="seed").public for name, seed in seeds.items()}
    users = authorization(broker_users(), lambda user: f'"{keys[user]}"', by_key=True)
    with running(tmp_path, users) as url:
        known = {"nats_url": SecretStr(url), "nats_user": "outbox"}

        assert await logs_in(**known, nats_nkey_seed=SecretStr(seeds["outbox"]))
        assert not await logs_in(seconds=1, **known, nats_nkey_seed=SecretStr(new_seed()))


class Signer:
    """Signs tokens as NATS's own tools do."""

    def __init__(self, kind: int) -> None:
        self._key = Ed25519PrivateKey.generate()
        body = bytes([kind]) + self._key.public_key().public_bytes_raw()
        check = binascii.crc_hqx(body, 0).to_bytes(2, "little")
        self.public = base64.b32encode(body + check).decode().rstrip("=")

    def token(self, subject: str, kind: str, **claims: Any) -> str:
        parts = [
            {"typ": "JWT", "alg": "ed25519-nkey"},
            {
                "jti": kind,
                "iat": int(time.time()),
                "iss": self.public,
                "name": kind,
                "sub": subject,
                "nats": {"type": kind, "version": 2, **claims},
            },
        ]
        text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{text}.{encoded(self._key.sign(text.encode()))}"


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


@pytest.fixture
def creds(tmp_path: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """A server that believes an operator, and what writes a file of credentials for it."""
    operator, account = Signer(_OPERATOR), Signer(_ACCOUNT)
    most = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    resolver = account.public, operator.token(account.public, "account", limits=most)
    text = (
        f"operator: {operator.token(operator.public, 'operator')}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {resolver[0]}: {resolver[1]} }}\n"
    )

    def write(path: Path) -> None:
        seed = new_seed()
        user = from_seed(seed, variable="seed").public
        token = account.token(user, "user", subs=-1, data=-1, payload=-1)
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )

    with running(tmp_path, text) as url:
        yield url, write


async def test_a_service_logs_in_by_a_file_of_credentials(
    creds: tuple[str, Callable[[Path], None]], tmp_path: Path
) -> None:
    url, write = creds
    write(tmp_path / "user.creds")

    assert await logs_in(nats_url=SecretStr(url), nats_creds=str(tmp_path / "user.creds"))
    assert not await logs_in(
        seconds=1, nats_url=SecretStr(url), nats_nkey_seed=SecretStr(new_seed())
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "SU",
        lambda: "nothing like it",
        lambda: "SAAB" + "A" * 54,
        lambda: new_seed()[:-1] + "a",
        lambda: "SUAB1",
    ],
    ids=["empty", "short", "text", "of an account", "wrong sum", "cut"],
)
def test_what_is_no_seed_is_refused_without_a_word_of_it(make: Callable[[], str]) -> None:
    seed = make()
    with pytest.raises(BadKey, match=r"NOETL_NATS_NKEY_SEED: (not a seed|its checksum)") as caught:
        from_seed(seed, variable="NOETL_NATS_NKEY_SEED")
    assert not seed or seed not in str(caught.value).replace("SU…", "")


def test_one_login_is_enough(tmp_path: Path) -> None:
    both = NatsSettings(nats_nkey_seed=SecretStr(new_seed()), nats_creds="/some/where")
    with pytest.raises(BadKey, match="NOETL_NATS_NKEY_SEED and NOETL_NATS_CREDS are given"):
        both.key_login()
    with pytest.raises(BadKey, match="NOETL_NATS_CREDS and a password"):
        NatsSettings(nats_url=SecretStr("nats://u:p@h"), nats_creds="/some/where").key_login()
    with pytest.raises(BadKey, match="NOETL_NATS_CREDS: /some/where: No such file"):
        NatsSettings(nats_creds="/some/where").key_login()
    (tmp_path / "half.creds").write_text("-----BEGIN NATS USER JWT-----\nx\n")
    with pytest.raises(BadKey, match=r"half\.creds lacks"):
        from_creds(tmp_path / "half.creds", variable="NOETL_NATS_CREDS")
    assert NatsSettings().key_login() is None
