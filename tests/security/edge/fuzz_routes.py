"""All routes under random callers, names, pages and bodies: no failure, no undecided request.

By hand: ``make access-fuzz args="--cases 50000 [--seed N]"``, on a stack of its own that asks for
logins. No answer may be 5xx but a 503 that says when to ask again, and each request that reached
a route must have been decided on.
"""

import argparse
import asyncio
import contextlib
import copy
import json
import random
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx
from noetl_contract.access.capability import Capability
from noetl_contract.access.rights import Role
from noetl_contract.json import Json, JsonObject
from noetl_testkit.stack import Stack, execute, register, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS
from routes import OPERATIONS

AT_ONCE = 8
SECONDS = PATIENCE_SECONDS
_COMMAND_KEY = secrets.token_urlsafe(32)
_INTERNAL = secrets.token_urlsafe(16)
KEYS = {role: f"nk_{role}_{secrets.token_urlsafe(32)}" for role in Role}
ENVIRONMENT = {
    "NOETL_AUTH": "on",
    "NOETL_ACCESS_KEYS": ",".join(f"{role}={key}" for role, key in KEYS.items()),
    "NOETL_COMMAND_KEY": _COMMAND_KEY,
    "NOETL_INTERNAL_API_TOKEN": _INTERNAL,
    "NOETL_RATE_LIMITING": "off",
}
PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: fuzzed, path: tests/fuzzed-routes}
workflow:
  - step: start
    tool: {kind: noop}
"""
# Tracing all memory makes everything else slow.
_LEFT_OUT = frozenset({"POST /api/profiler/memory/start"})
_SQL = "POST /api/postgres/execute"
_HOSTS = ("localhost", "127.0.0.1", "[::1]", "evil.example", "x", "localhost.evil.example", "*")
_ORIGINS = ("http://localhost:3000", "https://evil.example", "null", "http://", "x")
_SITES = ("same-origin", "same-site", "cross-site", "none", "?")
_WORDS = (
    "tests/fuzzed-routes", "start", "pg_local", "latest", "0", "-1", "1.5", "9223372036854775807",
    "99999999999999999999", "a b", "ä", "..", "../../etc/passwd", "a/b", "%00", "\x00", "' or 1=1",
    "{{ 7*7 }}", "x" * 3000, "",
)  # fmt: skip
_ODD: tuple[Json, ...] = (
    None, True, 0, -1, 1.5, 1e308, 2**63, 10**40, "", "\x00", "💥", "a" * 5000, [], {}, [[[[]]]],
    {"": {"": None}}, "{{ 1 / 0 }}", "2026-13-45T99:99:99Z", [1, "2", None],
)  # fmt: skip


@dataclass
class Found:
    """Answers that a run has seen."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    def note(self, operation: str, answer: httpx.Response, text: str) -> None:
        """Count an answer; keep it if it is a failure of ours."""
        status = answer.status_code
        self.statuses[status] += 1
        is_named = status == 503 and "retry-after" in answer.headers
        # The contract answers so where the caller's own statement fails.
        is_own = operation == _SQL and '"Database error: ' in text
        if status >= 500 and not is_named and not is_own:
            self.failures[f"{operation}: {status} {text[:200]}"] += 1


class Cases:
    """Random requests.

    Args:
        seed: the same seed gives the same requests.
        execution_ids: of executions that there are.
    """

    def __init__(self, seed: int, execution_ids: list[int]) -> None:
        self._chance = random.Random(seed)
        self._ids = execution_ids
        self._operations = sorted(OPERATIONS.keys() - _LEFT_OUT)

    def next(self) -> tuple[str, httpx.Request]:
        """Return the name of a route and a request to it."""
        chance = self._chance
        operation = chance.choice(self._operations)
        method, _, path = operation.partition(" ")
        told = OPERATIONS[operation]
        headers = {**self._login(), **self._page()}
        content = b""
        if "requestBody" in told or chance.random() < 0.1:
            content = self._body(told)
            headers["content-type"] = chance.choice(["application/json"] * 9 + ["text/plain"])
        query = {
            one["name"]: self._word()
            for one in told.get("parameters", ())
            if one["in"] == "query" and chance.random() < 0.4
        }
        url = f"http://edge{self._path(path)}"
        return operation, httpx.Request(method, url, params=query, headers=headers, content=content)

    def _login(self) -> dict[str, str]:
        chance = self._chance
        role = chance.choice(list(Role))
        bearer = {"authorization": f"Bearer {KEYS[role]}"}
        command = Capability(chance.choice(self._ids), chance.randrange(1 << 40), 1)
        basic = httpx.BasicAuth(*command.userinfo(_COMMAND_KEY.encode()).split(":", 1))
        forged = httpx.BasicAuth(f"{command.execution_id}.{command.event_id}", "1.forged")
        return chance.choice(
            [
                {},
                bearer,
                bearer,
                bearer,
                {"authorization": f"Bearer {_INTERNAL}"},
                {"x-session-token": KEYS[role]},
                {"authorization": f"Bearer nk_wrong_{chance.randrange(20)}"},
                {"authorization": chance.choice(["Bearer", "Basic !", "Digest x", "Bearer a b"])},
                {"authorization": basic._auth_header},
                {"authorization": forged._auth_header},
                {**bearer, "x-session-token": KEYS[chance.choice(list(Role))]},
            ]
        )

    def _page(self) -> dict[str, str]:
        chance = self._chance
        page = {"host": chance.choice(_HOSTS) if chance.random() < 0.1 else "localhost"}
        if chance.random() < 0.15:
            page["origin"] = chance.choice(_ORIGINS)
        if chance.random() < 0.1:
            page["sec-fetch-site"] = chance.choice(_SITES)
        return page

    def _path(self, path: str) -> str:
        while "{" in path:
            begin, _, rest = path.partition("{")
            name, _, end = rest.partition("}")
            value = str(self._chance.choice(self._ids)) if "id" in name else ""
            if not value or self._chance.random() < 0.4:
                value = self._word()
            safe = "/" if self._chance.random() < 0.3 else ""
            path = f"{begin}{quote(value, safe=safe)}{end}"
        if self._chance.random() < 0.1 and path.startswith("/api/"):
            return f"/noetl/{path[5:]}"
        return path

    def _word(self) -> str:
        if self._chance.random() < 0.2:
            return str(self._chance.choice(self._ids))
        return self._chance.choice(_WORDS)

    def _body(self, told: JsonObject) -> bytes:
        chance = self._chance
        content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
        value = json.loads(json.dumps(_example(content)))
        for _ in range(chance.randint(0, 2)):
            places = list(_places(value))
            if places:
                holder, key = chance.choice(places)
                holder[key] = copy.deepcopy(chance.choice(_ODD))
        body = json.dumps(value).encode()
        match chance.randrange(12):
            case 0:
                return body[: chance.randrange(len(body) + 1)]
            case 1:
                return json.dumps(chance.choice(_ODD)).encode()
            case 2:
                return b"\xff" + body
        return body


def _example(content: JsonObject) -> Json:
    """Return an example of a body, also one that only its schema has."""
    if "example" in content:
        return content["example"]
    schema = content.get("schema", {})
    examples = schema.get("examples") or [one.get("value") for one in content.get("examples", ())]
    if isinstance(examples, list) and examples:
        return examples[0]
    return {
        name: chosen.get("default", "x") for name, chosen in schema.get("properties", {}).items()
    } or {"path": "tests/fuzzed-routes", "content": PLAYBOOK, "query": "select 1"}


def _places(value: Json) -> Iterator[tuple[Json, Json]]:
    pairs: list[tuple[Json, Json]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    for key, inner in pairs:
        yield value, key
        yield from _places(inner)


async def fuzz(stack: Stack, *, cases: int, seed: int) -> Found:
    """Send random requests and return the answers.

    Raises:
        AssertionError: a request that reached a route was not decided on, or the edge is gone.
    """
    found = Found()
    with stack.client() as admin:
        admin.headers["authorization"] = f"Bearer {KEYS[Role.ADMIN]}"
        register(admin, PLAYBOOK)
        made = Cases(seed, [execute(admin, "tests/fuzzed-routes") for _ in range(5)])
        before = _decisions(admin)
        async with httpx.AsyncClient(base_url=stack.url, timeout=SECONDS) as client:

            async def work(count: int) -> None:
                for _ in range(count):
                    operation, wanted = made.next()
                    found.note(operation, *await _sent(client, stack, wanted))

            share = -(-cases // AT_ONCE)
            await asyncio.gather(*(work(share) for _ in range(AT_ONCE)))
        after = _decisions(admin)
        reached, decided = after[0] - before[0], after[1] - before[1]
        text = f"{reached:.0f} requests reached a route, {decided:.0f} were decided on"
        assert decided >= reached or not _asks_for_logins(stack), text
    return found


def _asks_for_logins(stack: Stack) -> bool:
    with stack.client() as nobody:
        return nobody.get("/api/executions").status_code == 401


async def _sent(
    client: httpx.AsyncClient, stack: Stack, wanted: httpx.Request
) -> tuple[httpx.Response, str]:
    """Send a request; of a stream only the beginning is read."""
    url = wanted.url.copy_with(scheme="http", host="127.0.0.1", port=stack.port)
    request = httpx.Request(wanted.method, url, headers=wanted.headers, content=wanted.content)
    answer = await client.send(request, stream=True)
    try:
        if answer.headers.get("content-type") == "text/event-stream":
            return answer, ""
        with contextlib.suppress(httpx.RemoteProtocolError):
            return answer, (await answer.aread()).decode(errors="replace")
        return answer, ""
    finally:
        await answer.aclose()


def _decisions(admin: httpx.Client) -> tuple[float, float]:
    """Return how many requests reached a route, and how many decisions there were."""
    reached = decided = 0.0
    for line in admin.get("/metrics").text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("noetl_http_requests_total{"):
            is_reached = 'route="unmatched"' not in name and 'status="405"' not in name
            reached += float(value) * (is_reached and 'status="503"' not in name)
        elif name.startswith("noetl_access_decisions_total{"):
            decided += float(value)
    return reached, decided


def main() -> int:
    """Fuzz a stack of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}")
    with running_stack(environment=ENVIRONMENT) as stack:
        found = asyncio.run(fuzz(stack, cases=chosen.cases, seed=chosen.seed))
        restarts = {name: one["restarts"] for name, one in stack.services().items()}
    print("statuses", dict(sorted(found.statuses.items())))
    print("restarts", restarts)
    for text, count in found.failures.most_common(50):
        print(f"{count:6} {text}")
    return 1 if found.failures or any(restarts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
