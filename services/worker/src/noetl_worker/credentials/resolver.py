"""Put credentials where a tool's configuration names them.

What is resolved goes into the configuration a tool is called with and into its map of secrets.
It never enters the variables of templates, and every secret text is made known for masking.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from noetl_contract.json import Json, JsonObject
from noetl_template import has_worker_syntax, literal

from noetl_worker.credentials.credential import Credential, CredentialError
from noetl_worker.credentials.keychain import CommandKeychain
from noetl_worker.credentials.known_secrets import KnownSecrets
from noetl_worker.credentials.source import CredentialSource
from noetl_worker.credentials.type_mappings import Applied, apply_type
from noetl_worker.tools.http.hosts import may_be_sent
from noetl_worker.tools.tool import ToolContext

# What has a credential of its own inside a tool's configuration: a map or a list of maps.
_PARTS = {"transfer": ("source", "target"), "duckdb": ("attach",), "ducklake": ("attach",)}
_NAMING = frozenset({"bearer", "basic", "api_key"})


class CommandCredentials:
    """The credentials of one command."""

    def __init__(
        self,
        source: CredentialSource,
        known: KnownSecrets,
        *,
        execution_id: int,
        server_url: str,
        keychain: frozenset[str] = frozenset(),
        needed: frozenset[str] = frozenset(),
    ) -> None:
        self._source = source
        self._known = known
        self._execution_id = execution_id
        self._server_url = server_url
        self._fetched: dict[str, Credential] = {}
        self._keychain = CommandKeychain(
            keychain, needed=needed, find=self._find, known=known, execution_id=execution_id
        )

    async def prepare(self, kind: str, config: JsonObject) -> None:
        """Fetch the credentials that a pipeline names before its first task has had an effect.

        Raises:
            CredentialError: one of them can't be had; then nothing runs.
        """
        for alias in _pipeline_aliases(config) if kind == "task_sequence" else ():
            if not has_worker_syntax(alias) and alias not in self._fetched:
                credential = await self._find(alias)
                apply_type(credential)
                self._fetched[alias] = credential

    async def with_keychain(
        self, kind: str, values: Iterable[Json], context: ToolContext
    ) -> ToolContext:
        """Return a context that renders the keychain entries that values name.

        Raises:
            CredentialError: an entry can't be had, or the tool would keep it readable.
        """
        return await self._keychain.given(kind, values, context)

    async def apply(
        self, kind: str, config: JsonObject, context: ToolContext
    ) -> tuple[JsonObject, ToolContext]:
        """Return a tool's configuration and context with its credentials resolved.

        Raises:
            CredentialError: an alias can't be resolved.
        """
        if kind == "task_sequence":
            # Its tasks come here one by one.
            return config, context
        context = await self._named(kind, config, context)
        if isinstance(context.auth, Mapping):
            context = await self._complete(context.auth, context)
        elif (alias := _alias_of(config, context)) is not None:
            config, auth, context = await self._merge(alias, config, context)
            if auth is not None:
                context = replace(context, auth=auth)
        for name in _PARTS.get(kind, ()):
            part = config.get(name)
            if isinstance(part, dict):
                part, context = await self._part(part, context)
                config = {**config, name: part}
            elif isinstance(part, list):
                items = list(part)
                for index, item in enumerate(items):
                    if isinstance(item, dict):
                        items[index], context = await self._part(item, context)
                config = {**config, name: items}
        return config, context

    async def _named(self, kind: str, config: JsonObject, context: ToolContext) -> ToolContext:
        """Return the context with the keychain that configuration and ``auth`` name."""
        if context.is_rendered or not self._keychain:
            return context
        auth = None if context.auth is None else dict(context.auth)
        context = await self._keychain.given(kind, [config, auth], context)
        if auth is None:
            return context
        # The server has left it as it is, since it may name the keychain.
        rendered = context.render(auth)
        return replace(context, auth=rendered) if isinstance(rendered, dict) else context

    async def _part(
        self, config: JsonObject, context: ToolContext
    ) -> tuple[JsonObject, ToolContext]:
        if isinstance(config.get("auth"), dict):
            return config, await self._complete(config["auth"], context)
        alias = _alias_of(config, context)
        if alias is None:
            return config, context
        config, auth, context = await self._merge(alias, config, context)
        return (config if auth is None else {**config, "auth": auth}), context

    async def _merge(
        self, alias: str, config: JsonObject, context: ToolContext
    ) -> tuple[JsonObject, JsonObject | None, ToolContext]:
        applied = await self._apply(alias)
        own = {name: value for name, value in config.items() if name not in {"auth", "credential"}}
        for host in _own_hosts(own):
            if not may_be_sent(f"//{host}", applied.hosts):
                raise CredentialError(f"credential '{alias}' may not be sent to '{host[:200]}'")
        for name, value in applied.fields.items():
            if own.get(name) is None:
                own[name] = value if context.is_rendered else literal(value)
        if applied.secret is not None:
            context = context.with_secret(alias, applied.secret, hosts=applied.hosts)
        return own, applied.auth, context

    async def _complete(self, auth: Mapping[str, Json], context: ToolContext) -> ToolContext:
        """Fetch the secret that an ``auth`` object names, unless it is there already.

        The original worker knows only secrets of its environment here. If there is none, the tool
        says so in the contract's words.
        """
        alias = auth.get("credential")
        if (
            auth.get("type") not in _NAMING
            or not isinstance(alias, str)
            or not alias
            or alias in context.secrets
            or (auth.get("type") == "bearer" and auth.get("token"))
        ):
            return context
        try:
            applied = await self._apply(alias)
        except CredentialError as error:
            if error.is_missing:
                return context
            raise
        if applied.secret is None:
            return context
        return context.with_secret(alias, applied.secret, hosts=applied.hosts)

    async def _apply(self, alias: str) -> Applied:
        applied = apply_type(await self._find(alias))
        self._known.learn(self._execution_id, applied.hidden)
        return applied

    async def _find(self, alias: str) -> Credential:
        fetched = self._fetched.pop(alias, None)
        if fetched is not None:
            return fetched
        return await self._source.find(
            alias, execution_id=self._execution_id, server_url=self._server_url
        )


def _own_hosts(config: JsonObject) -> Iterator[str]:
    """Yield where a configuration itself would send its credential."""
    host, account = config.get("host"), config.get("account")
    if isinstance(host, str):
        yield host
    elif isinstance(account, str):
        # Whoever has another account could ask for the login there.
        yield f"{account.replace('_', '-')}.snowflakecomputing.com"


def _alias_of(config: JsonObject, context: ToolContext) -> str | None:
    """Return the alias that a configuration names; null counts as absent."""
    alias = config.get("auth")
    if alias is None:
        alias = config.get("credential")
    if isinstance(alias, str) and has_worker_syntax(alias):
        alias = context.render(alias)
    return alias if isinstance(alias, str) else None


def _pipeline_aliases(config: JsonObject) -> Iterator[str]:
    entries = config.get("tool_config")
    for entry in entries if isinstance(entries, list) else ():
        for spec in entry.values() if isinstance(entry, dict) else ():
            if not isinstance(spec, dict):
                continue
            for place in (spec, *_parts_of(spec)):
                alias = place.get("auth")
                if alias is None:
                    alias = place.get("credential")
                if isinstance(alias, str):
                    yield alias


def _parts_of(spec: JsonObject) -> Iterator[JsonObject]:
    for name in _PARTS.get(str(spec.get("kind")), ()):
        part = spec.get(name)
        for item in part if isinstance(part, list) else (part,):
            if isinstance(item, dict):
                yield item
