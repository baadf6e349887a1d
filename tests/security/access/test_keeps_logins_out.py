"""Unknown logins without end, from the address that all clients have behind a proxy."""

import contextlib
import secrets
import threading
from collections.abc import Iterable, Iterator

import httpx
import pytest
from noetl_contract.access.rights import Role
from noetl_testkit.stack import Stack, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_for, wait_until

from .callers import ASKING, KEYS

PLACE = "/api/executions"
PROXY, OTHER = "127.0.0.53", "127.0.0.54"


def unknown_key() -> str:
    return f"nk_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def client(stack: Stack, token: str | None = None, *, address: str = PROXY) -> httpx.Client:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    way = httpx.HTTPTransport(local_address=address)
    return httpx.Client(
        base_url=stack.url, headers=headers, timeout=PATIENCE_SECONDS, transport=way
    )


@contextlib.contextmanager
def guessed(stack: Stack, *, clients: int = 8) -> Iterator[list[int]]:
    """Try unknown keys from one address while the block runs; gives the statuses so far."""
    over, statuses = threading.Event(), list[int]()

    def guess() -> None:
        with client(stack) as own:
            while not over.is_set():
                login = {"authorization": f"Bearer {unknown_key()}"}
                statuses.append(own.get(PLACE, headers=login).status_code)

    threads = [threading.Thread(target=guess) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(statuses) > 100, what="guesses")
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)


def test_a_new_login_is_let_in_while_keys_are_guessed(asking_stack: Stack) -> None:
    with asking_stack.client() as admin:
        body = {"name": "fresh", "roles": ["viewer"], "namespaces": ["team-a"]}
        fresh = admin.post("/api/admin/keys", json=body).json()["token"]
    with guessed(asking_stack) as statuses, client(asking_stack, fresh) as own:
        answers = [own.get(PLACE).status_code for _ in range(5)]

    assert answers == [200] * 5
    assert set(statuses) == {401}


def until_limited(statuses: Iterable[int]) -> list[int]:
    """Return the answers up to the first 429, or all."""
    found: list[int] = []
    for status in statuses:
        found.append(status)
        if status == 429:
            break
    return found


@pytest.mark.slow
def test_an_edge_that_begins_within_the_guesses_lets_everybody_in() -> None:
    """It has seen no client before; guesses of one client of the proxy are that client's alone."""
    settings = {**ASKING, "NOETL_TRUSTED_PROXIES": f"{PROXY},127.0.0.60/30"}
    with running_stack(environment=settings) as stack:
        with guessed(stack), client(stack, KEYS[Role.VIEWER]) as viewer:
            assert viewer.get(PLACE).status_code == 200
        with client(stack) as proxy, client(stack, address=OTHER) as stranger:

            def session(who: httpx.Client, address: str, number: int) -> int:
                headers = {
                    "x-session-token": f"guess-{address}-{number}",
                    "x-forwarded-for": f"10.9.9.1, {address}",
                }
                return who.get(PLACE, headers=headers).status_code

            # Twenty at once and a few a minute, which counts where the machine is slow.
            guesses = until_limited(session(proxy, "198.51.100.1", one) for one in range(999))
            others = [session(proxy, "198.51.100.2", number) for number in range(5)]
            # Who is no proxy names as many addresses as he likes.
            lies = until_limited(
                session(stranger, f"198.51.100.{30 - one % 20}", one) for one in range(999)
            )
            # An address that has a role, named by the proxy and by somebody else.
            named = {"x-forwarded-for": "10.9.9.1"}
            roles = [one.get(PLACE, headers=named).status_code for one in (proxy, stranger)]
        with stack.client() as admin:

            def noted() -> str | None:
                text = admin.get("/api/internal/access-audit", params={"limit": 500}).text
                return text if "198.51.100.2" in text else None

            audit = wait_for(noted, what="who was refused is in the audit")

    assert (guesses[:20], guesses[-1]) == ([401] * 20, 429)
    assert others == [401] * 5
    assert lies[-1] == 429
    assert roles == [401, 401]
    assert "198.51.100.30" not in audit
