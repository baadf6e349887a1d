"""Descriptors that turn a function into a method of both clients.

A method of several calls is an asynchronous function over a wire. The wire of the blocking client
never waits for an event loop, so such a function runs to its end without one.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import suppress
from functools import update_wrapper
from types import MethodType
from typing import Any, Concatenate, Self, cast, overload

from noetl_client.calls.call import Call
from noetl_client.wires import AsyncWire, BlockingWire, Wire


class Bound[W: Wire]:
    """Base class of objects whose methods make calls over a wire."""

    def __init__(self, wire: W) -> None:
        self.wire = wire


type _Blocking = Bound[BlockingWire]
type _Async = Bound[AsyncWire]
type Flow[**Arguments, Result] = Callable[Concatenate[Wire, Arguments], Coroutine[Any, Any, Result]]
type Source[**Arguments, Item] = Callable[Concatenate[Wire, Arguments], AsyncGenerator[Item]]


class Does[**Arguments, Result]:
    """A method that calls an asynchronous function over a wire."""

    def __init__(
        self,
        flow: Flow[Arguments, Result],
        *,
        shown: Callable[Arguments, object] | None = None,
    ) -> None:
        self._flow = flow
        self._shown = shown
        self.__doc__ = (shown or flow).__doc__

    @overload
    def __get__(self, bound: None, _owner: type) -> Self: ...
    @overload
    def __get__(self, bound: _Blocking, _owner: type) -> Callable[Arguments, Result]: ...
    @overload
    def __get__(
        self, bound: _Async, _owner: type
    ) -> Callable[Arguments, Coroutine[Any, Any, Result]]: ...
    def __get__(self, bound: _Blocking | _Async | None, _owner: type) -> object:
        """Return the method of a client."""
        if bound is None:
            return self
        wire = bound.wire

        def start(*args: Arguments.args, **kwargs: Arguments.kwargs) -> object:
            flow = self._flow(wire, *args, **kwargs)
            return ended(flow) if wire.blocks else flow

        shown: Callable[..., object] = self._shown or MethodType(self._flow, wire)
        return update_wrapper(start, shown)


class Sends[**Arguments, Answer](Does[Arguments, Answer]):
    """A method that makes the one call that a function describes."""

    def __init__(self, describe: Callable[Arguments, Call[Answer]]) -> None:
        async def flow(wire: Wire, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
            return await wire.call(describe(*args, **kwargs))

        super().__init__(flow, shown=describe)


class Yields[**Arguments, Item]:
    """A method that yields the items of an asynchronous generator over a wire."""

    def __init__(self, source: Source[Arguments, Item]) -> None:
        self._source = source
        self.__doc__ = source.__doc__

    @overload
    def __get__(self, bound: None, _owner: type) -> Self: ...
    @overload
    def __get__(self, bound: _Blocking, _owner: type) -> Callable[Arguments, Iterator[Item]]: ...
    @overload
    def __get__(self, bound: _Async, _owner: type) -> Callable[Arguments, AsyncGenerator[Item]]: ...
    def __get__(self, bound: _Blocking | _Async | None, _owner: type) -> object:
        """Return the method of a client."""
        if bound is None:
            return self
        wire = bound.wire

        def start(*args: Arguments.args, **kwargs: Arguments.kwargs) -> object:
            source = self._source(wire, *args, **kwargs)
            return _each(source) if wire.blocks else source

        return update_wrapper(start, MethodType(self._source, wire))


def ended[Result](flow: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of a coroutine that never waits for an event loop."""
    try:
        flow.send(None)
    except StopIteration as end:
        return cast("Result", end.value)
    flow.close()
    raise RuntimeError("a blocking client waited for an event loop")


def _each[Item](source: AsyncGenerator[Item]) -> Iterator[Item]:
    try:
        with suppress(StopAsyncIteration):
            while True:
                yield ended(_next(source))
    finally:
        ended(_closed(source))


async def _next[Item](source: AsyncGenerator[Item]) -> Item:
    return await anext(source)


async def _closed[Item](source: AsyncGenerator[Item]) -> None:
    await source.aclose()
