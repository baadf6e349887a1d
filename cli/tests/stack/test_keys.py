"""Processes of a local stack that get the key of stored secrets."""

from pathlib import Path

import pytest
from noetl.stack.servers.access import StackAccess
from noetl.stack.servers.databases import Databases
from noetl.stack.services import MODULES, environment_of, replicas
from noetl_common.shards import DatabaseAddress

KEY = "NOETL_ENCRYPTION_KEY"
MADE = "made by the stack"


def keys() -> dict[str, dict[str, str]]:
    address = DatabaseAddress(host="h", port=1, user="u", password="p", database="d")
    found = {}
    for replica in replicas({}):
        environment = environment_of(
            replica,
            stack="s",
            nats_url="nats://h",
            databases=Databases(shards=(address,), cluster=address, is_sharded=False),
            http_host="127.0.0.1",
            http_port=1,
            public="http://h",
            folder=Path("/srv/noetl"),
            encryption_key=MADE,
            command_key="also made",
            access=StackAccess(is_on=False),
        )
        found[replica.service] = {k: v for k, v in environment.items() if k.startswith(KEY)}
    return found


@pytest.mark.parametrize("given", [None, "", " "])
def test_only_the_catalog_gets_the_stacks_key(
    monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    if given is not None:
        monkeypatch.setenv(KEY, given)

    assert keys() == {service: {} for service in MODULES} | {"catalog": {KEY: MADE}}


def test_a_key_of_the_operators_own_wins_and_goes_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KEY, "own")
    monkeypatch.setenv(f"{KEY}S_EARLIER", "v1=old")

    assert keys() == {
        **{service: {} for service in MODULES},
        "catalog": {KEY: "own", f"{KEY}S_EARLIER": "v1=old"},
    }
