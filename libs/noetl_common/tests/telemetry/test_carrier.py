"""W3C contexts: which are taken, and what goes on."""

import pytest
from noetl_common.telemetry.carrier import (
    carried,
    carried_headers,
    carry,
    is_sampled,
    read_context,
    reset_trace_context,
    trace_id_of,
)

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def test_a_context_is_read_from_headers_and_json() -> None:
    said = {"traceparent": PARENT, "tracestate": "a=1", "baggage": "x=y", "other": 1}

    assert read_context(said) == {"traceparent": PARENT, "tracestate": "a=1"}
    assert trace_id_of(said) == TRACE_ID


@pytest.mark.parametrize(
    "parent",
    [
        None,
        7,
        "",
        PARENT.upper(),
        f"ff{PARENT[2:]}",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"{PARENT}-more",
        f" {PARENT}",
        f"{PARENT}\n",
    ],
)
def test_a_malformed_context_is_none(parent: object) -> None:
    assert read_context({"traceparent": parent}) is None


@pytest.mark.parametrize("state", ["", "x" * 513, "é=1", 7])
def test_a_bad_state_is_left_out(state: object) -> None:
    assert read_context({"traceparent": PARENT, "tracestate": state}) == {"traceparent": PARENT}


def test_what_is_no_mapping_is_no_context() -> None:
    assert (read_context(None), read_context("x"), read_context([])) == (None, None, None)


def test_without_a_context_nothing_goes_on() -> None:
    assert (carried(), dict(carried_headers())) == (None, {})


def test_a_context_goes_on_until_it_is_put_away() -> None:
    token = carry({"traceparent": PARENT})
    assert dict(carried_headers()) == {"traceparent": PARENT}
    reset_trace_context(token)
    assert carried() is None


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("03", True)])
def test_the_sender_says_whether_it_records(flags: str, sampled: bool) -> None:  # noqa: FBT001
    assert is_sampled({"traceparent": f"{PARENT[:-2]}{flags}"}) is sampled
