"""Kafka: a topic as a consumer group reads it."""

import contextlib
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from noetl_contract.json import Json
from noetl_contract.subscriptions.messages import Message, decoded_body, headers_of

from noetl_worker.sources.source import (
    SourceAway,
    Taken,
    WrongSource,
    about,
    client_of,
    required,
    text,
)

_KIND = "kafka"
_LONGEST_HOLD_MS = 3_600_000
_REQUEST_MS = 10_000


class KafkaSource:
    """Read a topic; an offset is committed once everything before it is settled."""

    def __init__(self, config: Mapping[str, Json], *, servers: list[str]) -> None:
        self._config = config
        self._servers = servers
        self._topic = required(config, "topic", source=_KIND)
        self._group = required(config, "group", source=_KIND)
        self._library = client_of("aiokafka", extra=_KIND)
        errors: Any = client_of("aiokafka.errors", extra=_KIND)
        self._broken: tuple[type[Exception], ...] = (errors.KafkaError, OSError, TimeoutError)
        self._rebalanced: tuple[type[Exception], ...] = (
            errors.CommitFailedError,
            errors.IllegalStateError,
        )
        self._consumer: Any = None
        self._producer: Any = None
        # Of each partition: offsets that are not settled, in order, then those that are.
        self._open: dict[Any, dict[int, bool]] = {}

    async def open(self) -> None:
        """Join the group."""
        library = self._library
        consumer = library.AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            client_id=f"noetl-{uuid4().hex[:8]}",
            max_poll_interval_ms=_LONGEST_HOLD_MS,
            request_timeout_ms=_REQUEST_MS,
            **self._security(),
        )
        consumer.subscribe([self._topic], listener=_Assignments(self._open, library))
        self._consumer = consumer
        try:
            await consumer.start()
        except self._broken as error:
            await self.close()
            raise _away(error) from error

    def _security(self) -> dict[str, Any]:
        config = self._config
        protocol = (text(config, "security_protocol") or "PLAINTEXT").upper()
        found: dict[str, Any] = {"security_protocol": protocol}
        if protocol.endswith("SSL"):
            found["ssl_context"] = ssl.create_default_context()
        user = text(config, "username") or text(config, "user")
        if user is not None:
            found |= {
                "sasl_mechanism": text(config, "sasl_mechanism") or "PLAIN",
                "sasl_plain_username": user,
                "sasl_plain_password": text(config, "password") or "",
            }
            if not protocol.startswith("SASL"):
                raise WrongSource(
                    "subscription[kafka]: a user needs security_protocol SASL_SSL or SASL_PLAINTEXT"
                )
        return found

    async def fetch(self, most: int, seconds: float) -> list[Taken]:
        """Take records of all partitions of ours."""
        try:
            found = await self._consumer.getmany(timeout_ms=int(seconds * 1000), max_records=most)
        except self._broken as error:
            raise _away(error) from error
        taken = []
        for partition, records in found.items():
            known = self._open.setdefault(partition, {})
            for record in records:
                known[record.offset] = False
                taken.append(self._taken(partition, record))
        return taken

    def _taken(self, partition: Any, record: Any) -> Taken:
        body = record.value or b""
        data, notes = decoded_body(body)
        pairs = [
            (name, (value or b"").decode("utf-8", "replace")) for name, value in record.headers
        ]
        place = f"{record.topic}:{record.partition}:{record.offset}"
        message = Message(
            id=place,
            data=data,
            headers=headers_of(pairs),
            metadata=about(
                source=_KIND,
                mode="pull",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                key=None if record.key is None else record.key.decode("utf-8", "replace"),
                timestamp=record.timestamp,
            )
            | notes,
        )
        # The time: a topic that was made again counts from zero.
        return Taken(
            message=message,
            identity=f"kafka:{place}:{record.timestamp}",
            handle=(partition, record.offset),
            size=len(body),
        )

    async def ack(self, taken: Sequence[Taken]) -> None:
        """Commit as far as everything is settled."""
        touched = set()
        for one in taken:
            partition, offset = one.handle
            known = self._open.get(partition)
            # One of a partition that is another's now comes again there.
            if known is not None and offset in known:
                known[offset] = True
                touched.add(partition)
        commits = {}
        for partition in touched:
            known = self._open[partition]
            while known and known[first := next(iter(known))]:
                del known[first]
                commits[partition] = first + 1
        if not commits:
            return
        try:
            await self._consumer.commit(commits)
        except self._rebalanced:
            self._open.clear()
        except self._broken as error:
            raise _away(error) from error

    async def hold(self, taken: Sequence[Taken]) -> None:
        """Do nothing: the group hears of us in the background."""

    async def give_back(self, taken: Sequence[Taken]) -> None:
        """Read again from the first record that is not settled."""
        for partition in {one.handle[0] for one in taken}:
            known = self._open.pop(partition, {})
            waiting = [offset for offset, is_settled in known.items() if not is_settled]
            if waiting:
                with contextlib.suppress(*self._rebalanced):
                    self._consumer.seek(partition, min(waiting))

    async def publish(self, to: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a record, and hear that it is stored."""
        pairs = [(name, value.encode()) for name, value in headers.items()]
        try:
            if self._producer is None:
                producer = self._library.AIOKafkaProducer(
                    bootstrap_servers=self._servers, acks="all", **self._security()
                )
                await producer.start()
                self._producer = producer
            await self._producer.send_and_wait(to, body, headers=pairs)
        except self._broken as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Leave the group."""
        for client in (self._consumer, self._producer):
            if client is not None:
                with contextlib.suppress(*self._broken):
                    await client.stop()
        self._consumer = self._producer = None


def _Assignments(open_: dict[Any, dict[int, bool]], library: Any) -> Any:  # noqa: N802 -- a class
    """Return a listener that forgets the records of partitions that others read now."""

    class Assignments(library.ConsumerRebalanceListener):  # type: ignore[misc]
        def on_partitions_revoked(self, revoked: Any) -> None:
            for partition in revoked:
                open_.pop(partition, None)

        def on_partitions_assigned(self, assigned: Any) -> None:
            for partition in assigned:
                open_.pop(partition, None)

    return Assignments()


def _away(error: BaseException) -> SourceAway:
    return SourceAway(str(error) or type(error).__name__)
