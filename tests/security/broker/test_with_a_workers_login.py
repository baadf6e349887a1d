"""An attacker has the broker login of a pool's workers: the limits that the server sets.

The table is the list of attempts. Each is made with the login that the local stack gives to its
workers, against the running stack, and refused by the broker itself.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import nats
import pytest
from noetl.stack.datadir import DataDirectory
from noetl.stack.servers.nats import nats_address
from noetl.stack.servers.nats_probe import NatsProbe, NatsProbeError
from noetl_bus import jetstream
from noetl_bus.broker import Bus, connect
from noetl_bus.errors import BusForbidden, TopologyRefused
from noetl_contract.streams import COMMANDS, INGRESS, STREAMS, ingress_durable, pool_durable
from noetl_testkit.bus import nats_settings
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

OWN = pool_durable("shared")
OTHER = pool_durable("system")
STREAM_VERBS = ("CREATE", "UPDATE", "DELETE", "PURGE", "MSG.GET", "MSG.DELETE", "SNAPSHOT")


@dataclass(frozen=True)
class Attempt:
    """A message that the worker's login must not be able to send."""

    what: str
    subject: str
    body: bytes = b"{}"


def _read_of(pool: str) -> bytes:
    config = {
        "durable_name": OWN.name,
        "name": OWN.name,
        "filter_subject": f"noetl.commands.{pool}.>",
    }
    return json.dumps({"stream_name": OWN.stream, "config": config}).encode()


ATTEMPTS = [
    Attempt(
        "read a secret",
        "noetl_rpc.catalog.cluster.credential.get",
        b'{"identifier": "pg_local", "include_data": true}',
    ),
    Attempt("read a keychain entry", "noetl_rpc.catalog.cluster.keychain.get"),
    Attempt("read a secret as another worker", "noetl_rpc.catalog.cluster.credential.sealed"),
    Attempt("store a secret", "noetl_rpc.catalog.cluster.credential.create"),
    Attempt("make an API key", "noetl_rpc.catalog.cluster.auth.key_create"),
    Attempt("register a playbook", "noetl_rpc.catalog.cluster.register"),
    Attempt("learn who the workers are", "noetl_rpc.catalog.cluster.runtime.liveness"),
    Attempt("learn what pools there are", "noetl_rpc.catalog.cluster.runtime.pools"),
    Attempt("take a machine id", "noetl_rpc.catalog.cluster.machine.lease"),
    Attempt("run SQL", "noetl_rpc.projector.0.sql.execute", b'{"query": "select 1"}'),
    Attempt("read an execution", "noetl_rpc.projector.0.executions.get"),
    Attempt("write rows of the log", "noetl_rpc.orchestrator.0.log.post"),
    Attempt("mark rows as published", "noetl_rpc.outbox.0.mark.published"),
    Attempt("start an execution", "noetl_ingress.0.7.execute"),
    Attempt("cancel an execution", "noetl_ingress.0.7.cancel"),
    Attempt("finalize an execution", "noetl_ingress.0.7.finalize"),
    Attempt("post events as the edge does", "noetl_ingress.0.7.events"),
    Attempt("publish without a kind", "noetl_ingress.0.7"),
    Attempt("give a command to its own pool", "noetl.commands.shared.7"),
    Attempt("give a command to another pool", "noetl.commands.system.7"),
    Attempt("tell an event", "noetl.events.default.default.7.0"),
    Attempt("have rows marked as published", "noetl_hint.published.0.1.c:1:0", b"{}"),
    Attempt("tell replicas of commits", "noetl_hint.moved.0"),
    Attempt("have the edges forget keys", "noetl_hint.access"),
    Attempt("say that somebody watches", "noetl_hint.watch"),
    Attempt("forge the access audit", "noetl_audit.access"),
    Attempt("answer a request of the edge", "_INBOX_noetl.api-gateway.x.1"),
    Attempt(
        "pull another pool's commands", f"$JS.API.CONSUMER.MSG.NEXT.{COMMANDS.name}.{OTHER.name}"
    ),
    Attempt("acknowledge another pool's", f"$JS.ACK.{COMMANDS.name}.{OTHER.name}.1.1.1.1.0"),
    Attempt("end another pool's durable", f"$JS.API.CONSUMER.DELETE.{COMMANDS.name}.{OTHER.name}"),
    Attempt("end its own durable", f"$JS.API.CONSUMER.DELETE.{COMMANDS.name}.{OWN.name}"),
    Attempt("list durables", f"$JS.API.CONSUMER.LIST.{COMMANDS.name}"),
    Attempt(
        "make a durable of its own on all commands",
        f"$JS.API.CONSUMER.CREATE.{COMMANDS.name}.mine.noetl.commands.>",
    ),
    Attempt(
        "make a durable without a filter in the subject",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{COMMANDS.name}.{OWN.name}",
        _read_of("system"),
    ),
    Attempt(
        "read the ingress",
        f"$JS.API.CONSUMER.CREATE.{INGRESS.name}.mine.noetl_ingress.>",
    ),
    Attempt(
        "pull the ingress",
        f"$JS.API.CONSUMER.MSG.NEXT.{INGRESS.name}.{ingress_durable(0).name}",
    ),
    Attempt("list streams", "$JS.API.STREAM.NAMES"),
    Attempt("make a stream that catches secrets", "$JS.API.STREAM.CREATE.mine"),
    *(
        Attempt(f"{verb.lower()} a stream", f"$JS.API.STREAM.{verb}.{stream.name}")
        for stream in STREAMS
        for verb in STREAM_VERBS
    ),
]  # fmt: skip
SUBSCRIPTIONS = [
    ">",
    "_INBOX.>",
    "_INBOX_noetl.>",
    "_INBOX_noetl.api-gateway.>",
    "noetl_rpc.>",
    "noetl_rpc.catalog.cluster.credential.get",
    "noetl.commands.>",
    "noetl.commands.system.>",
    "noetl.events.>",
    "noetl_ingress.>",
    "noetl_hint.>",
    "$JS.>",
    "$SYS.>",
]


def url_of(stack: Stack, user: str) -> str:
    """Return the broker's address with the login of a user of the stack."""
    identity = DataDirectory(stack.data).identity()
    return nats_address(user, identity.nats_users[user], port=identity.ports["nats"])


@pytest.fixture
async def worker(nats_stack: Stack) -> AsyncIterator[Bus]:
    settings = nats_settings(url_of(nats_stack, "worker-shared"))
    async with connect(settings, name="attacker") as bus:
        yield bus


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.what)
async def test_a_message_is_refused(worker: Bus, attempt: Attempt) -> None:
    with pytest.raises(BusForbidden):
        await worker.request(attempt.subject, attempt.body, seconds=PATIENCE_SECONDS)


@pytest.mark.parametrize("subject", SUBSCRIPTIONS)
async def test_a_subscription_is_refused(nats_stack: Stack, subject: str) -> None:
    refused: list[str] = []

    async def on_error(error: Exception) -> None:
        refused.append(str(error))

    client = await nats.connect(
        url_of(nats_stack, "worker-shared"), error_cb=on_error, allow_reconnect=False
    )
    try:
        await client.subscribe(subject)
        await eventually(lambda: refused, what="the broker answers")
    finally:
        await client.close()

    assert "permissions violation for subscription" in refused[0]


async def test_the_durable_of_the_pool_takes_no_other_filter(worker: Bus) -> None:
    """The subject is the permitted one, the body asks for the commands of another pool."""
    subject = f"CONSUMER.CREATE.{OWN.stream}.{OWN.name}.{OWN.filter_subject}"
    with pytest.raises(TopologyRefused, match="filtered subject"):
        await jetstream.call(worker, subject, json.loads(_read_of("system")))


def test_the_broker_has_no_anonymous_user(nats_stack: Stack) -> None:
    port = DataDirectory(nats_stack.data).identity().ports["nats"]
    with (
        pytest.raises(NatsProbeError, match="Authorization Violation"),
        NatsProbe(f"nats://127.0.0.1:{port}"),
    ):
        pass


async def test_what_a_worker_needs_is_allowed(worker: Bus) -> None:
    stream = await jetstream.stream_info(worker, COMMANDS.name)
    durable = await jetstream.consumer_info(worker, COMMANDS.name, OWN.name)

    assert stream is not None
    assert durable is not None
    assert durable.filters == (OWN.filter_subject,)
