"""A page that gives its own name the edge's address, and pages that post without asking."""

import httpx
import pytest
from noetl_testkit.stack import Stack

EVIL = "http://evil.example"
STOP = "/api/executions/325077236512452608/cancel"


@pytest.fixture
def client(edge_stack: Stack) -> httpx.Client:
    with edge_stack.client() as client:
        yield client


@pytest.mark.parametrize(
    "host",
    [
        "rebind.evil.example",
        "rebind.evil.example:8082",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "a.svc.evil.example",
        "evil.internal",
        "api-gateway",
    ],
)
def test_a_strangers_name_is_not_ours(client: httpx.Client, host: str) -> None:
    registered = client.post("/api/catalog/register", json={"content": "x"}, headers={"host": host})
    read = client.get("/api/executions", headers={"host": host})
    preflight = client.options("/api/executions", headers={"host": host})

    statuses = [answer.status_code for answer in (registered, read, preflight)]
    assert statuses == [421, 421, 421]
    assert f"not known by the name `{host}`" in read.json()["error"]
    assert "NOETL_ALLOWED_HOSTS" in read.json()["detail"]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "localhost.",
        "noetl.localhost:8082",
        "127.0.0.1",
        "[::1]:8082",
        "10.0.3.7:8082",
        "host.docker.internal:8082",
        "noetl.example.org",
        "a.b.pods.example",
    ],
)
def test_our_names_are_ours(client: httpx.Client, host: str) -> None:
    assert client.get("/api/executions", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/ready"])
def test_probes_ask_under_any_name(client: httpx.Client, path: str) -> None:
    assert client.get(path, headers={"host": "node.example"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "http://evil.example:8082"},
        {"origin": "http://localhost@evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"origin": EVIL, "sec-fetch-site": "same-origin"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [STOP, "/api/executions/cleanup", "/noetl/execute"])
def test_a_strangers_page_changes_nothing(
    client: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    answer = client.post(path, content="{}", headers={"content-type": "text/plain", **headers})

    assert answer.status_code == 403
    assert "may not change anything here" in answer.json()["error"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:5173", "sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "cross-site"},
        {"origin": "https://ui.example", "sec-fetch-site": "cross-site"},
        {"origin": "https://noetl.example.org", "sec-fetch-site": "same-origin"},
        {"origin": "http://10.0.3.7:8082", "host": "10.0.3.7:8082"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
    ids=str,
)
def test_our_pages_and_programs_go_on(client: httpx.Client, headers: dict[str, str]) -> None:
    answer = client.post(STOP, json={}, headers=headers)

    assert answer.status_code == 404, answer.text


def test_a_strangers_page_reads_nothing(client: httpx.Client) -> None:
    answer = client.get("/api/executions", headers={"origin": EVIL})

    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/api/credentials", "/api/keychain/catalog/1", "/noetl/credentials"]
)
def test_secrets_stay_in_no_cache(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/api/executions").headers["x-content-type-options"] == "nosniff"
