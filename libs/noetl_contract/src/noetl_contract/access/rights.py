"""Rights, one word per route, and the roles that hold them.

A route of the edge names one right; a principal has those of its roles and those granted to it
by name. The reach of a right is bounded by the principal's namespaces and pools.
"""

from collections.abc import Mapping
from enum import StrEnum


class Right(StrEnum):
    """A right that a route needs; refusals and the audit show its value."""

    PUBLIC = "public"
    """Open without a login: probes, and resources that a page reads before its login."""

    SERVICE_READ = "service.read"
    SERVICE_PROFILE = "service.profile"
    METRICS_READ = "metrics.read"
    SCHEMA_READ = "schema.read"
    DASHBOARD_READ = "dashboard.read"
    DATABASE_READ = "database.read"
    SYSTEM_READ = "system.read"
    """Read states and settings of services, and messages that were given up."""

    CATALOG_READ = "catalog.read"
    CATALOG_VALIDATE = "catalog.validate"
    CATALOG_REGISTER = "catalog.register"
    CATALOG_DELETE = "catalog.delete"
    CATALOG_RESTORE = "catalog.restore"
    SUBSCRIPTIONS_READ = "subscriptions.read"
    SUBSCRIPTIONS_CHANGE = "subscriptions.change"
    SCHEDULES_READ = "schedules.read"
    SCHEDULES_CHANGE = "schedules.change"
    """Pause, resume and backfill schedules."""

    EXECUTIONS_READ = "executions.read"
    EXECUTIONS_START = "executions.start"
    EXECUTIONS_RERUN = "executions.rerun"
    EXECUTIONS_CANCEL = "executions.cancel"
    EXECUTIONS_FINALIZE = "executions.finalize"
    EXECUTIONS_SIGNAL = "executions.signal"
    """Send a signal, which answers a wait."""
    EXECUTIONS_LINK = "executions.link"
    """Make links by which people without a login answer a wait."""
    EXECUTIONS_CLEANUP = "executions.cleanup"
    VARIABLES_READ = "variables.read"
    VARIABLES_WRITE = "variables.write"
    RESULTS_READ = "results.read"
    RESULTS_WRITE = "results.write"
    RESULTS_RESOLVE = "results.resolve"
    """Read stored results, whose secrets are not masked."""
    RESULTS_DELETE = "results.delete"

    CREDENTIALS_LIST = "credentials.list"
    CREDENTIALS_WRITE = "credentials.write"
    CREDENTIALS_DELETE = "credentials.delete"
    CREDENTIALS_USE = "credentials.use"
    """Read one credential; its data only with `secrets.read` too."""
    CREDENTIALS_SEALED = "credentials.sealed"
    """Read one credential encrypted for a registered worker."""
    KEYCHAIN_LIST = "keychain.list"
    KEYCHAIN_USE = "keychain.use"
    KEYCHAIN_WRITE = "keychain.write"
    KEYCHAIN_DELETE = "keychain.delete"
    SECRETS_READ = "secrets.read"
    """Read secrets in clear; no role holds it, it is granted by name."""

    COMMANDS_READ = "commands.read"
    COMMANDS_CLAIM = "commands.claim"
    EVENTS_POST = "events.post"
    WORKERS_READ = "workers.read"
    WORKERS_REGISTER = "workers.register"

    SESSIONS_VALIDATE = "sessions.validate"
    SQL_EXECUTE = "sql.execute"
    WALLET_READ = "wallet.read"
    WALLET_ROTATE = "wallet.rotate"
    SECRET_AUDIT_READ = "secret_audit.read"  # noqa: S105 -- a word
    ACCESS_AUDIT_READ = "access_audit.read"
    KEYS_MANAGE = "keys.manage"
    CROSS_REGION = "credentials.cross_region"

    INTERNAL_OUTBOX = "internal.outbox"
    INTERNAL_DEMAND = "internal.demand"
    """Read the number of commands of a pool that need a worker."""
    INTERNAL_EVENTS = "internal.events"
    INTERNAL_PROJECTION = "internal.projection"
    INTERNAL_PURGE = "internal.purge"
    INTERNAL_CALLBACK = "internal.callback"
    INTERNAL_INGRESS = "internal.ingress"
    SYSTEM_PATHS = "system.paths"
    """Register and start playbooks below `system/` or on the pool `system`."""


class Role(StrEnum):
    """A set of rights that is given as a whole."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUTHOR = "author"
    SECRETS = "secrets"
    WORKER = "worker"
    GATEWAY = "gateway"
    PAGES = "pages"
    """A gateway that knows its users itself, with all screens of its web pages."""
    SYSTEM = "system"
    ADMIN = "admin"


_VIEWER = frozenset(
    {
        Right.SERVICE_READ,
        Right.METRICS_READ,
        Right.SCHEMA_READ,
        Right.DASHBOARD_READ,
        Right.CATALOG_READ,
        Right.SUBSCRIPTIONS_READ,
        Right.SCHEDULES_READ,
        Right.EXECUTIONS_READ,
        Right.VARIABLES_READ,
        Right.RESULTS_READ,
        Right.WORKERS_READ,
    }
)
_OPERATOR = _VIEWER | {
    Right.SYSTEM_READ,
    Right.EXECUTIONS_START,
    Right.EXECUTIONS_RERUN,
    Right.EXECUTIONS_CANCEL,
    Right.EXECUTIONS_FINALIZE,
    Right.EXECUTIONS_SIGNAL,
    Right.EXECUTIONS_LINK,
    Right.EXECUTIONS_CLEANUP,
    Right.VARIABLES_WRITE,
    Right.RESULTS_DELETE,
    Right.SUBSCRIPTIONS_CHANGE,
    Right.SCHEDULES_CHANGE,
}
_AUTHOR = _OPERATOR | {
    Right.CATALOG_VALIDATE,
    Right.CATALOG_REGISTER,
    Right.CATALOG_DELETE,
    Right.CATALOG_RESTORE,
}
_SECRETS = frozenset(
    {
        Right.CREDENTIALS_LIST,
        Right.CREDENTIALS_USE,
        Right.CREDENTIALS_WRITE,
        Right.CREDENTIALS_DELETE,
        Right.KEYCHAIN_LIST,
        Right.KEYCHAIN_WRITE,
        Right.KEYCHAIN_DELETE,
    }
)
_WORKER = frozenset(
    {
        Right.COMMANDS_READ,
        Right.COMMANDS_CLAIM,
        Right.EVENTS_POST,
        Right.WORKERS_READ,
        Right.WORKERS_REGISTER,
        Right.CREDENTIALS_USE,
        Right.CREDENTIALS_SEALED,
        Right.KEYCHAIN_USE,
        Right.KEYCHAIN_WRITE,
        Right.EXECUTIONS_READ,
        Right.EXECUTIONS_START,
        Right.RESULTS_READ,
        Right.RESULTS_RESOLVE,
        Right.RESULTS_WRITE,
        Right.VARIABLES_READ,
        Right.VARIABLES_WRITE,
        Right.CATALOG_READ,
        Right.SUBSCRIPTIONS_READ,
        Right.SUBSCRIPTIONS_CHANGE,
        Right.SERVICE_READ,
    }
)
_GATEWAY = frozenset(
    {
        Right.EXECUTIONS_START,
        Right.EXECUTIONS_CANCEL,
        Right.EXECUTIONS_READ,
        Right.SESSIONS_VALIDATE,
        Right.INTERNAL_INGRESS,
        Right.SERVICE_READ,
    }
)
_SYSTEM = (
    _OPERATOR
    | _WORKER
    | _GATEWAY
    | {
        Right.CATALOG_REGISTER,
        Right.CATALOG_DELETE,
        Right.CATALOG_RESTORE,
        Right.CATALOG_VALIDATE,
        Right.WALLET_READ,
        Right.WALLET_ROTATE,
        Right.SECRET_AUDIT_READ,
        Right.CROSS_REGION,
        Right.INTERNAL_OUTBOX,
        Right.INTERNAL_DEMAND,
        Right.INTERNAL_EVENTS,
        Right.INTERNAL_PROJECTION,
        Right.INTERNAL_PURGE,
        Right.INTERNAL_CALLBACK,
        Right.SYSTEM_PATHS,
    }
)

ROLE_RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.AUTHOR: _AUTHOR,
    Role.SECRETS: _SECRETS,
    Role.WORKER: _WORKER,
    Role.GATEWAY: _GATEWAY,
    Role.PAGES: _GATEWAY | _AUTHOR | _SECRETS,
    Role.SYSTEM: _SYSTEM,
    Role.ADMIN: frozenset(Right) - {Right.SECRETS_READ},
}
"""The rights of each role."""

COMMAND_RIGHTS = frozenset(
    {
        Right.COMMANDS_READ,
        Right.COMMANDS_CLAIM,
        Right.EVENTS_POST,
        Right.CREDENTIALS_USE,
        Right.CREDENTIALS_SEALED,
        Right.KEYCHAIN_USE,
        Right.KEYCHAIN_WRITE,
        Right.SECRETS_READ,
        Right.EXECUTIONS_START,
        Right.EXECUTIONS_READ,
        Right.RESULTS_READ,
        Right.RESULTS_RESOLVE,
        Right.RESULTS_WRITE,
        Right.VARIABLES_READ,
        Right.VARIABLES_WRITE,
        Right.INTERNAL_CALLBACK,
    }
)
"""The rights of a command's capability; each for its own execution only."""

PAGE_RIGHTS = frozenset({Right.INTERNAL_CALLBACK})
"""The rights of the capability of a page's request; for that request only."""
