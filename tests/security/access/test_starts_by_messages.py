"""Executions of webhooks, triggers and readers of sources reach what their author reaches."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest
from noetl_contract.access.rights import Role
from noetl_testkit.stack import Stack, finish
from noetl_testkit.waiting import wait_for

from .callers import Callers

CODE = """
import base64, json, urllib.error, urllib.request
login, _, host = context["server_url"].removeprefix("http://").partition("@")
def post(body):
    head = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode(),
            "Content-Type": "application/json"}
    wanted = urllib.request.Request(f"http://{host}/api/execute", json.dumps(body).encode(), head)
    try:
        return urllib.request.urlopen(wanted).status
    except urllib.error.HTTPError as error:
        return error.code
result = {
    "own": post({"path": OWN}),
    "foreign": post({"path": "hooks-b/x"}),
    "pool": post({"path": OWN, "execution_pool": "team-b"}),
}
"""
INSIDE = {"own": 200, "foreign": 403, "pool": 403}
EVERYWHERE = {"own": 200, "foreign": 200, "pool": 200}
SECRET = "s3cret-of-the-hook"


def playbook(path: str, code: str = "result = 1", **more: Any) -> dict[str, Any]:
    step = {"step": "start", "tool": {"kind": "python", "code": code}}
    metadata = {"name": path.rpartition("/")[2], "path": path}
    head = {"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": metadata}
    return {**head, "workflow": [step], **more}


def caller_of(path: str, own: str) -> dict[str, Any]:
    """Return a playbook whose result names the playbooks that its step could start."""
    return playbook(path, CODE.replace("OWN", json.dumps(own)), result="{{ start }}")


def subscription(path: str, starts: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": path.rpartition("/")[2], "path": path}
    dispatch = {"playbook": starts}
    return {
        "apiVersion": "noetl.io/v1",
        "kind": "Subscription",
        "metadata": metadata,
        "spec": {"source": "webhook", "mode": "push", "dispatch": dispatch, **spec},
    }


def hook(path: str, starts: str) -> dict[str, Any]:
    """Return a subscription that listens under the end of its path."""
    verify = {"type": "bearer", "header": "X-Tok", "secret": "hooks_secret"}
    name = path.rpartition("/")[2]
    ingress = {"gateway_path": f"/ingress/{name}", "verify": verify}
    return subscription(path, starts, ingress=ingress)


def keep(client: httpx.Client, document: dict[str, Any]) -> None:
    body = {"content": json.dumps(document), "resource_type": document["kind"]}
    answer = client.post("/api/catalog/register", json=body)
    assert answer.status_code == 200, answer.text


class Teams:
    """The authors of two namespaces, and the administrator."""

    def __init__(self, stack: Stack, callers: Callers) -> None:
        self.stack = stack
        self.callers = callers
        self.admin = callers.of(Role.ADMIN)
        self.a = self.key("author", "hooks-a")
        self.b = self.key("author", "hooks-b")
        secret = {
            "name": "hooks_secret",
            "type": "bearer",
            "data": {"secret": SECRET},
            "allowed_paths": ["hooks-a"],
        }
        self.admin.post("/api/credentials", json=secret).raise_for_status()
        keep(self.b, playbook("hooks-b/x"))
        keep(self.a, playbook("hooks-a/x"))
        keep(self.a, caller_of("hooks-a/caller", "hooks-a/x"))

    def key(self, role: str, namespace: str, **more: Any) -> httpx.Client:
        wish = {
            "name": f"{role} of {namespace}",
            "roles": [role],
            "namespaces": [namespace],
            **more,
        }
        answer = self.admin.post("/api/admin/keys", json=wish)
        return self.callers.with_token(answer.json()["token"])

    def deliver(self, name: str) -> int:
        headers = {"x-tok": SECRET}
        with self.stack.client("") as sender:
            answer = sender.post(f"/ingress/{name}", json={}, headers=headers)
        assert answer.status_code == 202, answer.text
        return int(answer.json()["execution_id"])

    def reach(self, execution_id: int) -> Any:
        """Return the playbooks that the step of an execution could start."""
        finish(self.admin, execution_id)
        return self.admin.get(f"/api/executions/{execution_id}").json()["result"]

    def owner(self, execution_id: int) -> tuple[str, str]:
        """Return owner and actor of an execution; empty where there is none."""
        statement = "SELECT meta FROM noetl.event WHERE execution_id = $1 AND position = 1"
        meta = json.loads(self.in_database(statement, execution_id))
        return meta.get("owner", ""), meta.get("actor", "")

    def forget_who_registered(self, path: str) -> None:
        """Make a document one whose registrant is unknown."""
        statement = "UPDATE noetl.catalog SET registrant = NULL WHERE path = $1"
        self.in_database(statement, path)

    def in_database(self, statement: str, value: object) -> Any:
        """Run a statement with a value, and return the one that it gives."""

        async def run() -> Any:
            connection = await asyncpg.connect(self.stack.dsn())
            try:
                return await connection.fetchval(statement, value)
            finally:
                await connection.close()

        return asyncio.run(run())


@pytest.fixture
def teams(asking_stack: Stack, caller: Callers) -> Teams:
    return Teams(asking_stack, caller)


def test_a_delivery_stays_in_the_namespace_of_who_registered_the_hook(teams: Teams) -> None:
    keep(teams.a, hook("hooks-a/hook", "hooks-a/caller"))
    execution = teams.deliver("hook")

    assert teams.reach(execution) == INSIDE
    assert teams.owner(execution) == ("author of hooks-a", "listener:hooks-a/hook")

    keep(teams.admin, hook("hooks-a/wide", "hooks-a/caller"))
    assert teams.reach(teams.deliver("wide")) == EVERYWHERE


def test_a_hook_without_a_registrant_stays_in_the_folder_of_its_playbook(teams: Teams) -> None:
    keep(teams.admin, hook("hooks-a/old", "hooks-a/caller"))
    teams.forget_who_registered("hooks-a/old")

    execution = teams.deliver("old")
    assert teams.reach(execution) == INSIDE
    assert teams.owner(execution)[0] == "listener:hooks-a/old"


@pytest.mark.parametrize("is_old", [False, True])
def test_a_trigger_stays_there_also_under_the_very_name_of_a_namespace(
    teams: Teams, *, is_old: bool
) -> None:
    name = "hooks-told" if is_old else "hooks-told-not"
    author = teams.key("author", name)
    keep(author, playbook(f"{name}/x"))
    keep(author, caller_of(name, f"{name}/x"))
    trigger = {
        "apiVersion": "noetl.io/v2",
        "kind": "Trigger",
        "metadata": {"name": "t", "path": f"{name}/t"},
        "spec": {
            "on": {"ended": "COMPLETED", "under": f"{name}/begun"},
            "start": {"playbook": name},
        },
    }
    keep(author, trigger)
    if is_old:
        teams.forget_who_registered(f"{name}/t")
        # Whoever asks the catalog anew learns of it.
        keep(
            author,
            {
                **trigger,
                "metadata": {"name": "t", "path": f"{name}/other"},
                "spec": {**trigger["spec"], "on": {"ended": "FAILED", "under": f"{name}/x"}},
            },
        )
    keep(author, playbook(f"{name}/begun"))

    def followed() -> int | None:
        begun = author.post("/api/execute", json={"path": f"{name}/begun"}).json()
        finish(author, int(begun["execution_id"]))
        found = author.get("/api/executions", params={"path": name}).json()
        started = [one for one in _entries(found) if one["path"] == name]
        return int(started[0]["execution_id"]) if started else None

    execution = wait_for(followed, what="the trigger counts")

    assert teams.reach(execution) == INSIDE
    owner = f"trigger:{name}/t" if is_old else f"author of {name}"
    assert teams.owner(execution)[0] == owner


def _entries(found: Any) -> list[dict[str, Any]]:
    return found if isinstance(found, list) else found.get("executions") or found["items"]


def test_a_reader_of_messages_starts_what_their_author_could(teams: Teams) -> None:
    """As the subscription runtime does, with a key of the role worker that reaches everything."""
    path = "hooks-a/orders"
    keep(teams.a, subscription(path, "hooks-a/caller", source="nats", mode="pull"))
    runtime = teams.key("worker", "", pools=["*"])
    foreign = teams.key("worker", "hooks-b")
    known = runtime.post("/api/subscriptions/register", json={"path": path}).json()
    start = {"path": "hooks-a/caller", "parent_execution_id": known["subscription_id"]}

    answer = runtime.post("/api/execute", json=start)
    many = runtime.post(
        "/api/execute/batch",
        json={"executions": [start, {**start, "path": "hooks-b/x"}, {"path": "hooks-b/x"}]},
    )
    refused = {
        name: runtime.post("/api/execute", json={**start, **more}).status_code
        for name, more in {
            "path": {"path": "hooks-b/x"},
            "pool": {"execution_pool": "team-b"},
        }.items()
    }
    hidden = foreign.post("/api/execute", json={**start, "path": "hooks-b/x"})

    assert answer.status_code == 200, answer.text
    execution = int(answer.json()["execution_id"])
    assert teams.reach(execution) == INSIDE
    assert teams.owner(execution) == ("author of hooks-a", "worker of ")
    statuses = [one["status"] for one in many.json()["results"]]
    assert statuses == ["started", "error", "started"]
    assert refused == {"path": 404, "pool": 403}
    assert hidden.status_code == 404
