"""Variables about logins that the processes of a local stack get."""

import re

import pytest
from noetl.stack.datadir import Identity
from noetl.stack.servers.access import StackAccess, needs_login, stack_access

ALL = "0.0.0.0"  # noqa: S104 -- compared, not bound


def identity() -> Identity:
    return Identity(name="s", nats_password="n", postgres_password="p", encryption_key="e")


@pytest.mark.parametrize(
    ("host", "mode", "is_on"),
    [
        ("127.0.0.1", None, False),
        ("::1", "auto", False),
        (ALL, None, True),
        ("10.0.0.7", "", True),
        ("127.0.0.1", "on", True),
        (ALL, "off", False),
    ],
)
def test_a_login_is_needed_where_others_reach_the_port(
    *, host: str, mode: str | None, is_on: bool
) -> None:
    assert needs_login(host, {} if mode is None else {"NOETL_AUTH": mode}) is is_on


def test_keys_are_made_once_and_told_to_few() -> None:
    kept = identity()
    first = stack_access(kept, ALL, {})
    again = stack_access(kept, ALL, {})
    told = {
        service: first.of_service(service, {})
        for service in ("api-gateway", "orchestrator", "catalog", "projector", "worker")
    }

    assert first == again
    assert re.fullmatch(r"nk_[0-9a-f]{12}_[\w-]{43}", first.admin_key)
    assert first.admin_key not in repr(first)
    assert told == {
        "api-gateway": {"NOETL_AUTH": "on"},
        "orchestrator": {},
        "catalog": {
            "NOETL_AUTH": "on",
            "NOETL_ACCESS_KEYS": f"admin={first.admin_key},worker={first.worker_key}",
        },
        "projector": {},
        "worker": {"NOETL_INTERNAL_API_TOKEN": first.worker_key},
    }


def test_what_the_environment_says_stays() -> None:
    access = stack_access(identity(), ALL, {})
    uses_token = {"NOETL_KEYCHAIN_ENV_VARS": "X,NOETL_INTERNAL_API_TOKEN"}

    assert access.of_service("worker", uses_token) == {}
    told = access.of_service("catalog", {"NOETL_ACCESS_KEYS": "viewer=k,"})
    assert told["NOETL_ACCESS_KEYS"].endswith(f"worker={access.worker_key},viewer=k")


def test_without_logins_there_are_no_keys() -> None:
    kept = identity()
    access = stack_access(kept, "127.0.0.1", {})

    assert (kept.admin_key, kept.worker_key) == ("", "")
    assert [access.of_service(name, {}) for name in ("catalog", "worker")] == [{}, {}]


def test_a_worker_with_a_certificate_of_its_own_gets_no_key_beside_it() -> None:
    access = StackAccess(is_on=True, admin_key="a", worker_key="w")
    certificate = {"NOETL_TLS_CLIENT_CERT": "w.pem"}

    known = certificate | {"NOETL_CLIENT_CERTIFICATES": "w.example=worker"}
    assert access.of_service("worker", known) == {"NOETL_INTERNAL_API_TOKEN": ""}
    assert access.of_service("worker", certificate) == {"NOETL_INTERNAL_API_TOKEN": "w"}
