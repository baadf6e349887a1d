"""A process: its start, its health, its end."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import orjson
import pytest
from noetl.stack.process import free_port
from noetl_common.errors import Unavailable
from noetl_common.metrics import counter, gauge, histogram
from noetl_service.service import Service, ServiceApp, create_service_app, every, supervise
from noetl_service.settings import ServiceSettings
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, wait_until
from prometheus_client import REGISTRY


@asynccontextmanager
async def lived(app: ServiceApp) -> AsyncIterator[httpx.AsyncClient]:
    """Runs the app's lifespan as a server would, with a client on its routes."""
    to_app: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    from_app: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    living = asyncio.create_task(app({"type": "lifespan"}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    await to_app.put({"type": "lifespan.shutdown"})
    assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
    await living


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


async def test_ready_when_the_parts_are_open_and_the_checks_pass() -> None:
    opening, checked = asyncio.Event(), False

    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        async def check() -> bool:
            return checked

        service.ready_when("thing", check)
        await opening.wait()
        yield

    async with lived(create_service_app("demo", run, ServiceSettings())) as client:
        starting = await client.get("/readyz")
        opening.set()
        await eventually(lambda: _checks(client, {"thing": "not ready"}))
        checked = True
        await eventually(lambda: is_ready(client))

    assert starting.status_code == 503
    assert starting.json()["checks"] == {"service": "starting"}


async def _checks(client: httpx.AsyncClient, expected: dict[str, str]) -> bool:
    return bool((await client.get("/readyz")).json()["checks"] == expected)


async def test_a_failing_check_says_why() -> None:
    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        async def check() -> None:
            raise ConnectionError("refused")

        service.ready_when("database", check)
        yield

    async with lived(create_service_app("demo", run, ServiceSettings())) as client:
        await eventually(lambda: _checks(client, {"database": "ConnectionError: refused"}))


async def test_a_silent_loop_fails_liveness() -> None:
    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        service.beat("pull")
        yield

    app = create_service_app("demo", run, ServiceSettings(liveness_silence_seconds=0.2))
    async with lived(app) as client:
        await eventually(app.service.stuck_loops)
        stuck = await client.get("/healthz")

        async def is_alive() -> bool:
            app.service.beat("pull")
            return (await client.get("/healthz")).status_code == 200

        await eventually(is_alive, what="it lives again")

    assert stuck.status_code == 503
    assert "pull" in stuck.json()["loops"]


async def test_metrics_and_unknown_routes() -> None:
    @asynccontextmanager
    async def run(_service: Service) -> AsyncIterator[None]:
        yield

    counter("noetl_test_things_total", "Things.").inc(2)
    async with lived(create_service_app("demo", run, ServiceSettings())) as client:
        shown = await client.get("/metrics")
        unknown = await client.get("/nowhere")
        posted = await client.post("/healthz")

    assert "noetl_test_things_total" in shown.text
    assert "noetl_up 1.0" in shown.text
    assert 'noetl_setting_info{name="log_level",value="info"} 1.0' in shown.text
    assert (unknown.status_code, posted.status_code) == (404, 405)
    assert unknown.json() == {"error": "not found", "status": 404, "detail": None}


async def test_loops_end_before_the_parts_close() -> None:
    order: list[str] = []

    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        async def loop() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                order.append("loop")

        service.spawn("loop", loop())
        await asyncio.sleep(0)
        yield
        order.append("never: the end is a cancellation")

    @asynccontextmanager
    async def with_part(service: Service) -> AsyncIterator[None]:
        try:
            async with run(service):
                yield
        finally:
            order.append("part")

    async with lived(create_service_app("demo", with_part, ServiceSettings())) as client:
        await eventually(lambda: is_ready(client))

    assert order == ["loop", "part"]


@pytest.mark.parametrize("how", ["raises", "returns", "opening fails"])
async def test_a_loop_that_ends_fails_the_service(how: str) -> None:
    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        async def loop() -> None:
            if how == "raises":
                raise RuntimeError("broken")

        if how == "opening fails":
            raise RuntimeError("broken")
        service.spawn("loop", loop())
        yield

    app = create_service_app("demo", run, ServiceSettings())
    async with lived(app) as client:
        await asyncio.wait_for(app.service.failed.wait(), timeout=PATIENCE_SECONDS)
        assert not await is_ready(client)

    assert isinstance(app.service.failure, RuntimeError)


async def test_a_task_group_of_the_service_fails_it_too() -> None:
    @asynccontextmanager
    async def run(_service: Service) -> AsyncIterator[None]:
        async def loop() -> None:
            raise RuntimeError("broken")

        async with asyncio.TaskGroup() as group:
            group.create_task(loop())
            yield

    app = create_service_app("demo", run, ServiceSettings())
    async with lived(app):
        await asyncio.wait_for(app.service.failed.wait(), timeout=PATIENCE_SECONDS)

    assert isinstance(app.service.failure, ExceptionGroup)


async def test_the_end_waits_no_longer_than_the_grace() -> None:
    go_on, is_over = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        async def stubborn() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await go_on.wait()
                is_over.set()

        service.spawn("stubborn", stubborn())
        yield

    app = create_service_app("demo", run, ServiceSettings(shutdown_grace_seconds=0.1))
    async with lived(app) as client:
        await eventually(lambda: is_ready(client))

    assert isinstance(app.service.failure, TimeoutError)
    assert not is_over.is_set()
    go_on.set()
    await is_over.wait()


async def test_supervise_serves_other_frameworks_lifespans() -> None:
    ended = False

    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        async def loop() -> None:
            nonlocal ended
            try:
                await asyncio.Event().wait()
            finally:
                ended = True

        service.spawn("loop", loop())
        await asyncio.sleep(0)
        yield

    service = Service("edge", ServiceSettings())
    async with supervise(service, run):
        assert await service.readiness() == {}
    assert ended
    assert await service.readiness() == {"service": "draining"}


def test_metric_families_may_be_asked_for_twice() -> None:
    assert counter("noetl_twice_total", "x", ("a",)) is counter("noetl_twice_total", "x", ("a",))
    assert gauge("noetl_twice_now", "x") is gauge("noetl_twice_now", "x")
    assert histogram("noetl_twice_seconds", "x") is histogram("noetl_twice_seconds", "x")


# -- as a process ------------------------------------------------------------------------

PROGRAM = """
import asyncio, gc, sys
from contextlib import asynccontextmanager
from noetl_service.service import create_service_app, run_service
from noetl_service.settings import ServiceSettings

@asynccontextmanager
async def run(service):
    print("frozen:", gc.get_freeze_count() > 10_000, flush=True)
    async def loop():
        service.beat("loop")
        if "fail" in sys.argv:
            raise RuntimeError("broken")
        try:
            await asyncio.Event().wait()
        finally:
            print("loop ended", flush=True)
    service.spawn("loop", loop())
    yield

def create_app(settings):
    return create_service_app("demo", run, settings)

run_service(create_app, ServiceSettings(), name="demo")
"""


@contextmanager
def process(tmp_path: Path, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    port = free_port()
    started = subprocess.Popen(
        [sys.executable, str(program), *arguments],
        env={**os.environ, "NOETL_HTTP_PORT": str(port), "NOETL_LOG_FORMAT": "json"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield started, port
    finally:
        started.kill()
        started.wait()
        if started.stdout:
            started.stdout.close()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    with process(tmp_path) as (started, port):
        wait_until(lambda: answers(port), what="the service is ready")
        started.send_signal(number)
        output, _ = started.communicate(timeout=PATIENCE_SECONDS)

    assert started.returncode == 0
    assert "loop ended" in output
    # The collector passes over what was imported.
    assert "frozen: True" in output
    messages = [orjson.loads(line)["msg"] for line in output.splitlines() if line.startswith("{")]
    assert "service_stopped" in messages
    assert "settings_in_effect" in messages


def test_a_failed_loop_ends_the_process_with_an_error(tmp_path: Path) -> None:
    with process(tmp_path, "fail") as (started, _port):
        output, _ = started.communicate(timeout=PATIENCE_SECONDS)

    assert started.returncode == 1
    assert "loop_failed" in output


async def test_a_step_that_fails_is_repeated_after_its_interval() -> None:
    tries: list[int] = []
    beats: list[int] = []

    async def step() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise Unavailable(what="it")

    loop = every(0.01, step, warning="step_failed", beat=lambda: beats.append(1))
    task = asyncio.create_task(loop)
    try:
        await eventually(lambda: len(tries) > 2)
    finally:
        task.cancel()

    assert len(beats) >= len(tries)


async def test_reading_the_metrics_measures_and_survives_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = gauge("noetl_test_measured", "Rounds.")
    rounds = 0

    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        async def count() -> None:
            nonlocal rounds
            rounds += 1
            measured.set(rounds)

        async def fail() -> None:
            raise Unavailable("no database")

        lost = (
            gauge("noetl_test_lost", "Of a database that is away."),
            gauge("noetl_test_lost_by_shard", "The same.", ("shard",)),
        )
        lost[0].set(7)
        lost[1].labels("0").set(7)
        service.measure_when_read("lost", fail, *lost)
        service.measure_when_read("rounds", count, measured)
        yield

    async with lived(create_service_app("demo", run, ServiceSettings())) as client:
        await eventually(lambda: is_ready(client))
        monkeypatch.setattr("noetl_common.process.measures._REMEMBER_SECONDS", PATIENCE_SECONDS)
        first = await client.get("/metrics")
        again = await client.get("/metrics")

    assert "noetl_test_measured 1.0" in first.text
    assert "noetl_test_lost NaN" in first.text
    assert 'noetl_test_lost_by_shard{shard="0"}' not in first.text
    assert 'noetl_measurements_failed_total{measurement="lost"} 1.0' in first.text
    assert 'noetl_measurements_failed_total{measurement="rounds"} 0.0' in first.text
    assert (again.status_code, rounds) == (200, 1)


def test_a_counter_begins_at_zero() -> None:
    counter("noetl_test_ended_total", "Ends.", ("end",), zeros=("ok", "failed"))
    counter("noetl_test_both_total", "Both.", ("a", "b"), zeros=[("x", "y")])

    assert REGISTRY.get_sample_value("noetl_test_ended_total", {"end": "failed"}) == 0
    assert REGISTRY.get_sample_value("noetl_test_both_total", {"a": "x", "b": "y"}) == 0


def test_a_process_tells_what_it_was_built_from() -> None:
    Service("outbox", ServiceSettings(build_revision="abc123"))

    (family,) = [one for one in REGISTRY.collect() if one.name == "noetl_build_info"]
    found = [one.labels for one in family.samples if one.labels["service"] == "outbox"]
    assert ("0.1.0", "abc123") in [(one["version"], one["revision"]) for one in found]
