"""Workers of other makes, which need no change: with a key of their pool, or with nothing.

What they bring is the address of each command: its user information goes along as Basic with
every call below it. Where Flight is they find by the address, too.
"""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from noetl_contract.access.rights import Role
from noetl_testkit.stack import Stack, execute, finish, register
from noetl_testkit.waiting import PATIENCE_SECONDS

from .callers import KEYS, Callers
from .existing_worker import POOL, TWO_STEPS, issued

# What a worker speaks to Flight before it knows that nobody is there.
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_with_a_key_of_its_pool(asking_stack: Stack, caller: Callers) -> None:
    made = caller.of(Role.ADMIN).post(
        "/api/admin/keys", json={"name": "gpu", "roles": ["worker"], "pools": [POOL]}
    )
    made.raise_for_status()
    pool = caller.with_token(made.json()["token"])
    runtime = {"name": "w-gpu", "kind": "worker_pool", "runtime": {"pool": POOL}}

    registered = pool.post("/api/worker/pool/register", json=runtime)
    beats = [
        pool.post("/api/worker/pool/heartbeat", json={"name": "w-gpu"}),
        caller.nobody().post("/api/worker/pool/heartbeat", json={"name": "w-gpu"}),
    ]
    worker = issued(asking_stack, caller, "w-gpu")

    assert registered.status_code in {200, 201}, registered.text
    assert [beat.status_code for beat in beats] == [200, 401]
    assert worker.claim() == 200
    assert worker.report() == [200, 200, 200]
    assert finish(caller.of(Role.ADMIN), worker.execution_id) == "COMPLETED"


def test_with_nothing_but_the_address(asking_stack: Stack, caller: Callers) -> None:
    worker, other = (issued(asking_stack, caller, "w-nobody") for _ in range(2))

    foreign = worker.call("POST", f"/api/commands/{other.event_id}/claim", {"worker_id": "w"})
    registering = worker.call("POST", "/api/worker/pool/register", {"name": "evil"})
    assert (foreign.status_code, registering.status_code) == (403, 403)
    assert worker.claim() == 200
    child = worker.call("POST", "/api/execute", {"path": "access/existing"})
    assert child.status_code == 200, child.text
    kept = worker.call(
        "PUT", f"/api/result/{worker.execution_id}", {"name": "start", "data": {"n": 7}}
    )
    assert kept.status_code in {200, 201}, kept.text
    elsewhere = worker.call(
        "PUT", f"/api/result/{other.execution_id}", {"name": "start", "data": {"n": 7}}
    )
    assert elsewhere.status_code == 404
    assert worker.report() == [200, 200, 200]
    assert finish(caller.of(Role.ADMIN), worker.execution_id) == "COMPLETED"


@contextmanager
def forwarded(address: tuple[str, int], to: int) -> Iterator[None]:
    """Let an address of this machine lead to a port."""
    with socket.create_server(address) as server, ThreadPoolExecutor(8) as pool:
        pool.submit(_accept, server, to, pool)
        try:
            yield
        finally:
            # Wakes who waits for a connection; closing alone wouldn't.
            server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, to: int, pool: ThreadPoolExecutor) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        pool.submit(_forward, client, to, pool)


def _forward(client: socket.socket, to: int, pool: ThreadPoolExecutor) -> None:
    client.settimeout(30)
    with client, socket.create_connection(("127.0.0.1", to), timeout=PATIENCE_SECONDS) as behind:
        back = pool.submit(_pump, behind, client)
        _pump(client, behind)
        back.result(60)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def flight_address(server_url: str) -> tuple[str, int]:
    """Find Flight as the existing worker does: the port after the edge's own, by its text."""
    place = server_url.rpartition("@")[2]
    if place.endswith(":8082"):
        return place.removesuffix(":8082"), 8083
    host, _, port = place.partition(":")
    return host, int(port)


def test_where_flight_is_nobody_answers_and_the_result_comes_over_http(
    asking_stack: Stack, caller: Callers
) -> None:
    # An address of this machine that nobody else uses, with the port that workers look for.
    host = "127.0.82.83"
    worker = issued(asking_stack, caller, "w-flight")
    rows = [{"n": number} for number in range(20_000)]
    assert worker.claim() == 200
    kept = worker.call("PUT", f"/api/result/{worker.execution_id}", {"name": "start", "data": rows})
    server_url = worker.address(host, 8082)
    with forwarded((host, 8082), asking_stack.port):
        assert flight_address(server_url) == (host, 8083)
        # Anything but a refused connection would fail the step.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(flight_address(server_url), timeout=PATIENCE_SECONDS).sendall(
                _HTTP2
            )
        found = httpx.get(
            f"{server_url}/api/result/resolve",
            params={"ref": kept.json()["ref"]},
            timeout=PATIENCE_SECONDS,
        )

    assert found.status_code == 200
    assert found.json() == rows
    assert found.request.headers["authorization"].startswith("Basic ")
    assert worker.report() == [200, 200, 200]


def test_a_page_shows_its_session_and_sees_what_the_session_may(caller: Callers) -> None:
    """The web pages send one token under both names."""
    viewer, stranger = KEYS[Role.VIEWER], "nk_stranger_" + "x" * 43
    register(caller.of(Role.ADMIN), TWO_STEPS)
    started = execute(caller.of(Role.ADMIN), "access/existing")
    for prefix in ("/api", "/noetl"):
        page = caller.with_token(viewer)
        page.headers["x-session-token"] = viewer
        ended = caller.with_token(stranger)
        ended.headers["x-session-token"] = stranger

        assert page.get(f"{prefix}/executions").status_code == 200
        assert page.get(f"{prefix}/executions/{started}").status_code == 200
        refused = page.post(f"{prefix}/executions/{started}/cancel", json={})
        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            "The right `executions.cancel` is missing",
        )
        over = ended.get(f"{prefix}/executions")
        assert over.status_code == 401
        assert over.json()["detail"]
