"""Documents that are refused, and those that are stored although they cannot run."""

from pathlib import Path

import pytest
from noetl_catalog.entries.parsers import Parsers
from noetl_catalog.entries.register_handlers import RegisterHandlers
from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.entries.store import EntryStore
from noetl_catalog.libraries import Resolver, ResolveSettings
from noetl_catalog.schedules.store import ScheduleStore
from noetl_common.errors import NoetlError
from noetl_common.ids import SnowflakeIds
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Role
from noetl_contract.http.catalog.entries import RegisterAnswer
from noetl_contract.libraries.requirements import Requirements
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import CheckDocument, EntryName, RegisterDocument
from noetl_pg.database import Database
from noetl_pg.pool import Pool
from noetl_testkit.wheels import make_wheel
from pydantic import SecretStr

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: hello, path: demo/hello}
workflow:
- step: begin
  tool: {kind: noop}
"""


def make_handlers(
    pool: Pool, settings: EntrySettings, resolving: ResolveSettings | None = None
) -> RegisterHandlers:
    async def changed() -> None:
        pass

    return RegisterHandlers(
        EntryStore(Database(pool)),
        settings=settings,
        ids=SnowflakeIds(7),
        parsers=Parsers(settings),
        schedules=ScheduleStore(Database(pool)),
        resolver=Resolver(resolving or ResolveSettings()),
        changed=changed,
    )


@pytest.fixture
def handlers(pool: Pool) -> RegisterHandlers:
    return make_handlers(pool, EntrySettings())


async def refusal_of(handlers: RegisterHandlers, content: str) -> Refusal:
    """The refusal of a document, answered or raised."""
    try:
        answer = await handlers.on_register(RegisterDocument(content=content))
    except NoetlError as error:
        return Refusal(error.http_status, error.message)
    assert isinstance(answer, Refusal)
    return answer


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("a: [", "Invalid YAML: "),
        ("a: 1\na: 2", 'Invalid YAML: duplicate entry with key "a"'),
        ("- 1", "Missing 'metadata' section"),
        ("metadata: {path: 5}", "Missing 'path' or 'name' in metadata"),
        ("metadata: {name: x}\nkind: Gadget", "Unknown kind 'gadget'"),
        ("metadata: {name: x}\nkind: Subscription", "kind: Subscription requires a 'spec' block"),
        ("", "Missing 'metadata' section"),
        ('metadata: {name: "\\0"}', "The path '\\x00' has the control character U+0000"),
    ],
)
async def test_documents_without_sense_are_refused(
    handlers: RegisterHandlers, content: str, error: str
) -> None:
    refusal = await refusal_of(handlers, content)

    assert refusal.status == 422
    assert refusal.error.startswith(error)


async def test_document_over_the_limit_is_refused(handlers: RegisterHandlers) -> None:
    refusal = await refusal_of(handlers, "x" * (2 * 1024 * 1024 + 1))

    assert refusal.status == 413


async def test_playbook_that_cannot_run_is_kept_and_says_why(handlers: RegisterHandlers) -> None:
    answer = await handlers.on_register(RegisterDocument(content=PLAYBOOK))

    assert isinstance(answer, RegisterAnswer)
    assert answer.problems == ["Workflow must have a step named 'start'"]


async def test_document_that_is_not_read_in_time_is_refused(pool: Pool) -> None:
    settings = EntrySettings(catalog_parse_timeout_seconds=1e-9)
    handlers = make_handlers(pool, settings)

    refusal = await refusal_of(handlers, PLAYBOOK)

    assert refusal == Refusal(503, "The document could not be read in time")


LIBRARIES = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: hello, path: demo/hello}
workflow:
- step: start
  tool: {kind: python, code: pass, requirements: [noetlone]}
"""


async def test_each_version_keeps_the_lock_of_its_time(pool: Pool, tmp_path: Path) -> None:
    settings = ResolveSettings(
        libraries_index_url=SecretStr("none"), libraries_find_links=(str(tmp_path),)
    )
    handlers, store = make_handlers(pool, EntrySettings(), settings), EntryStore(Database(pool))
    digest = Requirements(("noetlone",)).digest
    locks = []
    for version in ("1.0", "2.0"):
        make_wheel(tmp_path, "noetlone", version)
        answer = await handlers.on_register(RegisterDocument(content=LIBRARIES))
        assert isinstance(answer, RegisterAnswer)
        lock = await store.find_lock(int(answer.catalog_id), digest)
        assert lock is not None
        locks.append((lock.lock or "").partition(" ")[0])
    plain = await handlers.on_register(RegisterDocument(content=PLAYBOOK))
    assert isinstance(plain, RegisterAnswer)

    assert locks == ["noetlone==1.0", "noetlone==2.0"]
    assert await store.find_lock(int(plain.catalog_id), digest) is None


async def test_what_is_not_resolved_is_refused_or_kept_with_the_reason(
    pool: Pool, tmp_path: Path
) -> None:
    nowhere = {
        "libraries_index_url": SecretStr("none"),
        "libraries_find_links": (str(tmp_path / "nowhere"),),
    }
    refusing = make_handlers(pool, EntrySettings(), ResolveSettings(**nowhere))
    keeping = make_handlers(
        pool, EntrySettings(), ResolveSettings(**nowhere, libraries_unresolved="keep")
    )

    refusal = await refusal_of(refusing, LIBRARIES)
    answer = await keeping.on_register(RegisterDocument(content=LIBRARIES))

    assert refusal.status == 503
    assert isinstance(answer, RegisterAnswer)
    assert answer.problems == [refusal.error]


async def test_a_text_made_of_another_version_than_the_newest_is_not_kept(
    handlers: RegisterHandlers,
) -> None:
    async def keep(newest: int | None) -> RegisterAnswer | Refusal:
        return await handlers.on_register(RegisterDocument(content=PLAYBOOK, newest_version=newest))

    late = await keep(3)
    first = await keep(0)
    again = await keep(0)
    second = await keep(1)

    assert isinstance(first, RegisterAnswer)
    assert isinstance(second, RegisterAnswer)
    assert isinstance(again, Refusal)
    assert isinstance(late, Refusal)
    assert (first.version, second.version) == (1, 2)
    assert (late.status, late.detail) == (409, {"path": "demo/hello", "version": 0})
    assert again.error == "The newest version of 'demo/hello' is 1, not 0"


SCHEDULE = """
kind: Schedule
metadata: {name: timer, path: demo/timer}
spec: {cron: "@daily", playbook: demo/hello}
"""
TRIGGER = """
kind: Trigger
metadata: {path: demo/trigger}
spec:
  on: {ended: [FAILED], under: demo/}
  start: {playbook: demo/hello, version: 3}
"""
SUBSCRIPTION = """
kind: Subscription
metadata: {path: demo/orders}
spec:
  source: nats
  mode: pull
  dispatch:
    playbook: demo/hello
"""


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        (SCHEDULE, 4, "is not registered"),
        (TRIGGER, 6, "has no version 3"),
        (SUBSCRIPTION, 8, "is not registered"),
    ],
)
async def test_who_starts_a_playbook_that_is_not_there_is_kept_and_told(
    handlers: RegisterHandlers, content: str, line: int, what: str
) -> None:
    text = f"playbook 'demo/hello' {what}: nothing can be started before it is there"
    early = await handlers.on_register(RegisterDocument(content=content))
    checked = await handlers.on_validate(CheckDocument(content=content))
    for _ in range(3):
        await handlers.on_register(RegisterDocument(content=PLAYBOOK))
    late = await handlers.on_register(RegisterDocument(content=content))
    checked_late = await handlers.on_validate(CheckDocument(content=content))

    assert isinstance(early, RegisterAnswer)
    assert isinstance(late, RegisterAnswer)
    assert not isinstance(checked, Refusal)
    assert not isinstance(checked_late, Refusal)
    assert early.problems == [text]
    assert [(one.line, one.rule, one.severity, one.message) for one in checked.problems] == [
        (line, "unknown-playbook", "warning", text)
    ]
    assert checked.valid
    assert late.problems is None
    assert checked_late.problems == []


async def test_a_version_that_was_taken_out_is_missing(handlers: RegisterHandlers) -> None:
    await handlers.on_register(RegisterDocument(content=PLAYBOOK))
    await handlers.on_delete(EntryName(path="demo/hello"))

    answer = await handlers.on_register(RegisterDocument(content=SCHEDULE))

    assert isinstance(answer, RegisterAnswer)
    assert answer.problems is not None


async def test_out_of_reach_nobody_is_told_which_playbooks_there_are(
    handlers: RegisterHandlers,
) -> None:
    caller = Principal(kind="key", name="one", namespaces=("other",), roles=(Role.AUTHOR,))

    told = await handlers.on_validate(CheckDocument(content=SCHEDULE, principal=caller))

    assert not isinstance(told, Refusal)
    assert told.problems == []
