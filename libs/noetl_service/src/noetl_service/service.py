"""The lifecycle of a process: open its parts, run its loops, report its health, end in order."""

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

from noetl_service.build import tell_build
from noetl_service.health import HealthRoutes
from noetl_service.intake.limits import IntakeLimits
from noetl_service.server import serve, server_config
from noetl_service.settings import ServiceSettings

type ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
type Check = Callable[[], Awaitable[object]]
type Run = Callable[["Service"], AbstractAsyncContextManager[object]]

_log = get_logger()
_CHECK_SECONDS = 2.0
_BEAT_SECONDS = 5.0
_SOON_SECONDS = 15.0
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
        tell_build(name, revision=settings.build_revision)
        _publish(settings)

    # -- for the parts -------------------------------------------------------------------

    def ready_when(self, name: str, check: Check) -> None:
        """Make readiness depend on a check, which fails by ``False`` or by an exception."""
        self._checks[name] = check

    def measure_when_read(self, name: str, measure: Measure, *gauges: Gauge) -> None:
        """Run a measurement whenever the metrics are read, and at no other time.

        When it fails, that is counted under its name, and its gauges show no number.
        """
        self._measures.add(name, measure, *gauges)

    def beat(self, loop_name: str) -> None:
        """Record that a loop makes progress or idles; after the first beat it is supervised."""
        self._beats[loop_name] = monotonic()

    def beater(self, loop_name: str) -> Callable[[], None]:
        """Return ``beat`` of one loop as a function without parameters."""
        return lambda: self.beat(loop_name)

    def spawn(self, loop_name: str, loop: Coroutine[Any, Any, object]) -> None:
        """Run a background loop; it is cancelled at the end, before the parts are closed.

        A loop that raises, or returns before the end, ends the process.
        """
        task = asyncio.create_task(self._guarded(loop_name, loop), name=loop_name)
        self._loops.add(task)

    def fail(self, error: BaseException) -> None:
        """End the process with an error."""
        if self.failure is None:
            self.failure = error
            self.failed.set()

    def drain(self) -> None:
        """Fail readiness from now on: the process ends soon."""
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
        """Run all checks and return ``ok`` or the reason why not, by name."""
        if self._not_ready is not None:
            return {"service": self._not_ready}
        if self.failure is not None:
            return {"service": "failed"}
        names = list(self._checks)
        answers = await asyncio.gather(*(_checked(self._checks[name]) for name in names))
        return dict(zip(names, answers, strict=True))

    def stuck_loops(self) -> dict[str, float]:
        """Return loops that were silent for too long, with the seconds."""
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
            self.fail(RuntimeError(f"the loop {name} ended by itself"))
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

    A ``NoetlError`` is logged as ``warning``; the step is repeated then after 15 s at the latest.
    With ``longest_seconds`` the interval grows up to that while steps return nothing.
    """
    pace = Pace(seconds, longest_seconds)
    while True:
        beat()
        left = seconds
        try:
            left = pace.after(await step())
        except NoetlError as error:
            _log.warning(warning, error=error.message)
            left = min(seconds, _SOON_SECONDS)
        while left > 0:
            beat()
            await asyncio.sleep(min(left, _BEAT_SECONDS))
            left -= _BEAT_SECONDS


@asynccontextmanager
async def supervise(service: Service, run: Run) -> AsyncIterator[None]:
    """Open the parts, then keep the loops until the block ends; for lifespans of other apps.

    A failure of a loop does not end the block: wait for ``service.failed`` and end it.
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
    """A small ASGI app: ``/healthz``, ``/readyz``, ``/metrics``, and the service behind them.

    The port answers at once; the parts are opened behind it, and then readiness passes.
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
            self.service.fail(TimeoutError("work in flight outlived the grace"))
        else:
            _log.info("service_stopped")


def create_service_app(name: str, run: Run, settings: ServiceSettings) -> ServiceApp:
    """Return the ASGI app of a service without routes of its own.

    Args:
        name: the folder name, as in logs and images.
        run: opens the parts and yields; starts its loops with ``service.spawn`` and names its
            readiness checks with ``service.ready_when``. A task group of its own works too.
        settings: the service's settings.
    """
    return ServiceApp(Service(name, settings), run)


def run_service[S: ServiceSettings](
    create_app: Callable[[S], ASGIApp], settings: S, *, name: str | None = None
) -> None:
    """Run an app until a signal comes or the service fails; exits the process then.

    Exit code 0 after SIGTERM or SIGINT and an orderly end, 1 after a failure. The app's
    service is found as ``app.service`` or ``app.state.service``, if it has one.
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
    """Log and export the settings, so that two processes can be compared (F29)."""
    effective = settings.in_effect()
    _log.info("settings_in_effect", settings=effective)
    info = metrics.gauge(
        "noetl_setting_info", "1 for each setting in effect; no secrets.", ("name", "value")
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
    except Exception as error:  # noqa: BLE001 -- whatever a probe meets is its answer
        return f"{type(error).__name__}: {error}"
    return "not ready" if answer is False else "ok"
