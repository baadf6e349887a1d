"""Map the fields of a credential to a tool's configuration, by the credential's type."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit

from noetl_contract.json import Json, JsonObject

from noetl_worker.credentials.credential import Credential, CredentialError
from noetl_worker.redaction import is_sensitive

_LARGEST_PORT = 65_535
_POSTGRES = ("host", "port", "user", "password", "name")
_SNOWFLAKE = ("account", "user", "password", "private_key", "warehouse", "database", "schema",
              "role", "host", "port", "protocol")  # fmt: skip
_SNOWFLAKE_PREFIXED = ("public_key", "private_key_passphrase")
_BROKER = (
    ("nats_url", "url"), ("nats_user", "user"), ("nats_username", "user"),
    ("nats_password", "password"), ("nats_token", "token"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The additions of a credential to a tool's configuration."""

    fields: JsonObject = field(default_factory=dict, repr=False)
    """Values for the configuration, where it has none of its own."""
    auth: JsonObject | None = None
    """An ``auth`` object; names its secret."""
    secret: str | None = field(default=None, repr=False)
    """That secret, for the map of secrets under the alias."""
    hidden: tuple[str, ...] = field(default=(), repr=False)
    """Texts that may not show up in any output."""
    hosts: tuple[str, ...] | None = None
    """Hosts that the secret may be sent to; None for all."""


def apply_type(credential: Credential) -> Applied:
    """Map the fields of a credential.

    Raises:
        CredentialError: its type means nothing to tools, or a field has no usable value.
    """
    make = _TYPES.get(credential.type.lower())
    if make is None:
        raise CredentialError(
            f"Credential alias '{credential.alias}' has unsupported type '{credential.type}'.  "
            "Supported types: postgres, snowflake, bearer, api_key, basic, nats, pubsub, kafka.  "
            "File an issue if your tool needs another type."
        )
    return replace(make(credential), hosts=credential.allowed_hosts)


def hidden_texts(credential: Credential) -> tuple[str, ...]:
    """Return the texts of a credential that no output may show.

    Of the types that tools know, those of the secret fields; of any other, all: a provider gives
    nothing but secrets.
    """
    make = _TYPES.get(credential.type.lower())
    if make is not None:
        return make(credential).hidden
    whole = credential.data if credential.text is None else {"": credential.text}
    return tuple(_secret_texts(whole, is_secret=True))


def _postgres(credential: Credential) -> Applied:
    data = credential.data
    found = {name: _first(data, f"db_{name}", name) for name in _POSTGRES}
    database = found.pop("name")
    # Unprefixed it is `database`, not `name`.
    found["database"] = data.get("database") if data.get("db_name") is None else database
    if found["port"] is not None:
        found["port"] = _port(found["port"])
    return Applied(fields=_without_null(found), hidden=_hidden(data))


def _snowflake(credential: Credential) -> Applied:
    data = credential.data
    found = {name: _first(data, f"sf_{name}", name) for name in _SNOWFLAKE}
    found |= {name: data.get(f"sf_{name}") for name in _SNOWFLAKE_PREFIXED}
    return Applied(fields=_without_null(found), hidden=_hidden(data))


def _broker(credential: Credential) -> Applied:
    data = credential.data
    found: JsonObject = {}
    for name, target in _BROKER:
        if data.get(name) is not None:
            found.setdefault(target, data[name])
    return Applied(fields={**_without_null(data), **found}, hidden=_hidden(data))


def _bearer(credential: Credential) -> Applied:
    secret = _text(credential.data, "token", "access_token", "bearer_token")
    return _auth(credential, secret, type="bearer")


def _api_key(credential: Credential) -> Applied:
    secret = _text(credential.data, "api_key", "key", "token")
    header = _text(credential.data, "header") or "X-API-Key"
    return _auth(credential, secret, type="api_key", header=header)


def _basic(credential: Credential) -> Applied:
    secret = _text(credential.data, "password", "db_password")
    username = _text(credential.data, "username", "user")
    # Hidden as it stands in a header, too.
    pair = f"{username}:{secret}"
    return _auth(credential, secret, pair, type="basic", username=username)


def _auth(credential: Credential, secret: str, *others: str, **auth: str) -> Applied:
    return Applied(
        auth={**auth, "credential": credential.alias},
        secret=secret,
        hidden=_hidden(credential.data, secret, *others),
    )


_TYPES: Mapping[str, Callable[[Credential], Applied]] = {
    "postgres": _postgres,
    "snowflake": _snowflake,
    "bearer": _bearer,
    "bearer_token": _bearer,
    "api_key": _api_key,
    "basic": _basic,
    "nats": _broker,
    "pubsub": _broker,
    "kafka": _broker,
    "rabbitmq": _broker,
    "redis": _broker,
}


def _first(data: Mapping[str, Json], *names: str) -> Json:
    return next((data[name] for name in names if data.get(name) is not None), None)


def _text(data: Mapping[str, Json], *names: str) -> str:
    """Return the first of some fields that is a text, else an empty one."""
    return next((data[name] for name in names if isinstance(data.get(name), str)), "")


def _without_null(fields: Mapping[str, Json]) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


def _port(value: Json) -> int:
    problem = "invalid digit found in string"
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and value.isascii() and value.removeprefix("+").isdigit():
        number = int(value[:20])
    else:
        raise CredentialError(f"postgres credential 'db_port' is not a u16: {problem}")
    if not 0 <= number <= _LARGEST_PORT:
        problem = "number too large to fit in target type" if number > 0 else problem
        raise CredentialError(f"postgres credential 'db_port' is not a u16: {problem}")
    return number


def _hidden(data: Mapping[str, Json], *others: str) -> tuple[str, ...]:
    """Return the secret texts of a credential.

    Which they are is decided by the names of the fields; hosts, users and databases are no secret
    and stand in many an honest result.
    """
    return (*others, *_secret_texts(data, is_secret=False))


def _secret_texts(value: Json, *, is_secret: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _secret_texts(item, is_secret=is_secret or is_sensitive(name))
    elif isinstance(value, list):
        for item in value:
            yield from _secret_texts(item, is_secret=is_secret)
    elif isinstance(value, str):
        if is_secret:
            yield value
        elif "://" in value and "@" in value:
            yield from _password_of(value)


def _password_of(url: str) -> Iterator[str]:
    try:
        password = urlsplit(url).password
    except ValueError:
        # No URL after all; as it may hold a password it is hidden whole.
        yield url
        return
    if password:
        yield password
        yield unquote(password)
