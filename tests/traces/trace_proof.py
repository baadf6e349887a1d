"""One execution's trace goes through every service without a gap: `make traces`.

A whole stack sends its spans to a receiver in this process. For each transport of the workers the
trace of an execution with a sub-playbook must have one root, every parent, and the spans that
docs/operations/telemetry.md lists. It prints that page's table.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats
from nats.aio.msg import Msg
from noetl_testkit.bus import flush
from noetl_testkit.stack import Stack, command, finish, register, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from otlp_receiver import ReceivedSpan, Receiver, receiving

PARENT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: parent, path: traces/parent}
workflow:
  - step: start
    tool: {kind: python, code: "result = 1"}
    next: {arcs: [{step: below}]}
  - step: below
    tool: {kind: playbook, path: traces/child, return_step: end}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
"""
CHILD = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: child, path: traces/child}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
"""
BROKEN = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: broken, path: traces/broken}
workflow:
  - step: start
    tool: {kind: python, code: "1 / 0"}
"""


type Edge = tuple[str, str, str]
"""Name of a span, name of its parent, service of the span."""

EVERYWHERE: set[Edge] = {
    ("POST /api/execute", "", "api-gateway"),
    ("start child", "run playbook", "worker"),
    ("POST /api/execute", "start child", "api-gateway"),
    ("catalog resolve", "POST /api/execute", "catalog"),
    ("sql find_version", "catalog resolve", "catalog"),
    ("ingress execute", "POST /api/execute", "api-gateway"),
    ("turn", "ingress execute", "orchestrator"),
    ("wait", "turn", "orchestrator"),
    ("decide", "turn", "orchestrator"),
    ("commit", "turn", "orchestrator"),
    ("project", "turn", "projector"),
    ("issue command", "ingress execute", "orchestrator"),
    ("queue", "issue command", "worker"),
    ("command", "issue command", "worker"),
    ("run python", "command", "worker"),
    ("run noop", "command", "worker"),
    ("run playbook", "command", "worker"),
}
OVER_NATS: set[Edge] = {
    ("report outcome", "command", "worker"),
    ("turn", "report outcome", "orchestrator"),
}
OVER_HTTP: set[Edge] = {
    ("report", "command", "worker"),
    ("POST /api/commands/{event_id}/reports", "report", "api-gateway"),
    ("ingress outcome", "POST /api/commands/{event_id}/reports", "api-gateway"),
    ("turn", "ingress outcome", "orchestrator"),
}
OLD_HTTP: set[Edge] = {
    ("claim command", "command", "worker"),
    ("POST /api/commands/{event_id}/claim", "claim command", "api-gateway"),
    ("ingress claim", "POST /api/commands/{event_id}/claim", "api-gateway"),
    ("turn", "ingress claim", "orchestrator"),
    ("report", "command", "worker"),
    ("POST /api/events", "report", "api-gateway"),
    ("ingress events", "POST /api/events", "api-gateway"),
    ("turn", "ingress events", "orchestrator"),
}
_META_OF_START = """
SELECT meta::text FROM noetl.event WHERE execution_id = $1 AND event_type = 'playbook_started'
"""
CALLER = "00f067aa0ba902b7"


def main() -> None:
    """Run all parts; an assertion that fails says what is missing."""
    with receiving() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "NOETL_LOG_LEVEL": "debug",
        }
        with running_stack(environment=environment) as stack, stack.client() as client:
            for text in (CHILD, PARENT, BROKEN):
                register(client, text)
            proof = Proof(receiver, stack, client)
            found = proof.of_pool(None, EVERYWHERE | OVER_NATS)
            with worker(stack, "web", environment):
                found |= proof.of_pool("web", EVERYWHERE | OVER_HTTP)
            with worker(stack, "old", environment | {"NOETL_FAST_PATH_ENABLED": "false"}):
                found |= proof.of_pool("old", EVERYWHERE | OLD_HTTP)
            proof.caller_s_trace_goes_on()
            proof.unsampled_traces_are_carried_and_not_recorded()
            proof.failures_are_marked()
            proof.logs_are_found()
        table(found)


class Proof:
    """The parts, on one stack."""

    def __init__(self, receiver: Receiver, stack: Stack, client: httpx.Client) -> None:
        self._receiver = receiver
        self._stack = stack
        self._client = client

    def start(self, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> int:
        """Run an execution to its end."""
        body = {"path": path, "workload": {}, **more}
        answer = self._client.post("/api/execute", json=body, headers=headers or {})
        answer.raise_for_status()
        execution_id = int(answer.json()["execution_id"])
        finish(self._client, execution_id)
        return execution_id

    def of_pool(self, pool: str | None, expected: set[Edge]) -> set[Edge]:
        """Check the trace of an execution whose commands one pool runs; None: that of the stack."""
        more = {} if pool is None else {"execution_pool": pool}
        execution_id = self.start("traces/parent", **more)
        spans = self._whole(execution_id, expected, commands=5)
        roots = [span for span in spans if not span.parent_id]
        assert [root.name for root in roots] == ["POST /api/execute"], roots
        executions = {
            span.attributes["noetl.execution_id"] for span in spans if span.name == "issue command"
        }
        assert len(executions) == 2, executions
        steps = sorted(
            str(span.attributes["noetl.step"]) for span in spans if span.name == "command"
        )
        assert steps == ["below", "end", "end", "start", "start"], steps
        for span in spans:
            assert span.end_ns >= span.begin_ns, span
        services = len({span.service for span in spans})
        print(f"{pool or 'stack'}: {len(spans)} spans of {services} services, 1 root")
        return edges(spans)

    def caller_s_trace_goes_on(self) -> None:
        """A caller's context is the root, its state travels, and readers of events get it."""
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
        headers = {"traceparent": f"00-{trace_id}-{CALLER}-01", "tracestate": "vendor=x"}
        heard = asyncio.run(self._events_of("traces/child", headers))
        wait_until(
            lambda: not missing(self._receiver.of(trace_id), {("project", "turn", "projector")}),
            what="the spans of the caller's trace",
        )
        wait_until(
            lambda: (
                not missing(self._receiver.of(trace_id), {("POST /api/execute", "", "api-gateway")})
                and not orphans(self._receiver.of(trace_id), {CALLER})
            ),
            what="the request and all parents",
        )
        spans = self._receiver.of(trace_id)
        assert {s.name for s in spans if s.parent_id == CALLER} == {"POST /api/execute"}
        assert heard, "no event was heard"
        assert all(one.get("traceparent", "").split("-")[1] == trace_id for one in heard), heard
        assert all(one.get("tracestate") == "vendor=x" for one in heard), heard
        print(f"caller: its trace goes on, {len(heard)} events with its context")

    async def _events_of(self, path: str, headers: dict[str, str]) -> list[dict[str, str]]:
        heard: list[tuple[str, dict[str, str]]] = []

        async def take(message: Msg) -> None:
            heard.append((message.subject, dict(message.headers or {})))

        async with await nats.connect(self._stack.values()["NOETL_NATS_URL"]) as client:
            await client.subscribe("noetl.events.>", cb=take)
            await flush(client)
            execution_id = await asyncio.to_thread(self.start, path, headers=headers)
            # Messages of executions before this one may go out once more, by the sweep.
            while not (own := [more for subject, more in heard if f".{execution_id}." in subject]):
                await asyncio.sleep(0.05)
        return own

    def unsampled_traces_are_carried_and_not_recorded(self) -> None:
        """A trace that the caller doesn't sample is recorded nowhere, and its context goes on."""
        trace_id = "aaf92f3577b34da6a3ce929d0e0e4736"
        headers = {"traceparent": f"00-{trace_id}-{CALLER}-00"}
        execution_id = self.start("traces/child", headers=headers)
        self._whole(self.start("traces/child"), set())  # so that everything before is sent
        assert self._receiver.of(trace_id) == []
        assert self._receiver.about(execution_id) == set()
        meta = json.loads(asyncio.run(self._meta_of_start(execution_id)))
        assert meta["trace"]["traceparent"].split("-")[1] == trace_id, meta
        print("unsampled: nothing recorded, the context is kept")

    async def _meta_of_start(self, execution_id: int) -> str:
        connection = await asyncpg.connect(self._stack.dsn())
        try:
            found: str = await connection.fetchval(_META_OF_START, execution_id)
        finally:
            await connection.close()
        return found

    def failures_are_marked(self) -> None:
        """The run of a tool that fails is an error."""
        spans = self._whole(self.start("traces/broken"), {("run python", "command", "worker")})
        failed = [span.name for span in spans if span.failed]
        assert failed == ["run python"], failed
        print("failure: marked at the run of its tool")

    def logs_are_found(self) -> None:
        """The lines of all processes about an execution and a step, with its trace."""
        execution_id = self.start("traces/broken")
        (trace_id,) = {span.trace_id for span in self._whole(execution_id, set())}
        lines = self._logs(str(execution_id))
        assert [line["ts"] for line in lines] == sorted(line["ts"] for line in lines)
        # Those of broker and database have none of our fields.
        services = {line["service"] for line in lines if "service" in line}
        assert services >= {"api-gateway", "orchestrator", "worker"}, services
        failed = next(line for line in lines if line["msg"] == "command_failed")
        assert failed["command_id"].startswith(f"{execution_id}:start:"), failed
        assert (failed["step"], failed["trace_id"]) == ("start", trace_id), failed
        assert failed in self._logs(str(execution_id), "start")
        print(f"logs: {len(lines)} lines of {len(services)} services about one execution")

    def _logs(self, *words: str) -> list[dict[str, Any]]:
        program = [*command(), "logs", "--json", "--data", str(self._stack.data), *words]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def _whole(
        self, execution_id: int, expected: set[Edge], *, commands: int = 1
    ) -> list[ReceivedSpan]:
        """Wait for a whole trace: no parent is missing, every expected span there."""

        def trace() -> list[ReceivedSpan]:
            ids = self._receiver.about(execution_id)
            assert len(ids) <= 1, f"{execution_id} is in several traces: {ids}"
            return self._receiver.of(ids.pop()) if ids else []

        def is_whole() -> bool:
            spans = trace()
            count = sum(span.name == "command" for span in spans)
            return count >= commands and not orphans(spans) and not missing(spans, expected)

        try:
            wait_until(
                is_whole,
                what="a whole trace",
            )
        except TimeoutError as error:
            tree = "\n".join(map(str, sorted(edges(trace()))))
            raise AssertionError(
                f"orphans {orphans(trace())}\nmissing {missing(trace(), expected)}\n{tree}"
            ) from error
        return trace()


def orphans(spans: Sequence[ReceivedSpan], known: set[str] = frozenset()) -> list[ReceivedSpan]:  # type: ignore[assignment]
    """Return the spans whose parent is not there."""
    ids = {span.span_id for span in spans} | known | {""}
    return [span for span in spans if span.parent_id not in ids]


def missing(spans: Sequence[ReceivedSpan], expected: set[Edge]) -> set[Edge]:
    """Return what was expected and is not there."""
    return expected - edges(spans)


def edges(spans: Sequence[ReceivedSpan]) -> set[Edge]:
    """Return each span's name, its parent's, and its service."""
    names = {span.span_id: span.name for span in spans}
    return {
        (span.name, names.get(span.parent_id, ""), span.service.removeprefix("noetl-"))
        for span in spans
    }


@contextmanager
def worker(stack: Stack, pool: str, environment: dict[str, str]) -> Iterator[None]:
    """Run a worker beside the stack that speaks HTTP to the control plane."""
    log = stack.data.parent / f"{pool}.log"
    process = stack.start_worker(
        pool,
        log=log,
        **{**environment, "WORKER_POOL_NAME": pool, "NOETL_WORKER_TRANSPORT": "http"},
    )
    try:
        yield
    finally:
        end(process)
        if sys.exc_info()[0] is not None:
            print(log.read_text(errors="replace")[-3000:])


def end(process: subprocess.Popen[bytes]) -> None:
    """End a worker with everything it started."""
    process.terminate()
    try:
        process.wait(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def table(found: set[Edge]) -> None:
    """Print what the page lists."""
    print("\n| span | parent | service |\n|---|---|---|")
    for name, parent, service in sorted(found, key=lambda edge: (edge[2], edge[1], edge[0])):
        shown = f"`{parent}`" if parent else "none, or the caller's"
        print(f"| `{name}` | {shown} | {service} |")


if __name__ == "__main__":
    assert Path("pyproject.toml").is_file(), "run it from the checkout"
    main()
