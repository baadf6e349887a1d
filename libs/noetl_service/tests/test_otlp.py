"""Spans as a collector gets them, and what turns them on."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from time import time_ns

import pytest
from noetl_common.telemetry.carrier import (
    carried,
    carry,
    is_sampled,
    reset_trace_context,
    trace_id_of,
)
from noetl_common.telemetry.tracing import (
    inside,
    record,
    stop_tracing,
    traced_process,
    tracing,
)
from noetl_service.settings import ServiceSettings
from noetl_testkit.waiting import PATIENCE_SECONDS
from otlp_receiver import Receiver, receiving
from prometheus_client import REGISTRY
from pydantic import ValidationError

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(autouse=True)
def _variables(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    receiver.spans.clear()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    yield
    stop_tracing()


def names(receiver: Receiver) -> list[str]:
    return sorted(span.name for span in receiver.spans.values())


def test_spans_have_their_parents_and_their_service(receiver: Receiver) -> None:
    with traced_process(ServiceSettings(), "outbox", revision="abc"):
        recorder = tracing()
        assert recorder is not None
        root = recorder.begin("root", None, kind="server", attributes={"a": 1})
        token = carry(root.context)
        with inside("child"):
            here = carried()
            assert here is not None
            assert trace_id_of(here.context) == trace_id_of(root.context)
        reset_trace_context(token)
        now = time_ns()
        record(
            recorder,
            "before",
            root.context,
            from_ns=now - 5_000,
            to_ns=now,
            links=[{"traceparent": PARENT}],
        )
        root.rename("renamed")
        root.end(error="500")
        recorder.begin("never ended", None)

    spans = {span.name: span for span in receiver.spans.values()}
    assert sorted(spans) == ["before", "child", "renamed"]
    root_id = spans["renamed"].span_id
    assert (spans["child"].parent_id, spans["before"].parent_id) == (root_id, root_id)
    assert {span.service for span in spans.values()} == {"noetl-outbox"}
    assert (spans["renamed"].failed, spans["renamed"].attributes["a"]) == (True, 1)
    assert spans["before"].end_ns - spans["before"].begin_ns == 5_000
    assert spans["before"].links == ("00f067aa0ba902b7",)


def test_a_caller_s_context_is_the_parent(receiver: Receiver) -> None:
    with traced_process(ServiceSettings(), "x"):
        recorder = tracing()
        assert recorder is not None
        recorder.begin("mine", {"traceparent": PARENT, "tracestate": "v=1"}).end()

    (span,) = receiver.spans.values()
    assert (span.trace_id, span.parent_id) == (trace_id_of({"traceparent": PARENT}), PARENT[36:52])


def test_what_is_sent_and_lost_is_counted(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counts() -> list[float]:
        return [
            REGISTRY.get_sample_value("noetl_spans_total", {"outcome": outcome}) or 0.0
            for outcome in ("sent", "lost")
        ]

    before = counts()
    for address, seconds in ((receiver.url, PATIENCE_SECONDS), ("http://127.0.0.1:1", 1)):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", f"{seconds:g}")
        with traced_process(ServiceSettings(), "x"):
            recorder = tracing()
            assert recorder is not None
            recorder.begin("one", None).end()

    assert [now - then for now, then in zip(counts(), before, strict=True)] == [1, 1]


def test_an_error_of_a_block_is_one_of_its_span(receiver: Receiver) -> None:
    with traced_process(ServiceSettings(), "x"):
        token = carry({"traceparent": PARENT})
        with pytest.raises(KeyError), inside("broken"):
            raise KeyError
        reset_trace_context(token)

    assert [span.failed for span in receiver.spans.values()] == [True]


def test_what_is_cancelled_has_not_failed(receiver: Receiver) -> None:
    with traced_process(ServiceSettings(), "x"):
        token = carry({"traceparent": PARENT})
        with pytest.raises(asyncio.CancelledError), inside("broken off"):
            raise asyncio.CancelledError
        reset_trace_context(token)

    (span,) = receiver.spans.values()
    assert not span.failed
    assert span.attributes["noetl.cancelled"] is True


@pytest.mark.parametrize(
    ("sampler", "argument", "parent", "recorded"),
    [
        ("parentbased_traceidratio", "0", None, False),
        ("parentbased_traceidratio", "1", None, True),
        ("parentbased_traceidratio", "0", PARENT, True),
        ("parentbased_traceidratio", "1", f"{PARENT[:-2]}00", False),
        ("always_on", "", f"{PARENT[:-2]}00", True),
        ("always_off", "", PARENT, False),
    ],
)
def test_the_standard_samplers(
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    argument: str,
    parent: str | None,
    *,
    recorded: bool,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    with traced_process(ServiceSettings(), "x"):
        recorder = tracing()
        assert recorder is not None
        span = recorder.begin("one", None if parent is None else {"traceparent": parent})
        span.end()

    assert names(receiver) == (["one"] if recorded else [])
    assert is_sampled(span.context) is recorded


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "150"),
        ("OTEL_TRACES_SAMPLER_ARG", "half"),
    ],
)
def test_a_bad_value_is_an_error_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError, match=variable):
        ServiceSettings()


def test_without_the_variable_nothing_is_recorded_and_the_sdk_is_not_loaded() -> None:
    program = (
        "import sys, noetl_service.service as service\n"
        "from noetl_service.settings import ServiceSettings\n"
        "from noetl_common.telemetry import tracing\n"
        "with tracing.traced_process(ServiceSettings(), 'x'):\n"
        "    with tracing.inside('one') as span: assert span is None\n"
        "    assert tracing.tracing() is None\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))\n"
    )
    for more in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}):
        done = subprocess.run(
            [sys.executable, "-c", program], env=more, capture_output=True, text=True, check=True
        )
        assert done.stdout == "[]\n"
