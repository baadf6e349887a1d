"""The existing server's HTTP API, read as its clients read it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import httpx
from noetl.follow.servers import UnreachableError
from noetl.stack.errors import StackError
from noetl_contract.json import Json, JsonObject

from noetl_migrate.moving.json_stream import elements
from noetl_migrate.moving.rows import (
    OldCredential,
    OldEntry,
    OldKeychainEntry,
    OldSecret,
    OldWorker,
)

_SECONDS = 60.0
_LARGEST = 16 << 20
_QUOTED = 200


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer; ``text`` is the reason of a refusal."""

    status: int
    body: Json
    text: str = ""


class OldServer:
    """Reads lists as streams and secrets one by one; `opened` makes one."""

    def __init__(self, client: httpx.AsyncClient, name: str) -> None:
        self._client = client
        self.name = name
        self._entry_ids: list[int] = []

    async def entries(self) -> AsyncIterator[OldEntry]:
        """Return all versions, newest first."""
        self._entry_ids = []
        async for one in self._list("POST", "/api/catalog/list", "entries", body={}):
            entry = OldEntry(
                catalog_id=int(one["catalog_id"]),
                path=str(one["path"]),
                version=int(one["version"]),
                kind=str(one["kind"]),
                content=str(one.get("content") or ""),
                created_at=moment(one.get("created_at")),
            )
            self._entry_ids.append(entry.catalog_id)
            yield entry

    async def credentials(self) -> AsyncIterator[OldCredential]:
        """Return the credentials, each asked for its data."""
        async for one in self._list("GET", "/api/credentials", "items"):
            yield OldCredential(
                number=int(one["id"]),
                name=str(one["name"]),
                kind=str(one["type"]),
                secret=await self._data_of(str(one["id"])),
                meta=one.get("meta"),
                tags=one.get("tags"),
                description=one.get("description"),
                created_at=moment(one.get("created_at")),
                updated_at=moment(one.get("updated_at")),
            )

    async def keychain(self) -> AsyncIterator[OldKeychainEntry]:
        """Return the entries of the keychains of all documents that `entries` returned."""
        for number in self._entry_ids:
            said = await self._ask("GET", f"/api/keychain/catalog/{number}")
            if said.status in {404, 422}:
                return  # a server of the other line has no such list
            listed = said.body.get("entries") if isinstance(said.body, dict) else None
            if said.status != 200 or not isinstance(listed, list):
                raise StackError(f"the existing server doesn't list keychains: {said.text}")
            for one in listed:
                yield await self._keychain_entry(number, one)

    async def workers(self) -> AsyncIterator[OldWorker]:
        """Return the registrations of workers."""
        async for one in self._list("GET", "/api/worker/pools", "items"):
            if "runtime_id" not in one:
                continue  # the other line has less than a registration
            yield OldWorker(
                number=int(one["runtime_id"]),
                name=str(one["name"]),
                uri=one.get("uri"),
                status=str(one.get("status") or "ready"),
                labels=one.get("labels"),
                capabilities=one.get("capabilities"),
                capacity=one.get("capacity"),
                runtime=one.get("runtime"),
                heartbeat=moment(one.get("heartbeat")) or datetime.now(UTC),
            )

    async def _data_of(self, identifier: str) -> OldSecret:
        said = await self._ask("GET", f"/api/credentials/{identifier}", {"include_data": "true"})
        if said.status != 200 or not isinstance(said.body, dict):
            return OldSecret(trouble=f"the existing server answers {said.status}: {said.text}")
        if said.body.get("data") is None:
            return OldSecret(trouble="the existing server doesn't show its data to this caller")
        return OldSecret(value=said.body["data"])

    async def _keychain_entry(self, number: int, one: JsonObject) -> OldKeychainEntry:
        name, scope = str(one["keychain_name"]), str(one["scope_type"])
        execution = one.get("execution_id")
        expired = bool(one.get("expired"))
        secret, renews = OldSecret(trouble="it is not asked for"), False
        if execution is None and not expired:
            path = f"/api/keychain/{number}/{quote(name, safe='')}"
            said = await self._ask("GET", path, {"scope_type": scope})
            body = said.body if isinstance(said.body, dict) else {}
            expired = body.get("status") == "expired"
            renews = bool(body.get("auto_renew"))
            if body.get("status") in {"found", "success"}:
                secret = OldSecret(value=body.get("data", body.get("token_data")))
            else:
                secret = OldSecret(
                    trouble=f"the existing server answers {said.status}: {said.text}"
                )
        return OldKeychainEntry(
            keychain_name=name,
            catalog_id=number,
            scope_type=scope,
            secret=secret,
            expires_at=moment(one.get("expires_at")),
            is_expired=expired,
            execution_id=None if execution is None else int(execution),
            auto_renew=renews,
        )

    async def _ask(self, method: str, path: str, query: Mapping[str, str] | None = None) -> _Said:
        with_query = dict(query or {})
        async with self._sent(method, path, with_query, None) as answer:
            return await _read(answer)

    async def _list(
        self, method: str, path: str, key: str, *, body: JsonObject | None = None
    ) -> AsyncIterator[JsonObject]:
        async with self._sent(method, path, {}, body) as answer:
            if answer.status_code != 200:
                said = await _read(answer)
                raise StackError(f"{self.name}{path} answers {said.status}: {said.text}")
            async for one in elements(answer.aiter_text(), key):
                if not isinstance(one, dict):
                    raise StackError(f"{self.name}{path}: an entry is no object")
                yield one

    @asynccontextmanager
    async def _sent(
        self, method: str, path: str, query: dict[str, str], body: JsonObject | None
    ) -> AsyncIterator[httpx.Response]:
        try:
            async with self._client.stream(method, path, params=query, json=body) as answer:
                yield answer
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise UnreachableError(f"{self.name} gives no answer: {reason}") from error


@asynccontextmanager
async def opened(url: str, token: str) -> AsyncIterator[OldServer]:
    """Read a server until the block ends.

    Raises:
        StackError: the address is none.
    """
    try:
        client = httpx.AsyncClient(base_url=url.rstrip("/"), timeout=_SECONDS, trust_env=False)
    except (httpx.InvalidURL, ValueError) as error:
        raise StackError(f"the address of the existing server: {error}") from error
    if token:
        client.headers["authorization"] = f"Bearer {token}"
    place = urlsplit(url)
    name = f"{place.scheme}://{place.hostname}{f':{place.port}' if place.port else ''}"
    async with client:
        yield OldServer(client, name)


async def _read(answer: httpx.Response) -> _Said:
    """Return an answer, whose refusal is cut short: it is shown to people."""
    data = bytearray()
    async for piece in answer.aiter_bytes():
        data += piece
        if len(data) > _LARGEST:
            raise StackError(f"an answer has more than {_LARGEST} bytes")
    try:
        body = httpx.Response(answer.status_code, content=bytes(data)).json()
    except ValueError:
        return _Said(answer.status_code, None, "no JSON")
    text = ""
    if answer.status_code != 200 and isinstance(body, dict):
        text = str(body.get("error") or body.get("detail") or "")[:_QUOTED]
    return _Said(answer.status_code, body, text)


def moment(text: Json) -> datetime | None:
    """Return a time of an answer, in UTC where it names no zone; None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
