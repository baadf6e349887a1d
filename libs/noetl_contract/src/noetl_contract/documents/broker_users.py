"""Users of the broker: one per service and worker pool, each with the rights it needs.

Computed from what channels and operations declare, so that the rights follow the code. A user is
named like its service, workers like their pool, and has an inbox of its own.
"""

from collections.abc import Iterable
from dataclasses import replace

from noetl_contract import channels, streams
from noetl_contract.channels import Channel
from noetl_contract.documents.broker_logins import (
    DEFAULT_BUCKET,
    DEFAULT_POOLS,
    OPERATOR,
    SERVICES,
    BrokerUser,
    Pool,
    pool_token,
    worker_user,
)
from noetl_contract.json import Json
from noetl_contract.model import Shape
from noetl_contract.rpc import catalog, orchestrator, projector
from noetl_contract.rpc.operation import Operation
from noetl_contract.streams import DurableSpec, StreamSpec, pool_durable
from noetl_contract.subjects import (
    INBOX_ROOT,
    WATCH_HINT,
    IngressKind,
    WriteKind,
    control_subject,
    dead_letter_subject,
    inbox_prefix,
    ingress_any,
    writes_any,
)

type AnyOperation = Operation[Shape, Json]


_API = "$JS.API"
_FOREIGN_INBOX = "_INBOX"
_MACHINES = (catalog.MACHINE_LEASE, catalog.MACHINE_RENEW)
# Operations that services request of each other. The edge requests all, on behalf of its callers.
_ASKS: dict[str, tuple[Operation, ...]] = {  # type: ignore[type-arg]  # each has types of its own
    "orchestrator": (
        *_MACHINES,
        catalog.CONTENT,
        catalog.RESOLVE,
        catalog.PLUGIN_PINS,
        catalog.TRIGGERS,
        catalog.RUNTIME_LIVENESS,
        projector.RESULT_RESOLVE,
        projector.RESULT_PART,
        projector.EXECUTIONS_STATES,
        catalog.CREDENTIAL_PLATFORM,
    ),
    "outbox": (catalog.CREDENTIAL_PLATFORM,),
    "projector": (*_MACHINES, catalog.CREDENTIAL_GET, catalog.CREDENTIAL_PLATFORM),
    "catalog": (*_MACHINES, projector.EXECUTIONS_ORIGIN, projector.EXECUTIONS_STATES),
    "worker": (
        orchestrator.RUNS_OVER,
        projector.RESULT_PUT,
        catalog.RUNTIME_REGISTER,
        catalog.RUNTIME_HEARTBEAT,
        catalog.RUNTIME_DEREGISTER,
    ),
}
_KINDS: dict[str, tuple[IngressKind, ...]] = {
    "api-gateway": (
        "execute",
        "events",
        "cancel",
        "finalize",
        "signal",
        "pause",
        "resume",
        # Reports of workers over HTTP.
        "start",
        "outcome",
    ),
    # Starts are those that ends of executions cause.
    "orchestrator": ("cancel", "execute"),
    "outbox": ("cancel", "finalize", "execute"),
    # Starts of schedules, and cancels for the next firing.
    "catalog": ("execute", "cancel"),
    "worker": ("start", "outcome"),
}
# Writes requested of owners; orchestrators request them of each other for the other senders.
_REQUESTS: dict[str, tuple[WriteKind, ...]] = {
    "catalog": _KINDS["catalog"],
    **{name: (*_KINDS[name], "claim") for name in ("api-gateway", "worker")},
    "orchestrator": (*_KINDS["api-gateway"], "claim"),
}
_UNSTORED = frozenset({"hint", "request"})
# Streams whose messages a service hears as they come, without a durable.
_HEARD = (channels.COMMITS, channels.EVENTS)
# Streams that a service reads through durables.
_READS: dict[str, tuple[StreamSpec, ...]] = {
    "orchestrator": (streams.INGRESS,),
    "projector": (streams.COMMITS,),
    "catalog": (streams.AUDIT,),
}


def broker_users(
    pools: Iterable[Pool] = DEFAULT_POOLS, *, bucket: str = DEFAULT_BUCKET
) -> tuple[BrokerUser, ...]:
    """Return all users of a cluster.

    Args:
        pools: worker pools; each gets a user.
        bucket: bucket of the broker's object store that large results may lie in.
    """
    services = [_service(name, bucket=bucket) for name in SERVICES]
    workers = {worker_user(pool.name): _worker(pool) for pool in pools}.values()
    everything = BrokerUser(OPERATOR, (">",), (">",))
    return (everything, *services, *workers)


def _service(name: str, *, bucket: str) -> BrokerUser:
    publish = [
        *(subject for channel in channels.CHANNELS for subject in _sends(name, channel)),
        *(_subject(operation) for operation in _ASKS.get(name, ())),
        *_looks(*streams.STREAMS),
        *(subject for stream in _READS.get(name, ()) for subject in _reads(stream)),
        # Answers; those to a client of another kind go to the inbox of its library.
        f"{INBOX_ROOT}.>",
        f"{_FOREIGN_INBOX}.>",
    ]
    subscribe = [
        f"{inbox_prefix(name)}.>",
        f"noetl_rpc.{name}.>",
        *(
            _address(channel)
            for channel in channels.CHANNELS
            if name in channel.receivers and (channel.role in _UNSTORED or channel in _HEARD)
        ),
    ]
    match name:
        case "api-gateway":
            publish += ["noetl_rpc.>", f"{_API}.STREAM.MSG.GET.{streams.INGRESS.name}"]
            # Only edges use it, and the first that needs it makes it.
            verbs = ("INFO", "CREATE", "UPDATE", "MSG.GET", "MSG.DELETE")
            publish += [f"{_API}.STREAM.{verb}.{streams.PAGES.name}" for verb in verbs]
        case "orchestrator":
            # The progress of the pools, by which unclaimed commands are judged.
            # Which of them have one durable only, by which commands travel in notifications.
            publish += [
                f"{_API}.CONSUMER.INFO.{streams.COMMANDS.name}.*",
                f"{_API}.CONSUMER.LIST.{streams.COMMANDS.name}",
            ]
        case "outbox":
            # It lists messages that were given up.
            publish.append(f"{_API}.STREAM.MSG.GET.{streams.DEAD.name}")
            # It creates the streams, as it fills them again when they were lost.
            for stream in streams.STREAMS:
                publish += [f"{_API}.STREAM.{verb}.{stream.name}" for verb in ("CREATE", "UPDATE")]
        case "projector":
            publish += _object_store(bucket)
    return BrokerUser(name, tuple(publish), tuple(subscribe))


def _worker(pool: Pool) -> BrokerUser:
    name = worker_user(pool.name)
    durable = pool_durable(pool_token(pool.name))
    durable = replace(durable, name=pool.durable or durable.name)
    publish = [
        *(ingress_any(kind) for kind in _KINDS["worker"]),
        *_requests("worker"),
        *(_subject(operation) for operation in _ASKS["worker"]),
        dead_letter_subject(durable.stream),
        # Of the subscription runtime: messages that nothing can be started with.
        dead_letter_subject("subscriptions"),
        _address(channels.OUTPUT),
        *_looks(streams.COMMANDS),
        *_uses(durable),
    ]
    # No process of ours gets answers in the default inbox.
    inbox = _FOREIGN_INBOX if pool.default_inbox else inbox_prefix(name)
    heard = (f"{inbox}.>", control_subject(pool_token(pool.name)), WATCH_HINT)
    return BrokerUser(name, tuple(publish), heard)


def _sends(service: str, channel: Channel) -> Iterable[str]:
    if service not in channel.senders or channel.address is None:
        return ()
    if channel is channels.INGRESS:
        return tuple(ingress_any(kind) for kind in _KINDS[service])
    if channel is channels.WRITES:
        return _requests(service)
    return (_address(channel),)


def _requests(service: str) -> Iterable[str]:
    return [writes_any(kind) for kind in _REQUESTS[service]]


def _address(channel: Channel) -> str:
    """Return a channel's subject for any values of its parameters."""
    text = channel.address or ""
    return text.format_map(dict.fromkeys(channel.parameters, "*"))


def _subject(operation: Operation) -> str:  # type: ignore[type-arg]
    place = "*" if operation.scope == "shard" else "cluster"
    return f"noetl_rpc.{operation.service}.{place}.{operation.name}"


def _looks(*specs: StreamSpec) -> list[str]:
    return [f"{_API}.STREAM.INFO.{spec.name}" for spec in specs]


def _reads(stream: StreamSpec) -> list[str]:
    """Return the subjects for all operations on a stream's durables but their deletion."""
    name = stream.name
    return [
        f"{_API}.CONSUMER.CREATE.{name}.>",
        f"{_API}.CONSUMER.INFO.{name}.*",
        f"{_API}.CONSUMER.MSG.NEXT.{name}.*",
        f"$JS.ACK.{name}.>",
    ]


def _uses(durable: DurableSpec) -> list[str]:
    """Return the subjects for all operations on one durable but its deletion.

    The filter stands in the subject of the request that creates it, so that the broker holds the
    durable to it.
    """
    place = f"{durable.stream}.{durable.name}"
    return [
        f"{_API}.CONSUMER.CREATE.{place}.{durable.filter_subject}",
        f"{_API}.CONSUMER.INFO.{place}",
        f"{_API}.CONSUMER.MSG.NEXT.{place}",
        f"$JS.ACK.{place}.>",
    ]


def _object_store(bucket: str) -> list[str]:
    name = f"OBJ_{bucket}"
    verbs = ("STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE", "STREAM.PURGE", "STREAM.MSG.GET")
    return [
        *(f"{_API}.{verb}.{name}" for verb in verbs),
        f"{_API}.STREAM.NAMES",
        f"{_API}.DIRECT.GET.{name}.>",
        f"{_API}.CONSUMER.CREATE.{name}.>",
        f"{_API}.CONSUMER.DELETE.{name}.*",
        f"{_API}.CONSUMER.INFO.{name}.*",
        f"$JS.ACK.{name}.>",
        f"$JS.FC.{name}.>",
        f"$O.{bucket}.>",
    ]
