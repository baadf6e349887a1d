"""Streams: each operation reads its fields before it connects."""

import asyncio

from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NotFoundError
from noetl_contract.json import JsonObject

from noetl_worker.tools.nats.call import Call, Operation, bytes_of, decoded
from noetl_worker.tools.tool import ToolError

_LARGEST_BATCH = 1000
_LONGEST_WAIT_MS = 5000
_ACK_SECONDS = 5


async def _js_publish(call: Call) -> JsonObject:
    subject = call.required("subject")
    data = bytes_of(call.fields.required_value("data", by=call.operation))
    headers = call.fields.texts("headers") or None
    ack = await (await call.connect()).publish(subject, data, headers=headers)
    return {"stream": ack.stream, "seq": ack.seq, "duplicate": bool(ack.duplicate)}


async def _js_consume(call: Call) -> JsonObject:
    batch = call.fields.optional_unsigned("batch")
    wait = call.fields.optional_unsigned("timeout_ms")
    batch = min(max(100 if batch is None else batch, 1), _LARGEST_BATCH)
    wait = min(max(1000 if wait is None else wait, 1), _LONGEST_WAIT_MS)
    call.waits = wait / 1000
    ack = call.fields.flag("ack", default=True)
    stream, consumer = call.required("stream"), call.required("consumer")
    js = await call.connect()
    try:
        await js.stream_info(stream)
    except NotFoundError as error:
        message = f"js_consume: stream '{stream}' not found: {error.description}"
        raise ToolError("Execution failed", message) from error
    try:
        info = await js.consumer_info(stream, consumer)
    except NotFoundError as error:
        message = f"js_consume: consumer '{consumer}' of stream '{stream}' not found"
        raise ToolError("Execution failed", f"{message}: {error.description}") from error
    if info.config.deliver_subject:
        message = f"js_consume: consumer '{consumer}' pushes; only one that is pulled can be used"
        raise ToolError("Execution failed", message)
    subscription = await js.pull_subscribe_bind(consumer, stream, pending_bytes_limit=call.most)
    try:
        found = await subscription.fetch(batch, timeout=call.waits)
    except (NatsTimeoutError, TimeoutError):
        found = []
    messages = []
    for one in found:
        meta = one.metadata
        messages.append(
            {
                "subject": one.subject,
                "stream_seq": meta.sequence.stream,
                "consumer_seq": meta.sequence.consumer,
                "delivered": meta.num_delivered,
                "pending": meta.num_pending,
                "data": decoded(one.data),
                "headers": dict(one.headers or {}),
            }
        )
    if ack:
        # Confirmed: what is reported as taken must not come again.
        await asyncio.gather(*(one.ack_sync(timeout=_ACK_SECONDS) for one in found))
    return {
        "stream": stream,
        "consumer": consumer,
        "count": len(messages),
        "messages": messages,
        "acked": ack,
    }


async def _js_get_msg(call: Call) -> JsonObject:
    stream = call.required("stream")
    seq = call.fields.optional_unsigned("seq")
    subject = call.fields.optional_text("subject")
    last = call.fields.flag("last", default=False)
    if seq is None and not subject and not last:
        raise ToolError(
            "Configuration error", "js_get_msg requires 'seq', 'subject' or 'last: true'"
        )
    js = await call.connect()
    if seq is None and not subject:
        info = await js.stream_info(stream)
        seq = info.state.last_seq
    message = await js.get_msg(stream, seq=seq, subject=None if seq else subject)
    return {
        "stream": stream,
        "subject": message.subject,
        "seq": message.seq,
        "data": decoded(message.data),
    }


async def _js_stream_info(call: Call) -> JsonObject:
    stream = call.required("stream")
    info = await (await call.connect()).stream_info(stream)
    config, state = info.config, info.state
    return {
        "stream": stream,
        "config": {
            "name": config.name,
            "subjects": config.subjects,
            "max_msgs": config.max_msgs,
            "max_bytes": config.max_bytes,
        },
        "state": {
            name: getattr(state, name)
            for name in ("messages", "bytes", "first_seq", "last_seq", "consumer_count")
        },
    }


STREAM_OPERATIONS: dict[str, Operation] = {
    "js_publish": _js_publish,
    "js_consume": _js_consume,
    "js_get_msg": _js_get_msg,
    "js_stream_info": _js_stream_info,
}
