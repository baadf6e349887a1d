"""Promises about the stack in containers, checked by one function for each part."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine import CommandFailedError
from parts import SERVICES
from stack import MIGRATE, SERVERS, CheckFailedError, Container, Stack, until

LARGEST_MEGABYTES = 220
"""Most that an image may have, but the worker's, which brings DuckDB and uv."""
_LARGER = {"catalog": 226}
"""It brings uv, which has 38, and has 225 with a base of 128."""
_UID = "10001"
_PLAYBOOK = "examples/parallel_join.yaml"
_BACK_SECONDS = 120.0
_STOP_SECONDS = 20.0
_MEGABYTE = 1_000_000
_ALONE = tuple((name,) for name in SERVERS)


@dataclass(frozen=True, kw_only=True)
class Process:
    """State of a process, as the kernel reports it."""

    uids: frozenset[str]
    capabilities: int
    has_no_new_privileges: bool


def process_of(status: str) -> Process:
    """Read `/proc/PID/status`."""
    lines = dict(re.findall(r"^(\w+):\s*(.*)$", status, re.MULTILINE))
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    held = 0
    for name in sets:
        held |= int(lines[name], 16)
    return Process(
        uids=frozenset(lines["Uid"].split()),
        capabilities=held,
        has_no_new_privileges=lines["NoNewPrivs"] == "1",
    )


def small(images: Mapping[str, int]) -> str:
    """No image is larger than it may be, the worker's excepted."""
    counted = {name: size / _MEGABYTE for name, size in images.items() if "-worker:" not in name}
    large = {name: round(size) for name, size in counted.items() if size > _most(name)}
    if large:
        raise CheckFailedError(f"MB of images, at most {LARGEST_MEGABYTES}: {large}")
    return f"{max(counted.values()):.0f} MB at most, but the worker's"


def _most(image: str) -> int:
    found = (size for service, size in _LARGER.items() if f"-{service}:" in image)
    return next(found, LARGEST_MEGABYTES)


def confined(stack: Stack) -> str:
    """Every service runs as an unprivileged user, without rights, and can't change its files."""
    for container in stack.containers():
        if not container.is_read_only or container.is_privileged:
            raise CheckFailedError(f"{container.service}: its root can be written")
        if container.service in SERVICES:
            _confined(stack, container)
    server = process_of(stack.inside("postgres", "cat", "/proc/1/status"))
    if "0" in server.uids:
        raise CheckFailedError("PostgreSQL runs as root")
    return f"UID {_UID}, no capabilities, no new privileges, read-only root"


def _confined(stack: Stack, container: Container) -> None:
    name = container.service
    process = process_of(stack.inside(name, "cat", "/proc/1/status"))
    if process.uids != {_UID} or container.user != f"{_UID}:{_UID}":
        raise CheckFailedError(f"{name} runs as {process.uids}, {container.user}")
    if process.capabilities or not process.has_no_new_privileges:
        raise CheckFailedError(f"{name} has rights: {process}")
    for place in ("/venv/x", "/x", "/var/x"):
        try:
            stack.inside(name, "touch", place)
        except CommandFailedError:
            continue
        raise CheckFailedError(f"{name} can write {place}")


def apart(stack: Stack) -> str:
    """The database has no superuser among our roles, and the worker doesn't even reach it."""
    query = "SELECT rolname FROM pg_roles WHERE rolsuper ORDER BY 1"
    found = stack.inside("postgres", "psql", "-U", "postgres", "-Atc", query).split()
    if found != ["postgres"]:
        raise CheckFailedError(f"superusers: {found}")
    reach = (
        "import socket; socket.setdefaulttimeout(3); socket.create_connection(('postgres', 5432))"
    )
    stack.inside("catalog", "python", "-c", reach)
    try:
        stack.inside("worker", "python", "-c", reach)
    except CommandFailedError:
        return "no superuser but postgres; the worker has no way to the database"
    raise CheckFailedError("the worker reaches the database")


def guarded(stack: Stack) -> str:
    """Requests need a key; the system pool's token opens its routes; the port is the stack's."""
    answers = {
        "no key": (stack.ask("/api/executions", with_key=False).status_code, 401),
        "key": (stack.ask("/api/executions").status_code, 200),
        "document": (stack.ask("/schema/openapi.json").status_code, 200),
        "token": (stack.ask_internally("/api/internal/outbox/pending-count").status_code, 200),
    }
    wrong = {name: got for name, (got, wanted) in answers.items() if got != wanted}
    if wrong:
        raise CheckFailedError(f"the edge answers {wrong}")
    port = stack.compose("port", "api-gateway", "8082").strip()
    if port != f"127.0.0.1:{stack.port}":
        raise CheckFailedError(f"the edge is open at {port}")
    return "401 without a key, 200 with it, bound to 127.0.0.1"


def plays(stack: Stack) -> str:
    """A playbook runs to its end."""
    stack.play(_PLAYBOOK)
    return f"{_PLAYBOOK} completed"


def survives(stack: Stack, say: Callable[[str], None]) -> str:
    """Each container comes back by itself when its process is killed."""
    slowest = max(_killed(stack, services, say) for services in (*_ALONE, SERVICES))
    until(lambda: _all_healthy(stack), seconds=_BACK_SECONDS, what="all healthy after the kills")
    stack.play(_PLAYBOOK)
    return f"{len(SERVERS) + len(SERVICES)} kills, back in {slowest:.0f} s at most, playbook runs"


def _killed(stack: Stack, services: Sequence[str], say: Callable[[str], None]) -> float:
    """Kill some at once; return how long the slowest took to be healthy again."""
    killed = [stack.container(service) for service in services]
    begun = time.monotonic()
    stack.kill(killed)
    took = 0.0
    for container in killed:
        until(
            lambda container=container: _again(stack, container),  # type: ignore[misc]  # bound now
            seconds=_BACK_SECONDS,
            what=f"{container.service} healthy after a kill",
        )
        took = time.monotonic() - begun
        say(f"  {container.service}: healthy {took:.1f} s after SIGKILL")
    return took


def _again(stack: Stack, killed: Container) -> bool | None:
    now = stack.container(killed.service)
    return True if now.started > killed.started and now.health == "healthy" else None


def _all_healthy(stack: Stack) -> bool | None:
    wanted = {*SERVERS, *SERVICES}
    healthy = {found.service for found in stack.containers() if found.health == "healthy"}
    return True if healthy == wanted else None


def stops(stack: Stack) -> str:
    """Every service ends by itself after SIGTERM, and starts again."""
    slowest = ("", 0.0)
    for service in SERVICES:
        begun = time.monotonic()
        stack.compose("stop", service)
        took = time.monotonic() - begun
        ended = stack.container(service)
        if ended.exit_code != 0 or took > _STOP_SECONDS:
            raise CheckFailedError(f"{service} ended with {ended.exit_code} after {took:.1f} s")
        slowest = max(slowest, (service, took), key=lambda one: one[1])
    stack.compose("restart", *SERVERS)
    stack.up()
    stack.play(_PLAYBOOK)
    return f"exit code 0 each, slowest {slowest[0]} in {slowest[1]:.1f} s; restarted, playbook runs"


def lasts(stack: Stack) -> str:
    """Executions from before `down` are there after `up`."""
    before = _executions(stack)
    stack.compose("down")
    if stack.containers():
        raise CheckFailedError("`down` left containers")
    stack.up()
    after = _executions(stack)
    if not before or after != before:
        raise CheckFailedError(f"{len(before)} executions before, {len(after)} after: {after}")
    migrated = stack.container(MIGRATE)
    if migrated.exit_code != 0:
        raise CheckFailedError(f"migrate ended with {migrated.exit_code}")
    stack.play(_PLAYBOOK)
    return f"{len(after)} of {len(before)} executions still there, playbook runs"


def _executions(stack: Stack) -> dict[str, str]:
    def completed() -> dict[str, str] | None:
        answer = stack.ask("/api/executions?page_size=100")
        answer.raise_for_status()
        found = answer.json()
        rows = found if isinstance(found, list) else found["executions"]
        known = {str(row["execution_id"]): str(row["status"]) for row in rows}
        return known if known and set(known.values()) == {"COMPLETED"} else None

    return until(completed, seconds=_BACK_SECONDS, what="all executions listed as completed")
