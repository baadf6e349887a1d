"""The metadata of a cloud's machine, which gives out its identity, is no place for playbooks."""

import pytest
from noetl_testkit.stack import Stack, events, execute, finish, register
from noetl_testkit.web import Request, Response, serving

pytestmark = pytest.mark.e2e

METADATA = "169.254.169.254"
PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: attack_egress, path: attack/egress_{name}}}
workflow:
  - step: start
    tool: {tool}
"""
TOOLS = {
    "http": '{kind: http, url: "http://%s/latest/meta-data/", timeout_seconds: 5}',
    "number": '{kind: http, url: "http://2852039166/latest/meta-data/", timeout_seconds: 5}',
    "mapped": '{kind: http, url: "http://[::ffff:169.254.169.254]/", timeout_seconds: 5}',
    "name": '{kind: http, url: "http://metadata.google.internal/", timeout_seconds: 5}',
    "mcp": '{kind: mcp, endpoint: "http://%s/mcp", method: tools/list}',
    "nats": '{kind: nats, operation: kv_get, url: "nats://%s:80", bucket: a, key: b}',
    "postgres": (
        '{kind: postgres, connection_string: "postgresql://a:b@%s:80/c", query: SELECT 1}'
    ),
}


def run(stack: Stack, name: str, tool: str) -> str:
    """Run a tool and return the text of its events."""
    with stack.client() as client:
        register(client, PLAYBOOK.format(name=name, tool=tool))
        execution_id = execute(client, f"attack/egress_{name}")
        finish(client, execution_id)
        return str(events(client, execution_id))


@pytest.mark.parametrize("name", TOOLS)
def test_no_tool_connects_there(nats_stack: Stack, name: str) -> None:
    tool = TOOLS[name]

    told = run(nats_stack, name, tool % METADATA if "%s" in tool else tool)

    assert "NOETL_EGRESS_DENY" in told, told[-2000:]


def test_a_redirect_leads_nowhere_either(nats_stack: Stack) -> None:
    def answer(_request: Request) -> Response:
        return Response({}, 302, {"location": f"http://{METADATA}/latest/meta-data/"})

    with serving(answer) as server:
        told = run(nats_stack, "redirect", f'{{kind: http, url: "{server.url}/"}}')

    assert "NOETL_EGRESS_DENY" in told, told[-2000:]


def test_loopback_stays_in_reach(nats_stack: Stack) -> None:
    with serving(lambda _request: Response({"here": "I am"}, 200)) as server:
        told = run(nats_stack, "loopback", f'{{kind: http, url: "{server.url}/"}}')

    assert "I am" in told


def test_the_sql_route_does_not_tell_open_ports_from_closed_ones(guarded_stack: Stack) -> None:
    """Elsewhere is allowed in this stack."""
    with (
        serving(lambda _request: Response({}, 200)) as server,
        guarded_stack.client() as client,
    ):
        host, _, port = server.url.removeprefix("http://").partition(":")
        answers = [
            client.post(
                "/api/postgres/execute",
                json={"query": "SELECT 1", "connection_string": f"postgresql://a:b@{place}/c"},
            )
            for place in (f"{host}:{port}", f"{host}:1", f"{METADATA}:80")
        ]

    assert [answer.status_code for answer in answers] == [502, 502, 502]
    opened, closed, denied = (answer.json()["error"] for answer in answers)
    assert opened == closed
    assert "NOETL_EGRESS_DENY" in denied
