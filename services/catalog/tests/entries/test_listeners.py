"""Subscriptions found by the last part of their gateway path."""

from noetl_catalog.entries.parsers import Parsers
from noetl_catalog.entries.read_handlers import ReadHandlers
from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.entries.store import EntryStore
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import ListenerRequest, ListenerSubscription
from noetl_pg.database import Database
from noetl_pg.pool import Pool

DOCUMENT = """
kind: Subscription
metadata: {{path: {path}}}
spec: {{mode: push, ingress: {{gateway_path: {gateway_path}}}}}
"""


async def keep(pool: Pool, path: str, version: int, gateway_path: str, **columns: str) -> None:
    await pool.execute(
        "INSERT INTO noetl.catalog (catalog_id, path, version, kind, content)"
        " VALUES ($1, $2, $3, $4, $5)",
        hash((path, version)) % 10**9,
        path,
        version,
        columns.get("kind", "subscription"),
        columns.get("content", DOCUMENT.format(path=path, gateway_path=gateway_path)),
    )


async def test_a_listener_is_found_by_the_last_part_of_the_newest_path(pool: Pool) -> None:
    await keep(pool, "subscriptions/a", 1, "/hooks/orders")
    await keep(pool, "subscriptions/a", 2, "/hooks/payments")
    await keep(pool, "subscriptions/b", 1, "/x/orders/")
    await keep(pool, "subscriptions/c", 1, "", content="a: [")
    await keep(pool, "playbooks/d", 1, "/hooks/other", kind="playbook")
    settings = EntrySettings()
    handlers = ReadHandlers(
        EntryStore(Database(pool)), settings=settings, parsers=Parsers(settings)
    )

    orders = await handlers.on_listener(ListenerRequest(listener="orders"))
    other = await handlers.on_listener(ListenerRequest(listener="other"))

    assert isinstance(orders, ListenerSubscription)
    assert orders.path == "subscriptions/b"
    assert orders.spec["ingress"] == {"gateway_path": "/x/orders/"}
    assert other == Refusal(404, "No push subscription for ingress listener 'other'")


async def test_what_was_taken_out_of_the_catalog_listens_no_more(pool: Pool) -> None:
    await keep(pool, "subscriptions/a", 1, "/hooks/orders")
    await keep(pool, "subscriptions/a", 2, "/hooks/payments")
    await keep(pool, "subscriptions/b", 1, "/hooks/refunds")
    await pool.execute(
        "UPDATE noetl.catalog SET deleted_at = now() WHERE version = 2 OR path = 'subscriptions/b'"
    )
    settings = EntrySettings()
    handlers = ReadHandlers(
        EntryStore(Database(pool)), settings=settings, parsers=Parsers(settings)
    )

    gone = [
        await handlers.on_listener(ListenerRequest(listener=name))
        for name in ("payments", "refunds")
    ]
    orders = await handlers.on_listener(ListenerRequest(listener="orders"))

    assert [isinstance(answer, Refusal) and answer.status for answer in gone] == [404, 404]
    assert isinstance(orders, ListenerSubscription)
    assert orders.path == "subscriptions/a"
