"""One playbook run from start to exit code."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from noetl_common.settings import PlaybookSettings
from noetl_contract.failures.cause import cause_of
from noetl_contract.json import JsonObject
from noetl_engine.playbook.lint import Severity, lint

from noetl.exits import Exit
from noetl.follow import source
from noetl.follow.asking import Asker
from noetl.follow.edge import Edge
from noetl.follow.progress import Progress
from noetl.follow.servers import RefusedError, connection_of, token_of
from noetl.follow.standing import QuietWatch, cause_lines, soft_error_lines
from noetl.follow.view import View, print_result, terminal_view
from noetl.printed import follow_printed
from noetl.stack.datadir import DataDirectory
from noetl.stack.errors import DataDirectoryInUseError, StackError
from noetl.stack.services import outside
from noetl.stack.stop_signals import stop_signals
from noetl.stack.supervisor import StackPlan, running

ATTACH_SECONDS = 60.0
READY_SECONDS = 120.0
CANCEL_SECONDS = 10.0
LAST_LINES_SECONDS = 1.0


@dataclass(kw_only=True)
class Job:
    """A playbook file on its way to a result."""

    file: Path
    text: str
    workload: JsonObject
    timeout: float | None
    server_url: str | None
    data: DataDirectory
    token: str | None = None
    is_strict: bool = False
    shows_output: bool = True

    def __post_init__(self) -> None:
        self._progress = Progress()
        self._standing: JsonObject = {}
        self._execution_id = ""
        self._is_ours = False
        self._title = str(self.file)

    async def run(self) -> int:
        """Everything from start to exit code."""
        async with stop_signals() as stop:
            work = asyncio.create_task(self._work())
            asked = asyncio.create_task(stop.event.wait())
            stop.on_second = lambda: bool(work.cancel())
            self._stop = stop
            try:
                await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
                if not work.done() and not self._execution_id:
                    work.cancel()  # nothing runs yet that would have to be cancelled
                return await work
            except asyncio.CancelledError:
                return Exit.INTERRUPTED
            finally:
                asked.cancel()

    async def _work(self) -> int:
        async with self._server() as url, aclosing(Edge(url, token=self._token())) as edge:
            try:
                with terminal_view() as view:
                    await self._start(edge, view)
                    code = await self._follow(edge, view)
            except RefusedError as error:
                return self._refused(str(error))
            # Before a stack of our own is stopped: nobody wants to wait for that.
            return code if code is not None else self._report()

    def _token(self) -> str:
        return token_of(self.token, self.data if self.server_url is None else None)

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[str]:
        if self.server_url is not None:
            yield self.server_url.rstrip("/")
            return
        while True:  # until the stack of another run is up, or ours is
            if self.data.is_held():
                with self.data.use():
                    url = await self._attach()
                    if url is not None:
                        yield url
                        return
            plan = StackPlan(data=self.data, port=None, outside=outside())
            with suppress(DataDirectoryInUseError):
                async with running(plan) as supervisor:
                    with terminal_view() as view:
                        view.say(f"starting a local stack in {self.data.root}")
                        await supervisor.wait_ready(READY_SECONDS)
                    self._is_ours = True
                    yield supervisor.url
                    await self._until_unused()
                    return

    async def _until_unused(self) -> None:
        """Leaves the stack to other runs that found it here, unless we are interrupted."""
        if self.data.is_used():
            sys.stderr.write("another run uses the local stack, which stays until that has ended\n")
        while True:
            if self._stop.event.is_set() or not self.data.is_used():
                return
            await asyncio.sleep(0.1)

    async def _attach(self) -> str | None:
        """Return the address of the running stack once it is ready; None if it ends before."""
        try:
            async with asyncio.timeout(ATTACH_SECONDS):
                while self.data.is_held():
                    state = self.data.state()
                    services = state["services"] if state is not None else []
                    if state and services and all(one["state"] == "ready" for one in services):
                        return state["url"]
                    await asyncio.sleep(0.1)
                return None
        except TimeoutError:
            raise StackError(
                f"the stack in {self.data.root} is not ready; see noetl-server status"
            ) from None

    async def _start(self, edge: Edge, view: View) -> None:
        playbook = await edge.register(self.text)
        self._execution_id = await edge.execute(playbook, self.workload)
        self._title = f"{playbook.path} v{playbook.version}, execution {self._execution_id}"
        view.say(self._title)
        if not self._is_ours:
            # A stack of our own is gone before anybody could look.
            view.say(f"{edge.url}/console/runs/{self._execution_id}")

    async def _follow(self, edge: Edge, view: View) -> int | None:
        """Show events until the end; return an exit code when the execution did not decide it."""
        reading = asyncio.create_task(self._read(edge, view))
        asked = asyncio.create_task(self._stop.event.wait())
        try:
            await asyncio.wait(
                {reading, asked}, timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if reading.done():
                await reading
                return None
            interrupted = asked.done()
            reason = "interrupted" if interrupted else f"timed out after {self.timeout:g} s"
            await self._cancel(edge, view, reason, reading)
            return Exit.INTERRUPTED if interrupted else Exit.FAILED
        finally:
            asked.cancel()
            reading.cancel()
            with suppress(asyncio.CancelledError, StackError):
                await reading

    async def _read(self, edge: Edge, view: View) -> None:
        asker = Asker(edge, view, self._execution_id)
        watch = QuietWatch(edge, view.say)
        wondering = asyncio.create_task(watch.run(self._execution_id, self._title))
        printing = asyncio.create_task(self._print(edge, view))
        try:
            async for event in edge.events(self._execution_id):
                watch.moved()
                step = self._progress.apply(event)
                if step is not None:
                    view.changed(self._progress, step)
                asker.take(event)
            # Its stream ends like this one.
            await asyncio.wait({printing}, timeout=LAST_LINES_SECONDS)
        finally:
            printing.cancel()
            wondering.cancel()
            await asker.close()
        self._standing = await edge.standing(self._execution_id)
        if self._progress.ending is None:
            self._progress.ending = str(self._standing.get("status"))
        view.say(self._headline())

    async def _print(self, edge: Edge, view: View) -> None:
        if self.shows_output:
            connection = connection_of(edge.url, self._token())
            await follow_printed(connection, self._execution_id, view.printed)

    async def _cancel(
        self, edge: Edge, view: View, reason: str, reading: "asyncio.Task[None]"
    ) -> None:
        view.say(f"{reason}: cancelling execution {self._execution_id}")
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await edge.cancel(self._execution_id, f"noetl-server run: {reason}")
                await reading
        except TimeoutError:
            view.say(
                f"the server did not confirm it within {CANCEL_SECONDS:g} s; "
                f"execution {self._execution_id} may go on"
            )

    def _headline(self) -> str:
        return f"{self._title}: {self._progress.ending or 'running'}"

    def _report(self) -> int:
        if self._progress.ending == "COMPLETED":
            print_result(self._progress.result)
            lines = [*soft_error_lines(self._standing, self.file)]
            sys.stderr.writelines(f"{line}\n" for line in lines)
            if not lines:
                return 0
            return Exit.FAILED if self.is_strict else Exit.SOFT_ERRORS
        cause = self._progress.cause or cause_of(self._standing.get("cause"))
        if cause is not None and cause.step is not None:
            sys.stderr.writelines(f"{line}\n" for line in cause_lines(cause, str(self.file)))
        for step in self._progress.failed_steps:
            if cause is not None and cause.step == step.name:
                continue
            line = source.step_lines(self.text).get(step.name)
            place = f"{self.file}:{line}" if line else str(self.file)
            sys.stderr.write(f"{place}: step {step.name!r} failed: {step.error}\n")
        if not self._progress.failed_steps and (cause is None or cause.step is None):
            reason = self._progress.error or f"the execution is {self._progress.ending}"
            sys.stderr.write(f"{self._located(reason)}\n")
        return Exit.FAILED

    def _refused(self, reason: str) -> int:
        """Print the problems of the playbook: first the linter's, then the contract's message."""
        for finding in lint(self.text, more_kinds=PlaybookSettings().more_kinds()):
            if finding.severity is not Severity.ERROR:
                continue
            if finding.message not in reason:
                sys.stderr.write(f"{self.file}:{finding.line}:{finding.column}: {finding.told}\n")
            elif finding.hint:
                sys.stderr.write(f"{self.file}:{finding.line}:{finding.column}: {finding.hint}\n")
        sys.stderr.write(f"{self._located(reason)}\n")
        return Exit.FAILED

    def _located(self, reason: str) -> str:
        line = source.line_of(reason, self.text)
        return f"{self.file}:{line}: {reason}" if line else f"{self.file}: {reason}"
