"""Given-up messages are listed, newest first, with the way to put them back."""

from noetl_bus.rpc import RpcClient
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.states import GIVEN_UP, OUTBOX_STATE, GivenUpQuery
from noetl_contract.streams import DEAD
from noetl_contract.subjects import dead_letter_subject
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.outbox.tests.rows import EXECUTION_ID, Rows, relaying

SUBJECT = f"noetl_ingress.0.{EXECUTION_ID}.events"


async def bury(rows: Rows, number: int, **headers: str) -> None:
    about = {"Subject": SUBJECT, "Reason": f"reason {number}", "Deliveries": "3", **headers}
    await rows.bus.publish(
        dead_letter_subject("noetl_ingress"),
        b"{}",
        message_id=f"dead-{number}",
        seconds=PATIENCE_SECONDS,
        headers={f"Noetl-Dead-{name}": text for name, text in about.items()},
    )


async def test_letters_and_rows_are_listed_with_their_commands(
    rows: Rows, database: Database, nats_url: str
) -> None:
    for number in range(1, 6):
        await bury(rows, number, **({"Cut": "9"} if number == 4 else {}))
    await rows.bus.request(
        f"$JS.API.STREAM.MSG.DELETE.{DEAD.name}", b'{"seq":3}', seconds=PATIENCE_SECONDS
    )
    await rows.commit(rows.command(1), age_seconds=5)
    client = RpcClient(rows.bus)

    async def listed(**query: int) -> dict[str, object]:
        wanted = GivenUpQuery(limit=2, with_letters=True, **query)
        return (await client.ask(GIVEN_UP, wanted, shard=0, seconds=PATIENCE_SECONDS)).model_dump()

    async with relaying(database, nats_url):

        async def is_published() -> bool:
            state = await client.ask(OUTBOX_STATE, Nothing(), shard=0, seconds=PATIENCE_SECONDS)
            assert state.outbox is not None
            return state.outbox.pending["command"] == 0

        await eventually(is_published, what="the row is published")
        await rows.pool.execute(
            "UPDATE noetl.outbox SET status = 'PARKED', last_error = 'too large', attempts = 2"
        )
        first = await listed()
        second = await listed(before=int(str(first["before"])))
        state = await client.ask(OUTBOX_STATE, Nothing(), shard=0, seconds=PATIENCE_SECONDS)

    newest, cut = first["letters"]  # type: ignore[misc]  # of a dump
    assert (newest["name"], newest["reason"], newest["tries"]) == ("5", "reason 5", 3)
    assert newest["requeue"] == "noetl-server dead-letters replay 5"
    assert newest["execution_id"] == EXECUTION_ID
    assert cut["requeue"] is None
    assert "only its beginning" in cut["hindrance"]
    assert [one["name"] for one in second["letters"]] == ["2", "1"]  # type: ignore[attr-defined]
    assert (first["total"], second["before"]) == (4, None)
    (row,) = first["rows"]  # type: ignore[misc]
    assert row["reason"] == "too large"
    assert row["requeue"] == f"noetl-server dead-letters replay {row['name']}"
    assert state.outbox is not None
    assert state.outbox.parked == 1
    assert state.readiness == {"nats": "ok", "nats_stores": "ok", "postgres": "ok"}
