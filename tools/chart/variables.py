"""Variables of the environment: each is one that the process reads, and logins are the code's."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from manifests import Document, Manifests, Pod
from noetl.stack.servers.roles import ROLES
from noetl_common.shards import BadShardMap, DatabaseAddress, parse_address, parse_shards
from noetl_contract.documents.broker_logins import SERVICES, worker_user

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
_SHARDED = ("orchestrator", "outbox", "projector")
_SHARED = "Several services"
_NAME = re.compile(r"`([A-Z][A-Z0-9_]*)`")
_REFERENCE = re.compile(r"\$\((\w+)\)")
# Nothing is mounted here.
_FILE = re.compile(r"password_file=[^;,]*")
_PASSWORD = re.compile(r"password=(?!\$\()")
# What a job of ours reads, beside what the command line takes for the database.
_JOBS = {"register": frozenset({"NOETL_SERVER_URL", "NOETL_INTERNAL_API_TOKEN"})}


def _values_of(pod: Pod) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in pod.containers[0].get("env", [])}


@cache
def read_by(page: Path = PAGE) -> dict[str, frozenset[str]]:
    """Return the variables that each service reads.

    Args:
        page: the page of settings, which is written from the code and compared with it by
            `make check`.
    """
    found: dict[str, set[str]] = {}
    for section in page.read_text().split("\n## ")[1:]:
        title, _, table = section.partition("\n")
        for line in table.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            names = _NAME.findall(cells[0])
            services = cells[-1].strip(" |").split(", ") if title == _SHARED else [title]
            for service in services if names else ():
                found.setdefault(service, set()).update(names)
    return {service: frozenset(names) for service, names in found.items()}


def _migration_reads() -> frozenset[str]:
    """Return the variables that `noetl-server migrate` and `db-roles` read."""
    address = DatabaseAddress(host="h", port=1, user="u", password="p", database="d")  # noqa: S106 (none)
    tls = {name for name in read_by()["catalog"] if name.startswith("POSTGRES_SSL")}
    passwords = {f"POSTGRES_{service.upper()}_PASSWORD" for service in ROLES}
    return frozenset({*address.environment, *tls, *passwords, "NOETL_SHARDS", "NOETL_CLUSTER_DSN"})


def unread(manifests: Manifests) -> Iterator[str]:
    """Find variables that are read by no service, that are there twice, or that are no texts."""
    for pod in manifests.pods():
        service = pod.labels.get("app.kubernetes.io/component", "")
        reads = _JOBS.get(service) or read_by().get(service) or _migration_reads()
        if service == "worker":
            reads |= manifests.for_tools
        for container in pod.containers:
            variables = container.get("env", [])
            for name, count in Counter(one["name"] for one in variables).items():
                if count > 1:
                    yield f"{pod.place}: {name} is set {count} times"
                if name not in reads and name.removesuffix("_FILE") not in reads:
                    yield f"{pod.place}: {service} reads no {name}"
            for one in variables:
                if "valueFrom" not in one and not isinstance(one.get("value"), str):
                    yield f"{pod.place}: {one['name']} is {one.get('value')!r} and has to be a text"
            yield from (f"{pod.place}: {what}" for what in _order(variables))


def _order(variables: list[Document]) -> Iterator[str]:
    """Find references before their variables: Kubernetes replaces `$(NAME)` only behind them."""
    before: set[str] = set()
    for one in variables:
        for name in _REFERENCE.findall(str(one.get("value", ""))):
            if name not in before:
                yield f"{one['name']} refers to {name}, which doesn't stand before it"
        before.add(one["name"])


def logins(manifests: Manifests) -> Iterator[str]:
    """Find processes that log in under another name than the code knows them by."""
    for pod in manifests.pods():
        service = pod.labels.get("app.kubernetes.io/component", "")
        if service not in {*SERVICES, "worker"}:
            continue
        given = _values_of(pod)
        pool = pod.labels.get("noetl.io/pool", "")
        user = worker_user(pool) if service == "worker" else service
        expected = {"NATS_USER": user, "POSTGRES_USER": ROLES.get(service)}
        if service == "worker":
            expected["WORKER_POOL_NAME"] = pool
        for name, value in expected.items():
            if given.get(name) != value:
                yield f"{pod.place}: {name} is {given.get(name)}, and has to be {value}"


def shards(manifests: Manifests) -> Iterator[str]:
    """Find shard maps that the services refuse, and shards served by none or by two."""
    served: Counter[tuple[str, str]] = Counter()
    counts: set[int] = set()
    for pod in manifests.pods():
        service = pod.labels.get("app.kubernetes.io/component", "")
        given = {name: _FILE.sub("password=", value) for name, value in _values_of(pod).items()}
        try:
            known = len(parse_shards(given.get("NOETL_SHARDS", "")))
            parse_address(given.get("NOETL_CLUSTER_DSN", ""))
        except BadShardMap as error:
            yield f"{pod.place}: {error.message}"
            continue
        count = int(given.get("NOETL_SHARD_COUNT", known or 1))
        if known and known != count:
            yield f"{pod.place}: is told of {count} shards and the databases of {known}"
        if "NOETL_SHARD_INDEX" in given:
            counts.add(count)
            index = given["NOETL_SHARD_INDEX"]
            served[service, index] += 1
            if index != pod.labels.get("noetl.io/shard"):
                yield f"{pod.place}: serves shard {index}, by its labels another"
    for service in _SHARDED:
        for index in map(str, range(max(counts, default=1))):
            if served[service, index] != 1:
                yield f"{service}: {served[service, index]} Deployments serve shard {index}"


def secrets_in_sight(manifests: Manifests) -> Iterator[str]:
    """Find passwords that stand in a manifest, not in a Secret."""
    for pod in manifests.pods():
        for container in pod.containers:
            for one in container.get("env", []):
                name, value = one["name"], str(one.get("value", ""))
                is_secret = name.endswith(("_PASSWORD", "_TOKEN", "_KEY")) and not value.startswith(
                    "/"
                )
                if value and is_secret:
                    yield f"{pod.place}: {name} stands in the manifest"
                if ("://" in value and "@" in value) or _PASSWORD.search(value):
                    yield f"{pod.place}: {name} holds a login"
