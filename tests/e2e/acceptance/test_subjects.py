"""Names of the subjects that a stack uses."""

import pytest
from noetl_contract import subjects
from subjects import name_of_subject


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        (subjects.ingress_subject(0, execution_id=7, kind="outcome"), "ingress"),
        (subjects.command_subject("shared", execution_id=7), "commands"),
        (subjects.event_subject(7, shard=0), "events"),
        (subjects.dead_letter_subject("NOETL_EVENTS"), "dead_letters"),
        (subjects.published_subject(3, outbox_id=7, message_id="c:7:0"), "published"),
        (subjects.replica_moves_subject(3), "replica_hints"),
        (subjects.ACCESS_AUDIT, "access_audit"),
        (subjects.ACCESS_HINT, "access_hints"),
        ("noetl_rpc.projector.12.vars.list", "projector.vars.list"),
        ("noetl_rpc.catalog.cluster.register.batch", "catalog.register.batch"),
        ("_INBOX.abc.1", "replies"),
        ("noetl_rpc.catalog.0.register", None),
        ("noetl_rpc.projector.0.vars.steal", None),
        ("noetl.commands.shared.7.8", None),
    ],
)
def test_subjects_have_the_name_of_their_channel(subject: str, name: str | None) -> None:
    assert name_of_subject(subject) == name
