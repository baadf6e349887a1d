"""Errors of the bus."""

from noetl_common.errors import Permanent, Transient, Unavailable


class BusUnavailable(Unavailable):
    """No connection, no stream or no acknowledgement in time; the outcome is unknown."""

    template = "the message bus did not take {what}: {reason}"


class BusClosed(BusUnavailable):
    """The client gave the connection up for good; the process has to end."""

    template = "the connection to the message bus is closed: {reason}"


class BusForbidden(BusUnavailable):
    """Our login may not publish there; nothing was sent, and the right may be granted later."""

    template = "the login {user} may not publish {what} on the message bus"


class StreamFull(Transient):
    """The stream holds as much as it may and refuses more."""

    template = "the stream for {what} is full"


class PublishRefused(Permanent):
    """The broker will never store this message."""

    template = "the message bus refuses {what}: {reason}"


class TopologyRefused(Transient):
    """A stream or durable can't be brought to its declared configuration."""

    template = "the message bus refuses the configuration of {what}: {reason}"
