"""Streams and durables are created with, and kept at, their declared configuration.

The broker's store may be lost at any time, and an external worker that starts first creates streams
and durables with defaults of its client (O5). So every service creates or updates the streams and
durables that it needs, at its start and later; several services may do so at the same time.
A service whose login has no right to do so waits for another service.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.process.measures import measured_by, not_measured
from noetl_common.retry import backoff
from noetl_contract.json import JsonObject
from noetl_contract.streams import STREAMS, DurableSpec, StreamSpec

from noetl_bus import jetstream
from noetl_bus.broker import Bus
from noetl_bus.errors import BusClosed, BusForbidden, BusUnavailable, TopologyRefused
from noetl_bus.jetstream import StreamInfo

_log = get_logger()
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_MOST_FAILURES = 24
_DURABLES = "durables"


async def ensure_topology(
    bus: Bus, streams: Iterable[StreamSpec] = STREAMS, durables: Iterable[DurableSpec] = ()
) -> None:
    """Create or update streams and durables, with retries until it succeeds.

    Several services may do this at the same time. There is no timeout; use ``asyncio.timeout`` if
    one is needed.

    Raises:
        BusClosed: the connection is closed for good.
    """
    async for _ in backoff(
        first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS
    ):
        try:
            for stream in streams:
                await ensure_stream(bus, stream)
            for durable in durables:
                await ensure_durable(bus, durable)
        except BusClosed:
            raise
        except NoetlError as error:
            _log.warning("topology_not_ready", error=error.message)
        else:
            return


async def run_topology_watch(
    bus: Bus,
    streams: Iterable[StreamSpec],
    durables: Iterable[DurableSpec],
    interval: float = 5.0,
    on_stream_recreated: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Keep streams and durables in place until cancelled; check immediately after a reconnect.

    Exports the lag of the durables and sets ``bus.topology_ok`` for readiness. If a stream was
    recreated because its store was lost, ``on_stream_recreated`` is called with its name once all
    streams and durables are in place again.

    Raises:
        TopologyRefused: the broker has refused for too long; the process should end.
        BusClosed: the connection is closed for good.
    """
    watch = _Watch(bus, tuple(streams), tuple(durables), on_stream_recreated)
    wake = asyncio.Event()

    async def check_now() -> None:
        wake.set()

    stop = bus.on_reconnect(check_now)
    try:
        while True:
            wake.clear()
            await bus.wait_connected()
            await watch.check()
            # After a failure, the next check comes sooner, because something is missing.
            pause = interval if watch.failures == 0 else min(interval, 0.5)
            try:
                async with asyncio.timeout(pause):
                    await wake.wait()
            except TimeoutError:
                continue
    finally:
        stop()


async def ensure_stream(bus: Bus, spec: StreamSpec) -> JsonObject:
    """Create or update one stream and return its ``STREAM.INFO``.

    Two properties of an existing stream are kept: its storage, which the broker can't change, and a
    larger number of replicas, which an operator may have chosen.
    """
    declared = _stream_config(spec, replicas=bus.settings.nats_stream_replicas)
    info = await jetstream.call(bus, f"STREAM.INFO.{spec.name}")
    if info is None:
        created = await _create_stream(bus, spec, declared)
        if created is not None and "error" not in created:
            _log.info("stream_created", stream=spec.name)
            return created
        info = await jetstream.call(bus, f"STREAM.INFO.{spec.name}")
        if info is None:
            raise TopologyRefused(what=spec.name, reason="it vanished while it was created")
    existing = info["config"]
    wanted = {**existing, **declared}
    wanted["storage"] = existing["storage"]
    wanted["num_replicas"] = max(existing.get("num_replicas", 1), declared["num_replicas"])
    if _differs(existing, wanted):
        if f"STREAM.UPDATE.{spec.name}" in bus.forbidden:
            return info
        try:
            updated = await jetstream.call(bus, f"STREAM.UPDATE.{spec.name}", wanted)
        except BusForbidden:
            bus.forbidden.add(f"STREAM.UPDATE.{spec.name}")
            return info
        if updated is None:
            raise TopologyRefused(what=spec.name, reason="it vanished while it was updated")
        _log.info("stream_updated", stream=spec.name)
        return updated
    return info


async def _create_stream(bus: Bus, spec: StreamSpec, declared: JsonObject) -> JsonObject | None:
    """Create a stream; the answer contains an error if another service has just created it.

    Raises:
        BusUnavailable: the login has no right to create it, so another service has to.
    """
    operation = f"STREAM.CREATE.{spec.name}"
    missing = BusUnavailable(
        what=spec.name, reason="it is missing, and the login may not create it"
    )
    if operation in bus.forbidden:
        raise missing
    try:
        return await jetstream.call(bus, operation, declared, allow=(10058,))
    except BusForbidden:
        bus.forbidden.add(operation)
        raise missing from None


async def ensure_durable(
    bus: Bus, spec: DurableSpec, *, seconds: float = jetstream.SECONDS
) -> JsonObject:
    """Create or update one durable pull consumer and return its ``CONSUMER.INFO``.

    ``seconds`` is the timeout of the request that reads the existing durable.
    """
    declared = _durable_config(spec)
    operation = f"CONSUMER.INFO.{spec.stream}.{spec.name}"
    info = await jetstream.call(bus, operation, seconds=seconds)
    if info is None:
        config = {
            **declared,
            "durable_name": spec.name,
            "name": spec.name,
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "replay_policy": "instant",
            "max_waiting": spec.max_waiting,
        }
        _log.info("durable_created", stream=spec.stream, durable=spec.name)
        return await _put_durable(bus, spec, config)
    existing = info["config"]
    wanted = {**existing, **declared}
    if existing.get("filter_subjects"):
        wanted.pop("filter_subjects")
    if _differs(existing, wanted):
        _log.info("durable_updated", stream=spec.stream, durable=spec.name)
        return await _put_durable(bus, spec, wanted)
    return info


async def _put_durable(bus: Bus, spec: DurableSpec, config: JsonObject) -> JsonObject:
    # The subject contains the filter, so that a right to create durables can be limited to it.
    info = await jetstream.call(
        bus,
        f"CONSUMER.CREATE.{spec.stream}.{spec.name}.{config['filter_subject']}",
        {"stream_name": spec.stream, "config": config},
    )
    if info is None:
        raise BusUnavailable(what=spec.name, reason=f"the stream {spec.stream} is missing")
    return info


class _Watch:
    """The state of the watch between two checks."""

    def __init__(
        self,
        bus: Bus,
        streams: tuple[StreamSpec, ...],
        durables: tuple[DurableSpec, ...],
        on_stream_recreated: Callable[[str], Awaitable[None]] | None,
    ) -> None:
        self._bus = bus
        self._streams = streams
        self._durables = durables
        self._on_stream_recreated = on_stream_recreated
        self._known: dict[str, StreamInfo] = {}
        # Recreated streams that are not reported yet; a failed check reports none.
        self._recreated: dict[str, None] = {}
        self.failures = 0
        labels = ("stream", "consumer")
        self._pending = metrics.gauge(
            "noetl_consumer_pending", "Messages that are not delivered yet.", labels
        )
        self._unacked = metrics.gauge(
            "noetl_consumer_ack_pending", "Messages that are delivered but not answered.", labels
        )
        self._redelivered = metrics.gauge(
            "noetl_consumer_redelivered",
            "Unanswered messages that were delivered more than once.",
            labels,
        )
        measured_by(_DURABLES)

    async def check(self) -> None:
        """Create missing streams and durables, export the lag, and report recreated streams."""
        try:
            for spec in self._streams:
                if await self._is_recreated(spec):
                    self._recreated[spec.name] = None
            for durable in self._durables:
                self._export(durable, await ensure_durable(self._bus, durable))
        except (BusClosed, asyncio.CancelledError):
            raise
        except NoetlError as error:
            if self._durables:
                self._forget_lag()
            self._failed(error)
            return
        self.failures = 0
        self._bus.topology_ok = True
        for name in tuple(self._recreated):
            _log.warning("stream_recreated", stream=name)
            if self._on_stream_recreated is not None:
                await self._on_stream_recreated(name)
            del self._recreated[name]

    async def _is_recreated(self, spec: StreamSpec) -> bool:
        now = StreamInfo.of(await ensure_stream(self._bus, spec))
        before = self._known.get(spec.name)
        self._known[spec.name] = now
        return before is not None and (
            now.created_at != before.created_at or now.last_sequence < before.last_sequence
        )

    def _failed(self, error: NoetlError) -> None:
        if not self._bus.is_connected:
            return
        self.failures += 1
        self._bus.topology_ok = False
        _log.warning("topology_not_ready", error=error.message, failures=self.failures)
        if self.failures >= _MOST_FAILURES:
            raise TopologyRefused(what="streams and durables", reason=error.message) from error

    def _forget_lag(self) -> None:
        """Clear the lag metrics of this watch's durables."""
        not_measured(_DURABLES)
        for spec in self._durables:
            for one in (self._pending, self._unacked, self._redelivered):
                one.remove(spec.stream, spec.name)

    def _export(self, spec: DurableSpec, info: JsonObject) -> None:
        self._pending.labels(spec.stream, spec.name).set(info.get("num_pending", 0))
        self._unacked.labels(spec.stream, spec.name).set(info.get("num_ack_pending", 0))
        self._redelivered.labels(spec.stream, spec.name).set(info.get("num_redelivered", 0))


def _stream_config(spec: StreamSpec, *, replicas: int) -> JsonObject:
    return {
        "name": spec.name,
        "subjects": list(spec.subjects),
        "retention": spec.retention,
        "discard": spec.discard,
        "storage": "file",
        "num_replicas": replicas,
        "max_age": _ns(spec.max_age) if spec.max_age else 0,
        "max_bytes": -1 if spec.max_bytes is None else spec.max_bytes,
        "max_msgs": -1,
        "max_msg_size": -1,
        "max_consumers": -1,
        "duplicate_window": _ns(spec.duplicate_window),
        "no_ack": False,
    }


def _durable_config(spec: DurableSpec) -> JsonObject:
    return {
        "filter_subject": spec.filter_subject,
        "ack_wait": _ns(spec.ack_wait),
        "max_deliver": spec.max_deliver,
        "max_ack_pending": spec.max_ack_pending,
    }


def _differs(existing: JsonObject, wanted: JsonObject) -> bool:
    """Return whether two configurations differ; the broker omits empty values."""
    keys = existing.keys() | wanted.keys()
    return any((existing.get(key) or None) != (wanted.get(key) or None) for key in keys)


def _ns(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1000
