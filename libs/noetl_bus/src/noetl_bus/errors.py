"""Errors of the bus."""

from noetl_common.errors import Permanent, Transient, Unavailable


class BusUnavailable(Unavailable):
    """There is no connection, no stream or no acknowledgement in time; the outcome is unknown."""

    template = "the message bus did not accept {what}: {reason}"


class BusClosed(BusUnavailable):
    """The client has closed the connection for good; the process has to end."""

    template = "the connection to the message bus is closed: {reason}"


class BusForbidden(BusUnavailable):
    """The login has no right to publish there; nothing was sent, and a retry may succeed later."""

    template = "the login {user} may not publish {what} on the message bus"


class StreamFull(Transient):
    """The stream has reached its limit and rejects messages."""

    template = "the stream for {what} is full"


class PublishRefused(Permanent):
    """The broker will never store this message."""

    template = "the message bus refuses {what}: {reason}"


class TopologyRefused(Transient):
    """A stream or durable can't be created with, or changed to, its declared configuration."""

    template = "the message bus refuses the configuration of {what}: {reason}"
