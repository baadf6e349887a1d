"""Every route and every documented refusal, compared with golden answers."""

import json
import re
from functools import cache
from pathlib import Path

import httpx
import pytest
from golden import TOKEN, Case, Story, load, stories
from noetl_testkit.stack import Stack
from routes import OPERATIONS

# What `test_refusals.py` asks of all routes in the same way, and what only a sick stack answers.
ELSEWHERE = {"413", "415", "503"}
# Stored data that no route stores: data of another key, a listener that registration refuses.
UNMADE = {
    # It never ends.
    ("GET /events", "200"),
    # A page has to be open: `api-gateway/routes/web_ui/test_page_requests.py` opens one.
    ("POST /api/internal/callback/async", "200"),
    ("GET /api/credentials/{identifier}", "500"),
    ("GET /api/internal/ingress/{listener}", "422"),
    # Two callers, and here everybody is nobody: `tests/security/access` has them.
    ("DELETE /api/worker/pool/deregister", "403"),
    ("POST /api/worker/pool/deregister", "403"),
    # A credential of other paths: `tests/security/access/test_asks_for_foreign_secrets.py`.
    ("GET /api/credentials/{identifier}", "403"),
    ("GET /api/credentials/{identifier}/sealed", "403"),
}


@pytest.mark.e2e
@pytest.mark.parametrize("path", stories(), ids=lambda path: path.stem)
def test_answers_are_golden(
    path: Path, stack: Stack, client: httpx.Client, subtests: pytest.Subtests
) -> None:
    story = Story(client, {"token": TOKEN, "database": database(stack)})
    for case in load(path):
        with subtests.test(case.name):
            found = story.tell(case)
            assert not found, "\n".join([case.ask, *found])


def test_every_route_and_refusal_has_a_case() -> None:
    told = {(route_of(case), str(case.status)) for case in cases()} | UNMADE
    documented = {
        (name, status)
        for name, operation in OPERATIONS.items()
        for status in operation["responses"]
        if status not in ELSEWHERE
    }
    assert documented - told == set()


def test_no_two_stories_register_the_same_path() -> None:
    owners: dict[str, set[str]] = {}
    for story in stories():
        for case in load(story):
            if case.ask == "POST /api/catalog/register" and case.status == 200:
                for path in re.findall(r"golden/\w+", _head_of(case)):
                    owners.setdefault(path, set()).add(story.stem)

    assert "golden/hello" in owners
    assert {path: names for path, names in owners.items() if len(names) > 1} == {}


def _head_of(case: Case) -> str:
    """Return the document that a case registers up to what it does, which may name others."""
    return re.split(r"\\n(?:workflow|workload|spec):", case.spec["json"])[0]


def database(stack: Stack) -> str:
    """Return the fields of a credential for the stack's database."""
    return json.dumps(stack.database_login())


def cases() -> list[Case]:
    return [case for path in stories() for case in load(path)]


@cache
def patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Return how paths of routes look, those with the fewest parameters first."""
    names = sorted(OPERATIONS, key=lambda name: (name.count("{"), name))
    found = []
    for name in names:
        method, _, path = name.partition(" ")
        segment = ".+" if path == "/api/catalog/{path}" else "[^/]+"
        parts = re.split(r"{\w+}", path)
        found.append((name, re.compile(f"{method} " + segment.join(map(re.escape, parts)))))
    return found


def route_of(case: Case) -> str | None:
    path = re.sub(r"^/noetl/", "/api/", case.path)
    asked = re.sub(r"\$\{\w+\}", "1", f"{case.method} {path}")
    return next((name for name, pattern in patterns() if pattern.fullmatch(asked)), None)
