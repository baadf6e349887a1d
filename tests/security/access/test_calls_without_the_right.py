"""Attackers call every route there is, without a login and with the key of every role."""

import re
from collections.abc import Iterator

import httpx
import pytest
from litestar.routes import HTTPRoute
from noetl_contract.access.rights import ROLE_RIGHTS, Right, Role
from noetl_testkit.stack import events, execute, finish, register
from noetl_testkit.waiting import wait_until
from routes import APP

from .callers import INTERNAL, Callers

PARENT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: parent, path: access/parent}
workflow:
- step: start
  tool: {kind: playbook, path: access/child, return_step: start, args: {word: hello}}
"""
CHILD = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: child, path: access/child}
workflow:
- step: start
  tool: {kind: noop}
"""
SHELL = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: shell, path: access/shell}
workflow:
- step: start
  tool: {kind: shell, command: "id"}
"""


def routes() -> Iterator[tuple[str, str, Right]]:
    """Yield method, filled path and right of each route of the API.

    Pages of the console are open, and what they show and do are calls of these routes.
    """
    for route in APP.routes:
        if isinstance(route, HTTPRoute) and route.path.split("/")[1] not in {"", "console"}:
            for method, (handler, _) in route.route_handler_map.items():
                if method != "OPTIONS":
                    path = re.sub(r"{\w+}", "325077236512452608", route.path_format)
                    yield method, path, handler.opt["needs"]


ROUTES = sorted(set(routes()))


def is_missing(answer: httpx.Response, right: Right) -> bool:
    """Return whether the answer says that the right is missing."""
    text = f"The right `{right}` is missing"
    return answer.status_code == 403 and answer.json()["error"] == text


def test_without_a_login(caller: Callers) -> None:
    client = caller.nobody()
    for method, path, right in ROUTES:
        answer = client.request(method, path)

        if right is Right.PUBLIC:
            # There is no such link and no such listener, and nobody logs in here.
            missing = path.startswith(("/api/links/", "/ingress/"))
            # The web UI's questions want a body.
            asks = path in {"/api/auth/validate", "/api/auth/check-access"}
            odd = 501 if path == "/api/auth/login" else 415 if asks else 200
            wanted = 404 if missing else odd
            assert answer.status_code == wanted, (method, path)
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("role", list(Role))
def test_with_the_key_of_a_role(caller: Callers, role: Role) -> None:
    client = caller.of(role)
    for method, path, right in ROUTES:
        answer = client.request(method, path)

        may = right in ROLE_RIGHTS[role] | {Right.PUBLIC}
        assert is_missing(answer, right) != may, (method, path, answer.status_code)
        assert answer.status_code not in {401, 500}, (method, path, answer.text)


def test_what_everybody_could_do_before(caller: Callers) -> None:
    admin, nobody = caller.of(Role.ADMIN), caller.nobody()
    body = {"name": "pg_prod", "type": "postgres", "data": {"password": "s3cret"}}
    assert admin.post("/api/credentials", json=body).status_code == 200
    register(admin, SHELL)

    for method, path, json in (
        ("GET", "/api/credentials/pg_prod?include_data=true", None),
        ("GET", "/api/keychain/1/x", None),
        ("POST", "/api/postgres/execute", {"query": "SELECT 1"}),
        ("POST", "/api/catalog/register", {"content": SHELL}),
        ("POST", "/api/execute", {"path": "access/shell"}),
        ("POST", "/api/worker/pool/register", {"name": "evil"}),
        ("DELETE", "/api/worker/pool/deregister", {"name": "worker"}),
        ("GET", "/api/credentials/pg_prod/sealed?worker_id=evil", None),
    ):
        answer = nobody.request(method, path, json=json)
        assert answer.status_code == 401
        assert "s3cret" not in answer.text
    # No role reads a secret in clear, the admin's neither.
    shown = admin.get("/api/credentials/pg_prod?include_data=true")
    assert (shown.status_code, is_missing(shown, Right.SECRETS_READ)) == (403, True)
    assert "s3cret" not in shown.text


def test_an_address_in_a_header_is_nobody_s(caller: Callers) -> None:
    for name in ("x-forwarded-for", "x-real-ip", "forwarded"):
        answer = caller.nobody().get("/api/pool/status", headers={name: "10.9.9.7"})

        assert answer.status_code == 401


def test_a_key_is_refused_as_soon_as_its_revocation_is_told(caller: Callers) -> None:
    admin = caller.of(Role.ADMIN)
    made = admin.post("/api/admin/keys", json={"name": "ci", "roles": ["viewer"]}).json()
    client = caller.with_token(made["token"])
    assert client.get("/api/pool/status").status_code == 200
    assert client.get("/api/pool/status").status_code == 200
    admin.delete(f"/api/admin/keys/{made['key_id']}").raise_for_status()

    # Told, it takes milliseconds, which a busy machine makes more of; untold, a minute.
    wait_until(
        lambda: client.get("/api/pool/status").status_code == 401,
        what="the key opens nothing",
    )


def test_playbooks_and_their_children_run_for_their_owner(caller: Callers) -> None:
    author, operator = caller.of(Role.AUTHOR), caller.of(Role.OPERATOR)
    register(author, CHILD)
    register(author, PARENT)
    execution_id = execute(operator, "access/parent")

    assert finish(operator, execution_id) == "COMPLETED"
    assert events(operator, execution_id)[-1]["event_type"]


def test_each_decision_is_in_the_audit(caller: Callers) -> None:
    caller.nobody().get("/api/credentials")
    caller.of(Role.VIEWER).post("/api/executions/7/cancel")
    admin = caller.of(Role.ADMIN)

    def listed(**query: str) -> list[dict[str, object]]:
        answer = admin.get("/api/internal/access-audit", params=query)
        answer.raise_for_status()
        return list(answer.json()["rows"])

    def is_told() -> bool:
        nobody = listed(outcome="unauthenticated", right="credentials.list")
        viewer = listed(outcome="forbidden", right="executions.cancel")
        return bool(nobody) and any(row["object"] == "execution:7" for row in viewer)

    wait_until(is_told, what="both refusals are listed")


def test_the_internal_token_stays_good_for_the_internal_routes(caller: Callers) -> None:
    client = caller.with_token(INTERNAL)

    assert client.get("/api/internal/outbox/pending-count").status_code == 200
    assert client.post("/api/admin/keys", json={}).status_code == 403
