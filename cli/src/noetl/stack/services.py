"""Processes of a stack, and the environment of each."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from dotenv import load_dotenv
from noetl_common.environment.secret_files import load_secrets
from noetl_common.shards import DatabaseAddress, is_host
from noetl_contract.documents.broker_logins import DEFAULT_POOLS, Pool, worker_user
from pydantic import SecretStr

from noetl.stack.errors import StackError
from noetl.stack.servers.access import TOKEN_VARIABLE, StackAccess
from noetl.stack.servers.databases import Databases, databases_of, single_database
from noetl.stack.servers.roles import ROLES

EDGE = "api-gateway"
WORKER = "worker"

# Places that a worker's scripts may change unless the settings say otherwise.
_SHARED_BY_SCRIPTS = ("/tmp", "/dev/shm")  # noqa: S108  compared, not used

_PORTS = 1 << 16
_BROKER_SCHEMES = frozenset({"nats", "tls"})

KEEPER = "catalog"
# Also the beginning of the names of its version and of earlier keys.
_KEY = "NOETL_ENCRYPTION_KEY"
_COMMAND_KEY = "NOETL_COMMAND_KEY"

# Services that make the capabilities of commands, or check them.
_WITH_CAPABILITIES = frozenset({EDGE, "orchestrator"})
# Variables that the catalog alone gets.
_SECRETS = (_KEY, "NOETL_ACCESS_KEYS")

_KEY_LOGINS = ("NOETL_NATS_NKEY_SEED", "NOETL_NATS_CREDS")
# What the commands read themselves; services read their own.
_IN_FILES = (
    *("NOETL_NATS_URL", "NATS_URL", "NATS_PASSWORD"),
    *("POSTGRES_PASSWORD", "NOETL_SHARDS", "NOETL_CLUSTER_DSN"),
    *(*_SECRETS, _COMMAND_KEY, "NOETL_INTERNAL_API_TOKEN", TOKEN_VARIABLE),
    *("NOETL_LEGACY_TOKEN", "NOETL_LEGACY_ENCRYPTION_KEY"),
)

# Modules by service, in the order of the summary.
MODULES: Mapping[str, str] = {
    EDGE: "noetl_api_gateway",
    "orchestrator": "noetl_orchestrator",
    "outbox": "noetl_outbox",
    "projector": "noetl_projector",
    "catalog": "noetl_catalog",
    WORKER: "noetl_worker",
}
# Those of which every shard has its own.
SHARDED = frozenset({"orchestrator", "outbox", "projector"})
# Those that take work from outside stop first, while the others can still finish it.
FRONT = frozenset({EDGE, WORKER})


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Servers that the environment names; None for those the stack brings itself."""

    nats_url: str | None = None
    databases: Databases | None = None


def outside(environment: Mapping[str, str] | None = None) -> Outside:
    """Read which servers the environment names instead of ours.

    Raises:
        StackError: a variable can't be understood.
    """
    env = os.environ if environment is None else environment
    single = _postgres(env)
    databases = databases_of(env) or (single_database(single) if single is not None else None)
    return Outside(nats_url=_nats_url(env), databases=databases)


def load_dotenv_file() -> None:
    """Add the variables of `.env` in the working directory that the environment doesn't have.

    Raises:
        StackError: the file is there and can't be read.
    """
    file = Path(".env")
    try:
        load_dotenv(file)
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"can't read {file.absolute()}: {error}") from error
    take_secret_files()


def take_secret_files() -> None:
    """Put the secrets that our environment names files of into their variables.

    Raises:
        BadSecretFile: one can't be read, or is given twice.
    """
    roles = (f"POSTGRES_{service.upper()}_PASSWORD" for service in ROLES)
    load_secrets(os.environ, (*_IN_FILES, *roles))


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One process of a service."""

    service: str
    name: str
    module: str
    shard: int | None = None
    """The shard it serves, in a stack with several."""

    def command(self) -> list[str]:
        """Command line that starts it."""
        return [sys.executable, "-m", self.module]


def replicas(
    counts: Mapping[str, int], modules: Mapping[str, str] = MODULES, *, shards: int = 1
) -> list[Replica]:
    """Return the processes of all services; a single process has the name of its service."""
    made = []
    for service, module in modules.items():
        places = range(shards) if shards > 1 and service in SHARDED else (None,)
        count = counts.get(service, 1)
        for shard in places:
            group = service if shard is None else f"{service}-s{shard}"
            for number in range(1, count + 1):
                name = group if count == 1 else f"{group}-{number}"
                made.append(Replica(service=service, name=name, module=module, shard=shard))
    return made


def has_tls(environment: Mapping[str, str]) -> bool:
    """Return whether the edge is given a certificate, and so speaks HTTPS."""
    return bool(environment.get("NOETL_TLS_CERT") and environment.get("NOETL_TLS_KEY"))


def public_url(host: str, port: int, *, has_tls: bool = False) -> str:
    """Return the address under which workers on this machine reach the edge."""
    name = reachable(host)
    scheme = "https" if has_tls else "http"
    return f"{scheme}://[{name}]:{port}" if ":" in name else f"{scheme}://{name}:{port}"


def reachable(host: str) -> str:
    """Return the address by which this machine reaches a server that listens on `host`."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compared, not bound


def pools(environment: Mapping[str, str] | None = None) -> tuple[Pool, ...]:
    """Return the pools whose workers get a login at the embedded NATS.

    Beside the usual ones these are the pools that ``NOETL_POOLS`` names, separated by commas, and
    that of the workers of the stack.
    """
    env = os.environ if environment is None else environment
    named = [Pool(name) for word in env.get("NOETL_POOLS", "").split(",") if (name := word.strip())]
    return (*DEFAULT_POOLS, *named, Pool(pool_of(env), durable=env.get("NATS_CONSUMER") or None))


def pool_of(environment: Mapping[str, str]) -> str:
    """Return the pool that a worker with these settings serves."""
    name = environment.get("WORKER_POOL_NAME") or environment.get("NOETL_WORKER_POOL_NAME")
    return "shared" if not name or name in {"default", "shared"} else name


def nats_user(service: str) -> str:
    """Return the user with which a service of the stack logs in at the embedded NATS."""
    return worker_user(pool_of(os.environ)) if service == WORKER else service


def environment_of(
    replica: Replica,
    *,
    stack: str,
    nats_url: str,
    databases: Databases,
    http_host: str,
    http_port: int,
    public: str,
    folder: Path,
    encryption_key: str,
    command_key: str,
    access: StackAccess,
) -> dict[str, str]:
    """Return the environment of one process; our own environment may override the settings."""
    # Only who stores secrets gets the key. A blank one is none, as it is for the service.
    is_keeper = replica.service == KEEPER and not os.environ.get(_KEY, "").strip()
    secret = {_KEY: encryption_key} if is_keeper else {}
    if replica.service in _WITH_CAPABILITIES and not os.environ.get(_COMMAND_KEY, "").strip():
        secret[_COMMAND_KEY] = command_key
    defaults = {
        "NOETL_PUBLIC_SERVER_URL": public,
        "NOETL_LOG_FORMAT": "json",
        # Below the supervisor's own timeout, after which it kills.
        "NOETL_SHUTDOWN_GRACE_SECONDS": "15",
    }
    if replica.service == WORKER:
        defaults |= {
            "WORKER_POOL_NAME": "default",
            "NOETL_WORKER_TRANSPORT": "nats",
            "NOETL_WORKER_LIBRARIES_DIRECTORY": str(folder.resolve() / "libraries"),
        }
        if has_tls(os.environ):
            # The edge's own certificate; a worker accepts it whoever has signed it.
            defaults["NOETL_TLS_CA"] = os.environ["NOETL_TLS_CERT"]
        if any(folder.resolve().is_relative_to(shared) for shared in _SHARED_BY_SCRIPTS):
            # Its own files are not for scripts.
            defaults["NOETL_WORKER_SCRIPT_WRITE_PATHS"] = ""
    fixed = {
        "NOETL_NATS_URL": nats_url,
        "NOETL_HTTP_HOST": http_host if replica.service == EDGE else "127.0.0.1",
        "NOETL_HTTP_PORT": str(http_port),
        "PYTHONUNBUFFERED": "1",
    }
    if replica.service == WORKER:
        # The same id after a restart: by registering anew the worker says that whatever it had
        # claimed before is orphaned, and nobody has to wait until the lease is over.
        fixed |= {"NOETL_SERVER_URL": public, "WORKER_ID": f"{stack}-{replica.name}"}
    if databases.is_sharded:
        fixed["NOETL_SHARD_COUNT"] = str(len(databases.shards))
    if replica.shard is not None:
        fixed["NOETL_SHARD_INDEX"] = str(replica.shard)
    # Services that don't use the database don't get its address.
    database = {} if replica.service in FRONT else databases.environment
    inherited = _inherited(replica, nats_url)
    fixed |= access.of_service(replica.service, inherited)
    return {**defaults, **inherited, **database, **secret, **fixed}


def _inherited(replica: Replica, nats_url: str) -> dict[str, str]:
    """Return the variables that a process gets of our own environment."""
    found = {k: v for k, v in os.environ.items() if _is_for(replica, k)}
    if "@" in nats_url:
        # One login is enough, and that of the address is the service's own.
        return {k: v for k, v in found.items() if not k.startswith(_KEY_LOGINS)}
    # It names the inbox of who logs in by a key.
    user = os.environ.get("NATS_USER")
    return {**found, "NATS_USER": user} if user else found


def _is_for(replica: Replica, variable: str) -> bool:
    """Return whether a process gets a variable of our own environment."""
    if _is_replaced(variable):
        return False
    if variable == _COMMAND_KEY:
        return replica.service in _WITH_CAPABILITIES
    return replica.service == KEEPER or not variable.startswith(_SECRETS)


def _is_replaced(variable: str) -> bool:
    """Return whether a variable leads to a server; services get the stack's value instead."""
    if variable in {"NATS_USER", "NATS_PASSWORD"}:
        return True
    return variable.startswith("POSTGRES_") or variable in {"NOETL_SHARDS", "NOETL_CLUSTER_DSN"}


def _nats_url(env: Mapping[str, str]) -> str | None:
    url = env.get("NOETL_NATS_URL") or env.get("NATS_URL")
    if not url:
        return None
    if not _names_brokers(url):
        raise StackError(
            "NOETL_NATS_URL must look like nats://user:password@host:4222, with commas between "
            "several"
        )
    scheme, _, rest = url.partition("://")
    user, password = env.get("NATS_USER"), env.get("NATS_PASSWORD")
    if "@" in rest or not (user and password):
        return url
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def _names_brokers(url: str) -> bool:
    """Return whether all addresses of a list can be those of brokers; the first needs a scheme."""
    # With the client of NATS, which most commands don't need.
    from noetl_bus.settings import NatsSettings  # noqa: PLC0415 -- see above

    try:
        servers = [urlsplit(one) for one in NatsSettings(nats_url=SecretStr(url)).nats_servers()]
        has_scheme = url.partition("://")[0] in _BROKER_SCHEMES
        return has_scheme and all(
            one.scheme in _BROKER_SCHEMES and is_host(one.hostname or "") and one.port != 0
            for one in servers
        )
    except ValueError:
        return False


def _postgres(env: Mapping[str, str]) -> DatabaseAddress | None:
    host = env.get("POSTGRES_HOST")
    if not host:
        return None
    port = env.get("POSTGRES_PORT") or "5432"
    if port.startswith("tcp://"):  # what Kubernetes puts there for a Service named postgres
        port = "5432"
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < _PORTS:
        raise StackError(f"POSTGRES_PORT must be a number from 1 to {_PORTS - 1}, not {port!r}")
    if not is_host(host):
        raise StackError(f"POSTGRES_HOST must be the name or address of a host, not {host!r}")
    return DatabaseAddress(
        host=host,
        port=int(port),
        user=env.get("POSTGRES_USER") or "noetl",
        password=env.get("POSTGRES_PASSWORD") or "",
        database=env.get("POSTGRES_DB") or env.get("POSTGRES_DATABASE") or "noetl",
    )
