"""Documents of kind Trigger, and the playbook that calls addresses."""

import pytest
from noetl_catalog.entries.parsers import Parsers
from noetl_catalog.entries.read_handlers import ReadHandlers
from noetl_catalog.entries.register_handlers import RegisterHandlers
from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.entries.store import EntryStore
from noetl_catalog.entries.triggers import built_in
from noetl_catalog.libraries import Resolver, ResolveSettings
from noetl_catalog.schedules.store import ScheduleStore
from noetl_common.errors import NoetlError
from noetl_common.ids import SnowflakeIds
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Role
from noetl_contract.failures.ended import WEBHOOK_CATALOG_ID, WEBHOOK_PATH
from noetl_contract.http.catalog.entries import RegisterAnswer
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import (
    ContentRequest,
    EntryName,
    ListenerRequest,
    ListenerSubscription,
    RegisterDocument,
    ResolvedEntry,
)
from noetl_contract.rpc.models import Nothing
from noetl_engine.playbook import parse_playbook
from noetl_engine.playbook.lint import Severity, lint
from noetl_pg.database import Database
from noetl_pg.pool import Pool

HEAD = "apiVersion: noetl.io/v2\nkind: Trigger\nmetadata: {name: t, path: team/alerts/t}\n"
GOOD = HEAD + (
    "spec:\n"
    "  on: {ended: [FAILED, ERRORS], under: team/reports}\n"
    "  start: {playbook: team/notify, payload: {channel: ops}}\n"
    "  webhook: https://alerts.example/hook\n"
)


class Entries:
    """The handlers of documents."""

    def __init__(self, pool: Pool) -> None:
        self.told: list[str] = []

        async def changed() -> None:
            pass

        async def triggers_changed() -> None:
            self.told.append("trigger")

        settings, store = EntrySettings(), EntryStore(Database(pool))
        self.read = ReadHandlers(store, settings=settings, parsers=Parsers(settings))
        self.write = RegisterHandlers(
            store,
            settings=settings,
            ids=SnowflakeIds(7),
            parsers=Parsers(settings),
            schedules=ScheduleStore(Database(pool)),
            resolver=Resolver(ResolveSettings()),
            changed=changed,
            triggers_changed=triggers_changed,
        )


@pytest.fixture
def entries(pool: Pool) -> Entries:
    return Entries(pool)


async def test_the_newest_version_of_a_trigger_is_in_force_until_it_is_deleted(
    entries: Entries,
) -> None:
    for text in (GOOD, GOOD.replace("channel: ops", "channel: other")):
        answer = await entries.write.on_register(RegisterDocument(content=text))
        assert isinstance(answer, RegisterAnswer)
        assert answer.kind == "trigger"

    (trigger,) = (await entries.read.on_triggers(Nothing())).triggers
    assert trigger.statuses == ("FAILED", "ERRORS")
    assert (trigger.under, trigger.playbook) == ("team/reports", "team/notify")
    assert trigger.payload == {"channel": "other"}
    assert trigger.webhook_url == "https://alerts.example/hook"

    await entries.write.on_delete(EntryName(path="team/alerts/t"))
    assert entries.told == ["trigger"] * 3
    assert (await entries.read.on_triggers(Nothing())).triggers == []


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("{}", "kind: Trigger requires `spec.on`, a mapping"),
        ("{on: {ended: DONE}, webhook: 'http://h'}", "spec.on.ended: 'DONE' is none of COMPLETED"),
        ("{on: {ended: FAILED}}", "spec needs `start` or `webhook`"),
        ("{on: {ended: FAILED, path: x}, webhook: 'http://h'}", "unknown key 'path', known: ended"),
        ("{on: {ended: FAILED}, webhook: h}", "spec.webhook.url must begin with http://"),
        ("{on: {ended: FAILED}, start: {payload: {}}}", "spec.start.playbook must be the path"),
    ],
)
async def test_a_wrong_trigger_is_refused_with_its_reason(
    entries: Entries, spec: str, error: str
) -> None:
    with pytest.raises(NoetlError) as raised:
        await entries.write.on_register(RegisterDocument(content=f"{HEAD}spec: {spec}\n"))

    assert raised.value.message.startswith("Invalid trigger: ")
    assert error in raised.value.message


async def test_who_registers_a_trigger_has_to_reach_both_ends(entries: Entries) -> None:
    author = Principal(
        name="a", kind="key", roles=(Role.AUTHOR, Role.OPERATOR), namespaces=("team",)
    )
    other = GOOD.replace("under: team/reports", "under: other")
    further = GOOD.replace("playbook: team/notify", "playbook: other/notify")
    for text in (other, further, GOOD.replace(", under: team/reports", "")):
        answer = await entries.write.on_register(RegisterDocument(content=text, principal=author))
        assert isinstance(answer, Refusal)
        assert answer.status == 403
    answer = await entries.write.on_register(RegisterDocument(content=GOOD, principal=author))
    assert isinstance(answer, RegisterAnswer)

    (trigger,) = (await entries.read.on_triggers(Nothing())).triggers
    assert trigger.registrant == author.as_registrant()
    # A version registered without a login, where none is needed, has no registrant.
    await entries.write.on_register(RegisterDocument(content=GOOD))
    (trigger,) = (await entries.read.on_triggers(Nothing())).triggers
    assert trigger.registrant is None


async def test_who_registered_a_subscription_is_told_with_it(entries: Entries) -> None:
    document = (
        "apiVersion: noetl.io/v1\nkind: Subscription\nmetadata: {name: s, path: team/s}\n"
        "spec: {source: webhook, mode: push, dispatch: {playbook: team/x},"
        " ingress: {gateway_path: /ingress/s, verify: {type: bearer, secret: alias}}}\n"
    )
    who = [
        Principal(name=name, kind="key", roles=(Role.AUTHOR,), namespaces=("team",), pools=("gpu",))
        for name in ("ada", "eve")
    ]
    for one in who:
        answer = await entries.write.on_register(RegisterDocument(content=document, principal=one))
        assert isinstance(answer, RegisterAnswer), answer
        found = await entries.read.on_listener(ListenerRequest(listener="s"))
        entry = await entries.read.on_resolve(EntryName(path="team/s"))
        assert isinstance(found, ListenerSubscription)
        assert isinstance(entry, ResolvedEntry)
        assert found.registrant == entry.registrant == one.as_registrant()


async def test_the_playbook_of_webhooks_is_always_there(entries: Entries) -> None:
    found = await entries.read.on_resolve(EntryName(path=WEBHOOK_PATH))
    assert isinstance(found, ResolvedEntry)
    assert found.catalog_id == WEBHOOK_CATALOG_ID
    content = await entries.read.on_content(ContentRequest(catalog_id=WEBHOOK_CATALOG_ID))
    assert not isinstance(content, Refusal)
    entry = built_in(path=WEBHOOK_PATH)
    assert entry is not None
    assert parse_playbook(entry.content or "").fails_softly
    assert not [one for one in lint(entry.content or "") if one.severity is Severity.ERROR]

    mine = (entry.content or "").replace("max_attempts: 5", "max_attempts: 1")
    await entries.write.on_register(RegisterDocument(content=mine))
    found = await entries.read.on_resolve(EntryName(path=WEBHOOK_PATH))
    assert isinstance(found, ResolvedEntry)
    assert found.catalog_id != WEBHOOK_CATALOG_ID
