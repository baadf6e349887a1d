"""Roles of the services at PostgreSQL: one each, none of them a superuser."""

import hmac
from collections.abc import Mapping

ROLES: Mapping[str, str] = {
    "orchestrator": "noetl_orchestrator",
    "outbox": "noetl_outbox",
    "projector": "noetl_projector",
    "catalog": "noetl_catalog",
}
"""Roles by service; the migrations know them by these names."""
CONSOLE = "noetl_projector_sql_console"
"""Reads the views of the SQL route; the projector derives its password from its own."""

_LIMITS = "LOGIN NOCREATEDB NOCREATEROLE"


def statements(passwords: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return for each role the statement that creates it, and the one that corrects it.

    Args:
        passwords: by role.
    """
    made = []
    for role, password in passwords.items():
        text = password.replace("'", "''")
        made.append((f"CREATE ROLE {role}", f"ALTER ROLE {role} {_LIMITS} PASSWORD '{text}'"))
    return made


def with_console(passwords: Mapping[str, str]) -> dict[str, str]:
    """Return the passwords with that of the SQL route's role, as the projector derives it."""
    own = passwords[ROLES["projector"]].encode()
    return {**passwords, CONSOLE: hmac.digest(own, CONSOLE.encode(), "sha256").hex()}
