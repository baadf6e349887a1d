"""Requests to issuers of tokens: the entry's rendered templates, and the client's login."""

from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlsplit

from noetl_contract.http.secrets.credentials import CredentialBody
from noetl_contract.json import Json, JsonObject, texts_in
from noetl_template import (
    KEYCHAIN,
    Renderer,
    Secrets,
    TemplateError,
    has_server_syntax,
    lookups,
)

from noetl_catalog.secrets.errors import NamesNothing, TemplateFailed, UseRefused
from noetl_catalog.secrets.keychain.definition import Definition
from noetl_catalog.secrets.keys.box import SecretBox, row_of
from noetl_catalog.secrets.store import SecretStore
from noetl_catalog.secrets.uses import Uses, may_be_sent

type Find = Callable[[str], Awaitable[Json]]


class TokenRequests:
    """Requests for tokens, built from keychain entries."""

    def __init__(self, store: SecretStore, *, box: SecretBox, uses: Uses) -> None:
        self._store = store
        self._box = box
        self._uses = uses
        self._renderer = Renderer()

    async def options(
        self, entry: Definition, *, workload: JsonObject, execution_id: int, find: Find
    ) -> JsonObject:
        """Return the keys of an entry for its provider, rendered, with the fields of its client.

        Args:
            entry: the entry.
            workload: names that templates see.
            execution_id: for which it is.
            find: gives the value of another entry of the same keychain.

        Raises:
            TemplateFailed: a template is wrong, or names what isn't there.
            NamesNothing: the client isn't stored.
            UseRefused: it may not be used here, or be sent to that endpoint.
        """
        named = sorted(names_in(entry.options, root=KEYCHAIN))
        secrets = Secrets({name: await find(name) for name in named})
        scope = {"workload": workload, **workload, KEYCHAIN: secrets}
        options: JsonObject = {
            key: self._rendered(entry, key, value, scope) for key, value in entry.options.items()
        }
        if entry.credential:
            options["client"] = await self._client(entry, options, execution_id)
        return options

    async def stored(
        self, entry: str, name: str, *, execution_id: int
    ) -> tuple[CredentialBody, Json]:
        """Return a stored credential that an entry names.

        Raises:
            NamesNothing: none of that name is stored.
            UseRefused: the execution may not use it.
        """
        found = await self._store.find_credential(name)
        if found is None:
            raise NamesNothing(entry=entry, name=name)
        await self._uses.check(found.body, execution_id=execution_id, principal=None)
        row = row_of("credential", found.body.name)
        return found.body, (await self._box.open(found.data_encrypted, row=row)).value

    async def _client(self, entry: Definition, options: JsonObject, execution_id: int) -> Json:
        body, value = await self.stored(
            entry.reference, entry.credential, execution_id=execution_id
        )
        endpoint = str(options.get("endpoint"))
        if not may_be_sent(endpoint, body):
            raise UseRefused(name=body.name, where=f"at '{urlsplit(endpoint).hostname}'")
        return value

    def _rendered(self, entry: Definition, key: str, value: Json, scope: JsonObject) -> Json:
        if isinstance(value, dict):
            return {name: self._rendered(entry, key, one, scope) for name, one in value.items()}
        if isinstance(value, list):
            return [self._rendered(entry, key, one, scope) for one in value]
        if not isinstance(value, str):
            return value
        try:
            return self._renderer.server_text(value, scope)
        except TemplateError as error:
            raise TemplateFailed(entry=entry.reference, key=key, reason=str(error)) from error


def names_in(value: Json, *, root: str = "") -> frozenset[str]:
    """Return the names that templates in a value look up, or with a root the names below it."""
    found: set[str] = set()
    for path in _paths(texts_in([value])):
        if not root:
            found.add(path[0])
        elif path[0] == root and len(path) > 1:
            found.add(path[1])
    return frozenset(found)


def place_of(endpoint: str) -> str:
    """Return an endpoint as grants spell it: without `https://`, other schemes with a colon."""
    parts = urlsplit(endpoint)
    if parts.username is not None or parts.query:
        # Grants speak of places; what else an address says would go by them.
        return endpoint
    place = f"{parts.netloc}{parts.path}"
    return place if parts.scheme == "https" else f"{parts.scheme}:{place}"


def _paths(texts: Iterable[str]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for text in texts:
        if has_server_syntax(text):
            try:
                found.extend(lookups(text))
            except TemplateError:
                continue  # its rendering says so
    return found
