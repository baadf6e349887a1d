"""Writes to the database of this installation, one document or row at a time."""

import json
from collections.abc import Collection, Mapping

import orjson
from noetl_common.crypto.envelope import encode_secret
from noetl_contract.json import Json
from noetl_engine.documents import language_of, lint_document
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.lint import Severity
from noetl_engine.playbook.yaml import compose, to_json
from noetl_pg.database import Database
from noetl_pg.errors import DataRejected

from noetl_migrate.moving.keys import Keys
from noetl_migrate.moving.report import Section
from noetl_migrate.moving.rows import OldCredential, OldEntry, OldKeychainEntry, OldWorker

# Documents of these kinds act by being there, and the existing server knows none of them.
_ACTING = frozenset({"schedule", "trigger", "plugin"})
_MOST_VERSION = 32767


class Target:
    """Takes things in, each in a transaction of its own; a second time changes nothing.

    Args:
        database: of the cluster.
        keys: with which this installation encrypts.
        is_trial: write nothing.
        more_kinds: tools beside the built-in ones.
    """

    def __init__(
        self, database: Database, keys: Keys, *, is_trial: bool, more_kinds: Collection[str] = ()
    ) -> None:
        self._database = database
        self._keys = keys
        self._is_trial = is_trial
        self._more_kinds = more_kinds
        # By ids there: those that have another one here, and those that a trial would bring.
        self._here: dict[int, int] = {}
        self._planned: set[int] = set()

    async def take_entry(self, old: OldEntry, section: Section) -> None:
        """Take one version of a document in, under its number."""
        reason = _unfit(old)
        if reason:
            section.refuse(old.name, reason)
            return
        try:
            is_new = await self._add_entry(old, section)
        except DataRejected as error:
            section.refuse(old.name, error.message)
            return
        if is_new:
            section.came += 1
            self._remark(old, section)

    async def _add_entry(self, old: OldEntry, section: Section) -> bool:
        async with self._database.transaction() as session:
            await session.fetchrow("lock_catalog_path", old.path)
            twin = await session.fetchrow("find_entry", old.path, old.version)
            if twin is not None:
                self._meet(old, twin["catalog_id"], twin["content"], section)
                return False
            if self._is_trial:
                self._planned.add(old.catalog_id)
                return True
            await session.execute("add_kind", old.kind.lower())
            columns = [_text(value) for value in derived(old.content)]
            added = await session.fetchrow(
                "add_entry", old.catalog_id, old.path, old.version, old.kind.lower(),
                old.content, *columns, old.created_at,
            )  # fmt: skip
        if added is None:
            section.refuse(old.name, f"another document here has its id {old.catalog_id}")
        return added is not None

    def _meet(self, old: OldEntry, number: int, content: str | None, section: Section) -> None:
        if content != old.content:
            section.refuse(old.name, "another text has this path and version here")
            return
        section.present += 1
        if number != old.catalog_id:
            self._here[old.catalog_id] = number

    def _remark(self, old: OldEntry, section: Section) -> None:
        if language_of(old.kind.lower(), old.content) != "playbook":
            return
        found = lint_document(old.content, kind="playbook", more_kinds=self._more_kinds)
        errors = [one for one in found if one.severity is Severity.ERROR]
        if errors:
            first = errors[0]
            more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
            section.remark(old.name, f"line {first.line}: {first.message}{more}")

    async def take_credential(self, old: OldCredential, section: Section) -> None:
        """Take a credential in, encrypted with the key of this installation."""
        if old.secret.trouble:
            section.refuse(old.name, old.secret.trouble)
            return
        row = f"credential:{old.name}"
        known = await self._database.fetchrow("find_credential_named", old.name)
        if known is not None:
            mine = self._keys.open(known["data_encrypted"], row=row)
            wanted = (old.kind, encode_secret(old.secret.value))
            if mine.trouble:
                section.refuse(old.name, f"one with its name is here, unreadable: {mine.trouble}")
            elif (known["type"], encode_secret(mine.value)) == wanted:
                section.present += 1
            else:
                section.refuse(old.name, "another credential has its name here")
            return
        sealed = self._keys.seal(old.secret.value, row=row)
        if sealed is None:
            section.refuse(old.name, self._keys.reason)
            return
        added: object = True
        if not self._is_trial:
            added = await self._database.fetchrow(
                "add_credential", old.number, old.name, old.kind, sealed, _text(old.meta),
                old.tags, old.description, old.created_at, old.updated_at,
            )  # fmt: skip
        if added is None:
            section.refuse(old.name, f"another credential here has its id {old.number}")
        else:
            section.came += 1

    async def take_keychain_entry(self, old: OldKeychainEntry, section: Section) -> None:
        """Take an entry of a keychain in; those of executions and those that are over stay."""
        if old.execution_id is not None:
            section.leave(old.name, f"it is that of execution {old.execution_id}, which ends there")
        elif old.is_expired or old.expires_at is None:
            section.leave(old.name, "it has expired")
        elif old.secret.trouble:
            section.refuse(old.name, old.secret.trouble)
        else:
            await self._take_living(old, section)

    async def _take_living(self, old: OldKeychainEntry, section: Section) -> None:
        number = self._here.get(old.catalog_id, old.catalog_id)
        key = old.cache_key
        if number != old.catalog_id:
            key = key.replace(f":{old.catalog_id}:", f":{number}:", 1)
        is_planned = self._is_trial and number in self._planned
        if not is_planned and await self._database.fetchrow("find_entry_id", number) is None:
            section.refuse(old.name, "its document is not here")
            return
        if await self._database.fetchrow("find_keychain_entry", key) is not None:
            section.present += 1
            return
        sealed = self._keys.seal(old.secret.value, row=f"keychain:{key}")
        if sealed is None:
            section.refuse(old.name, self._keys.reason)
            return
        if not self._is_trial:
            await self._database.fetchrow(
                "add_keychain_entry", key, old.keychain_name, number, old.credential_type,
                old.cache_type, old.scope_type, sealed, old.expires_at, old.auto_renew,
                _text(old.renew_config),
            )  # fmt: skip
        section.came += 1
        if old.auto_renew and old.renew_config is None:
            section.remark(old.name, "how it renews itself isn't told: its playbook says it")

    async def take_worker(self, old: OldWorker, section: Section) -> None:
        """Take a registration in, with the heartbeat that it had."""
        if await self._database.fetchrow("find_worker", old.name) is not None:
            section.present += 1
            return
        if not self._is_trial:
            added = await self._database.fetchrow(
                "add_worker", old.number, old.name, old.uri, old.status, _text(old.labels),
                _text(old.capabilities), old.capacity, _text(old.runtime), old.heartbeat,
            )  # fmt: skip
            if added is None:
                section.refuse(old.name, f"another registration here has its id {old.number}")
                return
        section.came += 1


def derived(content: str) -> tuple[Json, Json, Json, Json]:
    """Return layout, payload, labels and metadata of a document; all None of an unreadable one."""
    try:
        tree = to_json(compose(content))
    except DecodeError:
        return None, None, None, None
    if not isinstance(tree, dict):
        return None, None, None, None
    metadata = tree.get("metadata")
    known: Mapping[str, Json] = metadata if isinstance(metadata, dict) else {}
    return tree.get("workflow"), tree.get("workload"), known.get("labels"), dict(known)


def _unfit(old: OldEntry) -> str:
    if not 1 <= old.version <= _MOST_VERSION:
        return f"its version is no number from 1 to {_MOST_VERSION}"
    if not old.path.isprintable():
        return "its path has characters that can't be shown"
    if old.kind.lower() in _ACTING:
        return f"a document of kind {old.kind.lower()} acts here: register it yourself"
    return ""


def _text(value: Json) -> str | None:
    if value is None:
        return None
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits
        return json.dumps(value)
