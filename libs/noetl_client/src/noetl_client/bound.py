"""Methods of the clients, made of the functions that describe calls: one declaration for both."""

from collections.abc import Awaitable, Callable
from functools import update_wrapper
from typing import Protocol, Self, overload

from noetl_client.calls.call import Call


class Sender(Protocol):
    """Makes calls, and waits for their answers."""

    def send[Answer](self, call: Call[Answer]) -> Answer:
        """Make a call."""


class AsyncSender(Protocol):
    """Makes calls without blocking."""

    def send[Answer](self, call: Call[Answer]) -> Awaitable[Answer]:
        """Make a call."""


class Sends[**Arguments, Answer]:
    """A method that makes the call which a function describes, with its arguments."""

    def __init__(self, describe: Callable[Arguments, Call[Answer]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, sender: None, _owner: type) -> Self: ...
    @overload
    def __get__(self, sender: Sender, _owner: type) -> Callable[Arguments, Answer]: ...
    def __get__(self, sender: Sender | None, _owner: type) -> Callable[Arguments, Answer] | Self:
        """Return the method of a client."""
        if sender is None:
            return self

        def method(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
            return sender.send(self._describe(*args, **kwargs))

        return update_wrapper(method, self._describe)


class AsyncSends[**Arguments, Answer]:
    """The same for a client that doesn't block."""

    def __init__(self, describe: Callable[Arguments, Call[Answer]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, sender: None, _owner: type) -> Self: ...
    @overload
    def __get__(
        self, sender: AsyncSender, _owner: type
    ) -> Callable[Arguments, Awaitable[Answer]]: ...
    def __get__(
        self, sender: AsyncSender | None, _owner: type
    ) -> Callable[Arguments, Awaitable[Answer]] | Self:
        """Return the method of a client."""
        if sender is None:
            return self

        def method(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Awaitable[Answer]:
            return sender.send(self._describe(*args, **kwargs))

        return update_wrapper(method, self._describe)
