"""The lifecycle of a process: open parts, run loops, report health, and shut down in order."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic
from typing import Any

import uvloop
from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import configure, get_logger
from noetl_common.process.measures import Measure, Measures
from noetl_common.process.program import ending_at_once, hide_from_scripts
from noetl_common.retry import Pace
from noetl_common.telemetry.tracing import traced_process
from prometheus_client import Gauge

from noetl_service.health import HealthRoutes, export_build
from noetl_service.intake.limits import IntakeLimits
from noetl_service.server import serve, server_config
from noetl_service.settings import ServiceSettings

type ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
type Check = Callable[[], Awaitable[object]]
type Run = Callable[["Service"], AbstractAsyncContextManager[object]]

_log = get_logger()
_CHECK_SECONDS = 2.0
_BEAT_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 15.0
_STARTING, _DRAINING = "starting", "draining"


class Service:
    """The state of a running process: readiness, progress, loops, failure."""

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self.name = name
        self.settings = settings
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()
        self._checks: dict[str, Check] = {}
        self._beats: dict[str, float] = {}
        self._loops: set[asyncio.Task[None]] = set()
        self._measures = Measures()
        self._not_ready: str | None = _STARTING
        metrics.gauge("noetl_up", "1 while the process runs.").set(1)
        export_build(name, revision=settings.build_revision)
        _publish(settings)

    # -- for the parts -------------------------------------------------------------------

    def ready_when(self, name: str, check: Check) -> None:
        """Make readiness depend on a check, which fails if it returns ``False`` or raises."""
        self._checks[name] = check

    def measure_when_read(self, name: str, measure: Measure, *gauges: Gauge) -> None:
        """Run a measurement whenever the metrics are read, and at no other time.

        A failure is counted under the name of the measurement, and its gauges show no value.
        """
        self._measures.add(name, measure, *gauges)

    def beat(self, loop_name: str) -> None:
        """Record that a loop makes progress or is idle; from its first beat on it is supervised."""
        self._beats[loop_name] = monotonic()

    def beater(self, loop_name: str) -> Callable[[], None]:
        """Return ``beat`` of one loop as a function without parameters."""
        return lambda: self.beat(loop_name)

    def spawn(self, loop_name: str, loop: Coroutine[Any, Any, object]) -> None:
        """Run a background loop, which is cancelled at shutdown before the parts are closed.

        If a loop raises, or returns before the shutdown, the process ends.
        """
        task = asyncio.create_task(self._guarded(loop_name, loop), name=loop_name)
        self._loops.add(task)

    def fail(self, error: BaseException) -> None:
        """End the process with an error."""
        if self.failure is None:
            self.failure = error
            self.failed.set()

    def drain(self) -> None:
        """Fail readiness from now on, because the process ends soon."""
        self._not_ready = _DRAINING

    @property
    def is_draining(self) -> bool:
        """Whether the process is about to end."""
        return self._not_ready == _DRAINING

    def opened(self) -> None:
        """Record that all parts are open."""
        if self._not_ready == _STARTING:
            self._not_ready = None

    # -- for the probes ------------------------------------------------------------------

    async def readiness(self) -> dict[str, str]:
        """Return the result of each check: ``ok``, or the reason of its failure."""
        if self._not_ready is not None:
            return {"service": self._not_ready}
        if self.failure is not None:
            return {"service": "failed"}
        names = list(self._checks)
        answers = await asyncio.gather(*(_checked(self._checks[name]) for name in names))
        return dict(zip(names, answers, strict=True))

    def stuck_loops(self) -> dict[str, float]:
        """Return the loops that make no progress, with the seconds since their last beat."""
        now = monotonic()
        limit = self.settings.liveness_silence_seconds
        return {name: now - at for name, at in self._beats.items() if now - at > limit}

    async def measured(self) -> bytes:
        """Return all metrics in the text format, measured now."""
        await self._measures.run()
        return metrics.render()

    # -- life ----------------------------------------------------------------------------

    async def stop_loops(self) -> None:
        """Cancel the loops and wait until each has ended."""
        loops = list(self._loops)
        for task in loops:
            task.cancel()
        if loops:
            await asyncio.wait(loops)
        self._loops.clear()

    async def _guarded(self, name: str, loop: Coroutine[Any, Any, object]) -> None:
        try:
            await loop
        except Exception as error:  # noqa: BLE001 -- task supervisor: any error ends the process
            _log.error("loop_failed", loop=name, exc_info=error)
            self.fail(error)
        else:
            _log.error("loop_ended", loop=name)
            self.fail(RuntimeError(f"the loop {name} returned before the shutdown"))
        finally:
            self._beats.pop(name, None)


async def every(
    seconds: float,
    step: Callable[[], Awaitable[object]],
    *,
    warning: str,
    beat: Callable[[], None] = lambda: None,
    longest_seconds: float = 0.0,
) -> None:
    """Run a step every interval until cancelled.

    A ``NoetlError`` is logged as ``warning``, and the step is retried after at most 15 s. While
    steps return nothing, the interval grows up to ``longest_seconds``.
    """
    pace = Pace(seconds, longest_seconds)
    while True:
        beat()
        left = seconds
        try:
            left = pace.after(await step())
        except NoetlError as error:
            _log.warning(warning, error=error.message)
            left = min(seconds, _LONGEST_RETRY_SECONDS)
        while left > 0:
            beat()
            await asyncio.sleep(min(left, _BEAT_SECONDS))
            left -= _BEAT_SECONDS


@asynccontextmanager
async def supervise(service: Service, run: Run) -> AsyncIterator[None]:
    """Open the parts, and stop the loops when the block ends; for lifespans of other apps.

    The failure of a loop doesn't end the block: the caller waits for ``service.failed``.
    """
    try:
        async with run(service):
            service.opened()
            try:
                yield
            finally:
                service.drain()
                await service.stop_loops()
    finally:
        await service.stop_loops()


class ServiceApp:
    """A small ASGI app with ``/healthz``, ``/readyz``, ``/metrics``, and the service's lifecycle.

    The port answers immediately, while the parts are still opened; then readiness passes.
    """

    def __init__(self, service: Service, run: Run) -> None:
        self.service = service
        self._run = run
        self._routes = HealthRoutes(service)
        self._living: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._routes(scope, receive, send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        self._living = asyncio.create_task(self._live(), name=self.service.name)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._end(self._living)
        await send({"type": "lifespan.shutdown.complete"})

    async def _live(self) -> None:
        try:
            async with supervise(self.service, self._run):
                _log.info("service_started")
                await asyncio.Event().wait()
        except Exception as error:  # noqa: BLE001 -- task supervisor: any error ends the process
            _log.error("service_failed", exc_info=error)
            self.service.fail(error)

    async def _end(self, living: asyncio.Task[None]) -> None:
        self.service.drain()
        living.cancel()
        grace = self.service.settings.shutdown_grace_seconds
        _, late = await asyncio.wait([living], timeout=grace)
        if late:
            _log.error("shutdown_grace_over", seconds=grace)
            self.service.fail(TimeoutError("work in progress took longer than the grace"))
        else:
            _log.info("service_stopped")


def create_service_app(name: str, run: Run, settings: ServiceSettings) -> ServiceApp:
    """Return the ASGI app of a service without routes of its own.

    Args:
        name: name of the service, as its folder, logs and images have it.
        run: opens the parts and yields. It starts loops with ``service.spawn`` and adds readiness
            checks with ``service.ready_when``.
        settings: settings of the service.
    """
    return ServiceApp(Service(name, settings), run)


def run_service[S: ServiceSettings](
    create_app: Callable[[S], ASGIApp], settings: S, *, name: str | None = None
) -> None:
    """Run an app until a signal arrives or the service fails, and exit the process.

    The exit code is 0 after SIGTERM or SIGINT and an orderly shutdown, and 1 after a failure. The
    service of the app is ``app.service`` or ``app.state.service``, if either exists.
    """
    hide_from_scripts()
    module = getattr(create_app, "__module__", "")
    served = name or module.partition(".")[0].removeprefix("noetl_").replace("_", "-")
    configure(settings, served)
    with ending_at_once():
        with (
            traced_process(settings, served, revision=settings.build_revision),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            code = runner.run(_serve(create_app, settings))
        sys.exit(code)


async def _serve[S: ServiceSettings](create_app: Callable[[S], ASGIApp], settings: S) -> int:
    app = create_app(settings)
    service = _service_of(app)
    config = server_config(
        app,
        IntakeLimits(),
        host=settings.http_host,
        port=settings.http_port,
        grace_seconds=settings.shutdown_grace_seconds,
    )
    return await serve(config, service)


def _publish(settings: ServiceSettings) -> None:
    """Log and export the settings, so that operators can compare two processes (F29)."""
    effective = settings.in_effect()
    _log.info("settings_in_effect", settings=effective)
    info = metrics.gauge(
        "noetl_setting_info",
        "Always 1; one series for each setting in effect, without secrets.",
        ("name", "value"),
    )
    for name, value in effective.items():
        info.labels(name, value).set(1)


def _service_of(app: object) -> Service | None:
    found = getattr(app, "service", None) or getattr(getattr(app, "state", None), "service", None)
    return found if isinstance(found, Service) else None


async def _checked(check: Check) -> str:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            answer = await check()
    except TimeoutError:
        return "no answer in time"
    except Exception as error:  # noqa: BLE001 -- any error is the result of the check
        return f"{type(error).__name__}: {error}"
    return "not ready" if answer is False else "ok"
