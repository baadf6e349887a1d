"""Checks of the broker: streams, durables and dead letters."""

import re
from collections.abc import Iterator

from noetl_bus.broker import Bus
from noetl_bus.errors import BusForbidden, TopologyRefused
from noetl_bus.jetstream import ConsumerInfo, consumer_info, get_message, has_failed, stream_info
from noetl_contract.streams import (
    DEAD,
    STREAMS,
    DurableSpec,
    audit_durable,
    ingress_durable,
    projector_durable,
)

from noetl.doctor.finding import Finding
from noetl.doctor.words import counted

_LAGGING = 1000
_REDELIVERED = 100
_LETTERS_SHOWN = 5
_REASON = re.compile(rb"Noetl-Dead-(Reason|Subject): ?([^\r\n]*)")


async def look_at_broker(bus: Bus, *, shards: int) -> list[Finding]:
    """Look at streams, at the durables of services, and at dead letters.

    Raises:
        NoetlError: the broker doesn't answer any more.
    """
    findings: list[Finding] = []
    missing = set()
    for spec in STREAMS:
        found = await stream_info(bus, spec.name)
        if found is None:
            missing.add(spec.name)
            findings.append(Finding("stream_missing", spec.name, f"no stream {spec.name}"))
            continue
        if await _has_failed(bus, spec.name):
            text = f"{spec.name} stores nothing since a write to the broker's disk failed"
            findings.append(Finding("stream_failed", spec.name, text))
        if spec is DEAD and found.messages:
            text = f"{counted(found.messages, 'dead letter')} in {spec.name}"
            details = await _letters(bus, last=found.last_sequence)
            findings.append(Finding("dead_letters", spec.name, text, details))
    for durable in _durables(shards):
        if durable.stream not in missing:
            info = await consumer_info(bus, durable.stream, durable.name)
            findings += _durable(durable, info)
    return findings


async def _has_failed(bus: Bus, stream: str) -> bool:
    """Return whether a stream takes nothing any more, as far as this login may know."""
    try:
        return await has_failed(bus, stream)
    except (BusForbidden, TopologyRefused):
        return False


def _durables(shards: int) -> Iterator[DurableSpec]:
    yield audit_durable()
    for shard in range(shards):
        yield ingress_durable(shard)
        yield projector_durable(shard)


def _durable(spec: DurableSpec, info: ConsumerInfo | None) -> Iterator[Finding]:
    place = f"{spec.stream}/{spec.name}"
    if info is None:
        # The audit's is made where callers must log in.
        if spec != audit_durable():
            yield Finding("durable_missing", place, f"no durable {place}")
        return
    if info.pending > _LAGGING:
        text = f"{counted(info.pending, 'message')} wait for {place}"
        yield Finding("consumer_lagging", place, text)
    if info.redelivered > _REDELIVERED:
        text = f"{counted(info.redelivered, 'message')} of {place} delivered more than once"
        yield Finding("consumer_redelivering", place, text)


async def _letters(bus: Bus, *, last: int) -> tuple[str, ...]:
    """Return subject and reason of the newest dead letters."""
    shown = []
    for sequence in range(last, max(0, last - _LETTERS_SHOWN), -1):
        message = await get_message(bus, DEAD.name, sequence)
        if message is not None:
            about = {name: text.decode(errors="replace") for name, text in _about(message.headers)}
            subject, reason = about.get("Subject", message.subject), about.get("Reason", "")
            shown.append(f"{sequence}: {subject}: {reason}")
    return tuple(shown)


def _about(headers: bytes) -> Iterator[tuple[str, bytes]]:
    for name, text in _REASON.findall(headers):
        yield name.decode(), text
