"""Channels other than request/reply: streams and hints, declared for documents and checks.

Request/reply needs none of this: ``noetl_contract.rpc`` declares it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import TypeAdapter

from noetl_contract import streams
from noetl_contract.access.audit import AccessRecords
from noetl_contract.commands import CommandNotification
from noetl_contract.events import CommitMessage, EventMessage
from noetl_contract.hints import (
    AccessHint,
    ChangeHint,
    PubAck,
    ReplicaMoves,
    RunsOverHint,
    WatchHint,
)
from noetl_contract.http.workers.output import OutputBatch
from noetl_contract.ingress import (
    AGAIN_HEADER,
    DEADLINE_HEADER,
    FORWARDED_HEADER,
    NEXT_HEADER,
    REPLY_HEADER,
    STORED_HEADER,
    CancelMessage,
    ClaimMessage,
    CommandOutcomeMessage,
    CommandStartMessage,
    EventsMessage,
    ExecuteMessage,
    FastAnswer,
    FinalizeMessage,
    PauseMessage,
    ResumeMessage,
    SignalMessage,
    StoredMessage,
)
from noetl_contract.json import Json
from noetl_contract.pages import PageHint, PageRequest, PageResult
from noetl_contract.rpc.reply import RpcReply


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of body on a channel.

    Attributes:
        name: unique in the document.
        body: the type of the body.
        summary: one sentence.
        headers: of our own, by name, with one sentence each.
    """

    name: str
    body: TypeAdapter[Json]
    summary: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Channel:
    """A family of subjects.

    Attributes:
        address: the subject; None for an address that only the message names.
        parameters: parts of the address, with one sentence each.
        stream: the stream that stores the messages; None for core NATS.
        senders: services that publish, and `receivers` that read.
    """

    name: str
    address: str | None
    summary: str
    messages: tuple[Message, ...]
    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    stream: str | None = None
    role: Literal["stream", "request", "hint", "reply"] = "stream"


_SHARD = "Number of the shard, from 0."
_EXECUTION = "Id of the execution."
_ID = {"Nats-Msg-Id": "Id by which the broker drops repetitions."}
_NEXT = (
    "The worker has room for a command, which may come with the answer; `2`: also one that names "
    "its workload."
)
_FORWARDED = (
    "A replica has read it from the stream for the owner: how often it was delivered, its sequence "
    "and when it was stored, in nanoseconds. The owner says `102` at once, and answers later."
)
_REPLY = {REPLY_HEADER: "Subject that gets the answer after the commit."}
_INGRESS = {
    **_ID,
    **_REPLY,
    DEADLINE_HEADER: "End of the sender's wait in Unix milliseconds; a later start is dropped.",
    AGAIN_HEADER: "A copy went out before, which may have been committed.",
}
_DEAD = {
    **_ID,
    "Noetl-Dead-Reason": "Why the message was given up.",
    "Noetl-Dead-Subject": "Subject of the original.",
    "Noetl-Dead-Stream": "Stream of the original.",
    "Noetl-Dead-Consumer": "Durable that gave it up.",
    "Noetl-Dead-Sequence": "Number of the original in its stream.",
    "Noetl-Dead-Deliveries": "How often it was delivered.",
    "Noetl-Dead-Message-Id": "Message id of the original.",
    "Noetl-Dead-Cut": "Size of the original, when the copy was cut.",
}

INGRESS = Channel(
    name="ingress",
    address="noetl_ingress.{shard}.{execution_id}.{kind}",
    summary="Everything accepted that must not be lost, until the orchestrator has committed it.",
    messages=(
        Message("execute", TypeAdapter(ExecuteMessage), "Start an execution.", _INGRESS),
        Message("events", TypeAdapter(EventsMessage), "Events posted over HTTP.", _INGRESS),
        Message("cancel", TypeAdapter(CancelMessage), "Cancel an execution.", _INGRESS),
        Message("finalize", TypeAdapter(FinalizeMessage), "End an execution.", _INGRESS),
        Message("signal", TypeAdapter(SignalMessage), "End a wait, or the next.", _INGRESS),
        Message("pause", TypeAdapter(PauseMessage), "Pause an execution.", _INGRESS),
        Message("resume", TypeAdapter(ResumeMessage), "Resume an execution.", _INGRESS),
        Message(
            "command_start", TypeAdapter(CommandStartMessage), "A worker began a command.", _INGRESS
        ),
        Message(
            "command_outcome",
            TypeAdapter(CommandOutcomeMessage),
            "A worker ended a command.",
            _INGRESS,
        ),
        Message(
            "stored",
            TypeAdapter(StoredMessage),
            "A message above the broker's limit, kept in the result store (W13).",
            {**_INGRESS, STORED_HEADER: "Marks this kind of body."},
        ),
    ),
    senders=("api-gateway", "worker", "orchestrator", "outbox", "catalog"),
    receivers=("orchestrator",),
    parameters={
        "shard": _SHARD,
        "execution_id": _EXECUTION,
        "kind": "Kind of the body: `start` and `outcome` of workers, `execute`, `events`, "
        "`cancel`, `finalize`, `signal`, `pause` and `resume` of others.",
    },
    stream=streams.INGRESS.name,
)
WRITES = Channel(
    name="writes",
    address="noetl_write.{shard}.{bucket}.{execution_id}.{kind}",
    summary="Writes that are requested of the replica that owns the bucket of their execution; one "
    "that is not answered soon goes into the ingress stream. Claims don't.",
    messages=(
        *(
            replace(
                message,
                headers={
                    **message.headers,
                    FORWARDED_HEADER: _FORWARDED,
                    **({NEXT_HEADER: _NEXT} if message.name == "command_outcome" else {}),
                },
            )
            for message in INGRESS.messages
        ),
        Message("claim", TypeAdapter(ClaimMessage), "A worker asks for a command.", _REPLY),
    ),
    senders=("api-gateway", "worker", "catalog", "orchestrator"),
    receivers=("orchestrator",),
    parameters={**INGRESS.parameters, "bucket": "Bucket of the execution, from 0 to 255."},
    role="request",
)
EVENTS = Channel(
    name="events",
    address="noetl.events.{tenant}.{organization}.{execution_id}.{shard}",
    summary="Rows of the log after their commit, of the types that outside readers want.",
    messages=(Message("event", TypeAdapter(EventMessage), "One row of the log.", _ID),),
    senders=("orchestrator", "outbox"),
    receivers=("api-gateway",),
    parameters={
        "tenant": "Tenant, `default` if none.",
        "organization": "Organization, `default` if none.",
        "execution_id": _EXECUTION,
        "shard": _SHARD,
    },
    stream=streams.EVENTS.name,
)
COMMITS = Channel(
    name="commits",
    address="noetl_commits.{shard}.{execution_id}",
    summary="What a commit wrote to the log of an execution, for readers of the log. That of a "
    "commit without an outbox row has no id, and may be lost.",
    messages=(Message("commit", TypeAdapter(CommitMessage), "New positions.", _ID),),
    senders=("orchestrator", "outbox"),
    receivers=("projector", "api-gateway"),
    parameters={"shard": _SHARD, "execution_id": _EXECUTION},
    stream=streams.COMMITS.name,
)
OUTPUT = Channel(
    name="output",
    address="noetl_output.{execution_id}",
    summary="Lines that running steps print, while somebody watches; they may be lost.",
    messages=(Message("output_batch", TypeAdapter(OutputBatch), "Lines of one run."),),
    senders=("worker", "api-gateway"),
    receivers=("api-gateway",),
    parameters={"execution_id": _EXECUTION},
    role="hint",
)
_PAGE = {
    "client_id": "Name of the page's connection.",
    "request_id": "Id of the request.",
    "execution_id": _EXECUTION,
}
CHANNELS = (
    INGRESS,
    WRITES,
    Channel(
        name="commands",
        address="noetl.commands.{pool}.{execution_id}",
        summary="Notifications of commands that wait for a worker.",
        messages=(Message("command", TypeAdapter(CommandNotification), "A command to run.", _ID),),
        senders=("orchestrator", "outbox"),
        receivers=("worker",),
        parameters={"pool": "Worker pool.", "execution_id": _EXECUTION},
        stream=streams.COMMANDS.name,
    ),
    EVENTS,
    COMMITS,
    Channel(
        name="dead_letters",
        address="noetl_dead.{origin}",
        summary="Messages that no service can handle, for people.",
        messages=(
            Message("dead_letter", TypeAdapter(Json), "The original body, secrets masked.", _DEAD),
        ),
        senders=("orchestrator", "projector", "catalog", "worker"),
        receivers=(),
        parameters={"origin": "Stream or consumer of the original."},
        stream=streams.DEAD.name,
    ),
    Channel(
        name="access_audit",
        address="noetl_audit.access",
        summary="Decisions of the edges about requests, in batches.",
        messages=(
            Message("access_records", TypeAdapter(AccessRecords), "Decisions, in order.", _ID),
        ),
        senders=("api-gateway",),
        receivers=("catalog",),
        stream=streams.AUDIT.name,
    ),
    Channel(
        name="published",
        address="noetl_hint.published.{shard}.{outbox_id}.{message_id}",
        summary="The broker's acknowledgements of messages that orchestrators published right "
        "after their commit, or the orchestrator's word that all events of a commit are stored; "
        "without one the relay publishes the row.",
        messages=(Message("acknowledgement", TypeAdapter(PubAck), "Stored."),),
        senders=("orchestrator",),
        receivers=("outbox",),
        parameters={
            "shard": _SHARD,
            "outbox_id": "Row of the outbox.",
            "message_id": "Id of its message.",
        },
        role="hint",
    ),
    Channel(
        name="replica_hints",
        address="noetl_hint.moved.{to}",
        summary="Between the orchestrators of a shard: who is there, and what each has committed. "
        "They may be lost, which costs a read.",
        messages=(
            Message("replica_moves", TypeAdapter(ReplicaMoves), "Who is there; moved executions."),
        ),
        senders=("orchestrator",),
        receivers=("orchestrator",),
        parameters={
            "to": "A shard, or `to-<name>` of one orchestrator, where others see that it is alive."
        },
        role="hint",
    ),
    Channel(
        name="runs_over",
        address="noetl_control.{pool}",
        summary="Runs that ended without their worker, which stops their tools; they may be lost.",
        messages=(Message("runs_over", TypeAdapter(RunsOverHint), "Runs to stop."),),
        senders=("orchestrator",),
        receivers=("worker",),
        parameters={"pool": "Worker pool."},
        role="hint",
    ),
    Channel(
        name="pause_hints",
        address="noetl_hint.pauses",
        summary="Pauses have changed, so that orchestrators ask at once; they may be lost.",
        messages=(Message("pause_hint", TypeAdapter(ChangeHint), "Ask for the pauses."),),
        senders=("catalog",),
        receivers=("orchestrator",),
        role="hint",
    ),
    Channel(
        name="access_hints",
        address="noetl_hint.access",
        summary="Keys that hold no longer, so that edges forget them at once; they may be lost.",
        messages=(Message("access_hint", TypeAdapter(AccessHint), "Revoked keys."),),
        senders=("catalog",),
        receivers=("api-gateway",),
        role="hint",
    ),
    Channel(
        name="schedule_hints",
        address="noetl_hint.schedules",
        summary="Changes of schedules, so that no replica sleeps on; they may be lost.",
        messages=(Message("schedule_hint", TypeAdapter(ChangeHint), "Changed schedules."),),
        senders=("catalog",),
        receivers=("catalog",),
        role="hint",
    ),
    Channel(
        name="trigger_hints",
        address="noetl_hint.triggers",
        summary="Triggers have changed, so that orchestrators ask at once; they may be lost.",
        messages=(Message("trigger_hint", TypeAdapter(ChangeHint), "Ask for the triggers."),),
        senders=("catalog",),
        receivers=("orchestrator",),
        role="hint",
    ),
    OUTPUT,
    Channel(
        name="watch_hints",
        address="noetl_hint.watch",
        summary="Executions whose output is watched, so that workers send it; they may be lost.",
        messages=(Message("watch_hint", TypeAdapter(WatchHint), "Watched executions."),),
        senders=("api-gateway",),
        receivers=("worker",),
        role="hint",
    ),
    Channel(
        name="page_requests",
        address="noetl_pages.{client_id}.{request_id}.{execution_id}.{kind}",
        summary="Requests of web pages that wait for results of executions, and the results that "
        "playbooks post, until they are too old.",
        messages=(
            Message("page_request", TypeAdapter(PageRequest), "A page waits.", _ID),
            Message("page_result", TypeAdapter(PageResult), "A playbook has posted.", _ID),
        ),
        senders=("api-gateway",),
        receivers=("api-gateway",),
        parameters={**_PAGE, "kind": "`request` or `result`."},
        stream=streams.PAGES.name,
    ),
    Channel(
        name="page_hints",
        address="noetl_hint.page.{client_id}",
        summary="Something was kept for an open page, or its execution goes on; they may be lost.",
        messages=(Message("page_hint", TypeAdapter(PageHint), "Look, or progress to pass on."),),
        senders=("api-gateway",),
        receivers=("api-gateway",),
        parameters={"client_id": _PAGE["client_id"]},
        role="hint",
    ),
    Channel(
        name="replies",
        address=None,
        summary="Answers, on the inbox subject that a request or ingress message names.",
        messages=(
            Message("reply", TypeAdapter(RpcReply), "The answer to a request or ingress message."),
            Message("fast_answer", TypeAdapter(FastAnswer), "The answer to a start or an outcome."),
            Message(
                "part",
                TypeAdapter(Json),
                "A part of an answer above the broker's limit.",
                {"Noetl-Part": "`<number>/<count>/<size of the whole>`."},
            ),
        ),
        senders=("orchestrator", "catalog", "projector", "outbox", "api-gateway"),
        receivers=("api-gateway", "worker", "orchestrator", "catalog", "projector"),
        role="reply",
    ),
)
"""All of them, in the order of the documents."""
