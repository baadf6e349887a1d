"""A call: the fields that operations read, and the connection that they run on."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from nats.js import JetStreamContext
from nats.js.errors import BadBucketError, BucketNotFoundError, InvalidBucketNameError
from nats.js.kv import KeyValue
from nats.js.object_store import ObjectStore
from noetl_contract.json import Json, JsonObject

from noetl_worker import jsonb
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.tool import ToolError

type Operation = Callable[["Call"], Awaitable[JsonObject]]
"""Reads its fields, connects, acts."""


@dataclass(slots=True)
class Call:
    """One call of the tool."""

    fields: Fields
    operation: str
    most: int
    connect: Callable[[], Awaitable[JetStreamContext]]
    """Connect; called once the fields are read, which may be wrong."""
    variables: Mapping[str, Json] = field(default_factory=dict)
    """Template variables; some operations look values up without rendering them."""
    waits: float = 0.0
    """Seconds that the operation waits on purpose."""

    def required(self, name: str, *, by: str | None = None) -> str:
        """Return a text that the operation can't do without.

        Raises:
            ToolError: it is missing or empty.
        """
        value = self.fields.optional_text(name)
        if not value:
            who = by or self.operation
            raise ToolError("Configuration error", f"{who} requires '{name}'")
        return value

    def bucket(self) -> str:
        """Return the name of the bucket."""
        return self.required("bucket", by="NATS KV/Object operation")

    async def keys(self, bucket: str) -> KeyValue:
        """Open a bucket of keys."""
        try:
            return await (await self.connect()).key_value(bucket)
        except (BucketNotFoundError, InvalidBucketNameError, BadBucketError) as error:
            raise _no_bucket("KV bucket", bucket, error) from error

    async def objects(self, bucket: str) -> ObjectStore:
        """Open a bucket of objects."""
        try:
            return await (await self.connect()).object_store(bucket)
        except (BucketNotFoundError, InvalidBucketNameError) as error:
            raise _no_bucket("Object Store bucket", bucket, error) from error


def _no_bucket(what: str, bucket: str, error: Exception) -> ToolError:
    reason = "not a valid name"
    if isinstance(error, BucketNotFoundError):
        reason = "not found"
    elif isinstance(error, BadBucketError):
        reason = "it is no bucket of keys"
    return ToolError("Execution failed", f"Cannot open {what} '{bucket}': {reason}")


def decoded(data: bytes | None) -> Json:
    """Return JSON if it is that, else the text."""
    data = data or b""
    return jsonb.parsed(data, data.decode("utf-8", "replace"))


def bytes_of(value: Json) -> bytes:
    """Return a text as it is, anything else as JSON."""
    return value.encode() if isinstance(value, str) else jsonb.encode(value)
