"""The blocking client."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self, cast

import httpx
from noetl_contract.http.executions.events import StreamEvent
from noetl_contract.http.executions.reads import ExecutionStatusAnswer
from noetl_contract.http.workers.output import StepOutput
from noetl_contract.json import Json, encode

from noetl_client.answers import Answer, read, refused
from noetl_client.bound import Sends
from noetl_client.calls import executions, results
from noetl_client.calls.call import Again, Call, Id, segment
from noetl_client.connection import Connection
from noetl_client.errors import Busy, ClientError, Unreachable, WaitTimedOut
from noetl_client.groups import Catalog, Credentials, Failures, Keys, Pauses, Schedules
from noetl_client.outcomes import is_over, result_of
from noetl_client.sse import END, Cursor, Message, MessageReader
from noetl_client.transport import (
    answer_of,
    bad_address,
    options,
    pause_before_next,
    poll_pause,
    request_of,
    stream_refusal,
    unreachable,
)


class Client:
    """A client that waits for each answer; threads may share it. To be closed.

    Args:
        server: an address, or all about the connection; the environment's if absent.
        key: API key or another bearer token, with an address.

    Raises:
        BadAddress: the address is none.
    """

    start = Sends(executions.start)
    rerun = Sends(executions.rerun)
    restart = Sends(executions.restart)
    status = Sends(executions.status)
    detail = Sends(executions.detail)
    list = Sends(executions.executions)
    steps = Sends(executions.steps)
    events = Sends(executions.events)
    why = Sends(executions.why)
    cancel = Sends(executions.cancel)
    pause = Sends(executions.pause)
    resume = Sends(executions.resume)
    signal = Sends(executions.signal)
    waits = Sends(executions.waits)
    stored_results = Sends(executions.stored_results)
    resolve = Sends(results.resolve)

    def __init__(self, server: str | Connection | None = None, *, key: str = "") -> None:
        if isinstance(server, str):
            server = Connection(server, key)
        self.connection = server or Connection.from_environment()
        try:
            self._http = httpx.Client(**options(self.connection), verify=self.connection.tls())
        except (httpx.InvalidURL, ValueError) as error:
            raise bad_address(self.connection, error) from error
        self.catalog = Catalog(self)
        self.credentials = Credentials(self)
        self.schedules = Schedules(self)
        self.failures = Failures(self)
        self.pauses = Pauses(self)
        self.keys = Keys(self)

    def __enter__(self) -> Self:
        """Use it until the block ends."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send[Wanted](self, call: Call[Wanted]) -> Wanted:
        """Make a call, again where that is safe.

        Raises:
            Unreachable: no answer came.
            Refused: the server said no; the subclass says which no.
            UnexpectedAnswer: no NoETL server answers there.
        """
        made = 0
        while True:
            made += 1
            try:
                answer = self.exchange(call)
                trouble: ClientError
                if answer.is_good:
                    return read(call, answer, self.connection.url)
                trouble = refused(answer, self.connection.url)
            except Unreachable as error:
                trouble = error
            time.sleep(pause_before_next(call, trouble, made, self.connection))

    def exchange(self, call: Call[object]) -> Answer:
        """Make a call once, and return its answer as it is, whatever it says.

        Raises:
            Unreachable: no answer came.
        """
        try:
            return answer_of(self._http.send(request_of(self._http, call)))
        except httpx.RequestError as error:
            raise unreachable(self.connection.url, error) from error

    def ask(
        self, method: str, path: str, body: Json = None, *, query: Mapping[str, str] | None = None
    ) -> Json:
        """Make a call for which there is no method; only a GET is repeated.

        Raises:
            ClientError: as ``send``.
        """
        content = None if body is None else encode(body)
        again = Again.SAFE if method == "GET" else Again.NEVER
        wanted = cast("type[Json]", object)
        return self.send(Call(method, path, wanted, query=query or {}, body=content, again=again))

    def wait(self, execution_id: Id, *, seconds: float) -> ExecutionStatusAnswer:
        """Wait until an execution has ended, however it ends.

        Args:
            execution_id: which one.
            seconds: to wait at most.

        Raises:
            WaitTimedOut: it runs on.
        """
        begun = time.monotonic()
        while True:
            standing = self.status(execution_id)
            if is_over(standing):
                return standing
            waited = time.monotonic() - begun
            if waited >= seconds:
                raise WaitTimedOut(str(execution_id), standing.status, seconds)
            time.sleep(poll_pause(waited, seconds - waited))

    def result(self, execution_id: Id, *, resolve: bool = True) -> Json:
        """Return the result of an execution that has completed.

        Args:
            execution_id: which one.
            resolve: put large results in the places of their references, which needs the right
                `results.resolve`.

        Raises:
            ExecutionFailed: it has failed, or was cancelled.
            NotEnded: it runs.
        """
        found = result_of(self.detail(execution_id, events=False))
        if not resolve:
            return found
        stored = {one: results.data_of(self.resolve(one)) for one in results.references_in(found)}
        return results.with_results(found, stored)

    def run(
        self,
        path: str,
        workload: Mapping[str, Json] | None = None,
        *,
        seconds: float,
        version: int | str | None = None,
    ) -> Json:
        """Start a playbook, wait for it, and return its result.

        Raises:
            ExecutionFailed: it has failed, or was cancelled.
            WaitTimedOut: it runs on after so many seconds.
        """
        started = self.start(path, workload, version=version)
        self.wait(started.execution_id, seconds=seconds)
        return self.result(started.execution_id)

    def stream(
        self, execution_id: Id, *, after: Id | None = None, types: Sequence[str] = ()
    ) -> Iterator[StreamEvent]:
        """Yield the events of an execution in log order, each once, until it has ended.

        A stream that breaks is resumed behind the last event seen.

        Args:
            execution_id: which one.
            after: id of an event; only those behind it.
            types: event types; all if empty.

        Raises:
            Unreachable: the server stayed away for longer than the connection's patience.
        """
        cursor = Cursor(None if after is None else str(after), types)
        for message in self._followed(execution_id, cursor):
            event = message.event()
            if event is not None:
                yield event

    def output(self, execution_id: Id) -> Iterator[StepOutput]:
        """Yield lines that steps print, as they do, until the execution has ended.

        Nothing of what was printed before by runs that have ended, which is in their results.
        Lines may be missing, which `dropped` counts. After a break, and only then, some come
        again: their numbers tell.

        Raises:
            Unreachable: the server stayed away for longer than the connection's patience.
        """
        for message in self._followed(execution_id, Cursor(is_output=True)):
            output = message.output()
            if output is not None:
                yield output

    def _followed(self, execution_id: Id, cursor: Cursor) -> Iterator[Message]:
        heard = time.monotonic()
        while True:
            try:
                for message in self._messages(execution_id, cursor):
                    heard = time.monotonic()
                    if message is None:
                        continue
                    if message.name == END:
                        return
                    cursor.take(message)
                    yield message
            except (Unreachable, Busy):
                if time.monotonic() - heard > self.connection.patience:
                    raise
            time.sleep(self.connection.retries.first_pause)

    def _messages(self, execution_id: Id, cursor: Cursor) -> Iterator[Message | None]:
        """Yield messages of one stream, and None for each sign of life."""
        with self._stream(execution_id, cursor) as response:
            reader = MessageReader()
            for line in response.iter_lines():
                yield reader.feed(line)

    @contextmanager
    def _stream(self, execution_id: Id, cursor: Cursor) -> Iterator[httpx.Response]:
        url, timeout = self.connection.url, httpx.Timeout(self._http.timeout.read)
        timeout.read, timeout.connect = self.connection.silence, self.connection.connect_timeout
        try:
            with self._http.stream(
                "GET",
                f"/api/executions/{segment(execution_id)}/events/stream",
                params=cursor.query(),
                headers=cursor.headers(),
                timeout=timeout,
            ) as response:
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    response.read()
                    raise stream_refusal(answer_of(response), url)
                yield response
        except httpx.RequestError as error:
            raise unreachable(url, error) from error
