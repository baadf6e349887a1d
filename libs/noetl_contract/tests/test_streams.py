"""Promises of the declared streams (W4, W6)."""

from datetime import timedelta

from noetl_contract import streams, subjects
from noetl_contract.streams import (
    ALL_STREAMS,
    COMMANDS,
    EVENTS,
    INGRESS,
    STREAMS,
    ingress_durable,
)


def covers(pattern: str, subject: str) -> bool:
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        return len(tokens) >= len(wanted) and tokens[: len(wanted) - 1] == wanted[:-1]
    return wanted == tokens


def captured_by(subject: str) -> set[str]:
    return {
        one.name for one in ALL_STREAMS if any(covers(pattern, subject) for pattern in one.subjects)
    }


def test_w6_a_full_ingress_refuses_and_keeps_unhandled_messages() -> None:
    assert (INGRESS.retention, INGRESS.discard) == ("workqueue", "new")
    assert INGRESS.max_bytes is not None
    assert INGRESS.max_age is None


def test_w4_another_replica_takes_over_before_the_client_notices() -> None:
    assert ingress_durable(0).ack_wait == timedelta(seconds=5)


def test_each_message_is_in_one_stream_and_ours_are_in_none_of_the_contract_s() -> None:
    stored = {
        subjects.ingress_subject(3, execution_id=5, kind="start"): INGRESS.name,
        subjects.command_subject("shared", execution_id=5): COMMANDS.name,
        subjects.COMMANDS_ROOT: COMMANDS.name,
        subjects.event_subject(5, shard=3): EVENTS.name,
        subjects.dead_letter_subject(INGRESS.name): streams.DEAD.name,
        subjects.ACCESS_AUDIT: streams.AUDIT.name,
        subjects.page_subject(
            "c", request_id="r", execution_id=5, kind="result"
        ): streams.PAGES.name,
    }

    assert {subject: captured_by(subject) for subject in stored} == {
        subject: {name} for subject, name in stored.items()
    }
    for subject in (
        subjects.published_subject(0, outbox_id=7, message_id="c:7:0"),
        subjects.replica_moves_subject(0),
        subjects.ACCESS_HINT,
        subjects.page_hint_subject("c"),
        subjects.rpc_subject("catalog", "resolve"),
        "noetl.callbacks.1",
    ):
        assert captured_by(subject) == set()


def test_o1_a_repetition_is_noticed_for_longer_than_any_lease_of_a_row() -> None:
    assert {one.duplicate_window for one in STREAMS} == {timedelta(seconds=120)}
