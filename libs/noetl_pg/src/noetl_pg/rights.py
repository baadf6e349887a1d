"""Check of the rights of a service's database role."""

from typing import TYPE_CHECKING

from noetl_common.errors import Permanent

from noetl_pg.errors import translate

if TYPE_CHECKING:
    import asyncpg

_MISSING = """
SELECT r.table_name || ' (' || p.privilege || ')' AS missing
FROM noetl.service_rights() AS r
CROSS JOIN LATERAL unnest(string_to_array(r.privileges, ', ')) AS p (privilege)
WHERE r.role_name = $1::TEXT
    AND to_regclass('noetl.' || r.table_name) IS NOT NULL
    AND NOT has_table_privilege('noetl.' || r.table_name, p.privilege)
ORDER BY 1
/* missing_rights */
"""
_IS_KNOWN = "SELECT to_regprocedure('noetl.service_rights()') IS NOT NULL /* knows_rights */"
_MOST_NAMED = 5


class WrongRole(Permanent):
    """The role lacks rights that the service needs; waiting doesn't help."""

    template = (
        "the role {role} is not one for {service}: it lacks {missing}; noetl-server db-roles "
        "makes the roles and gives them their rights"
    )


async def check_rights(pool: "asyncpg.Pool[asyncpg.Record]", *, service: str, role: str) -> None:
    """Compare the rights of our role with those that the service needs.

    Raises:
        WrongRole: some are missing; the text names them.
        Transient: the database can't answer now.
    """
    with translate():
        if not await pool.fetchval(_IS_KNOWN):
            return  # a schema of before the roles
        rows = await pool.fetch(_MISSING, f"noetl_{service}")
    if rows:
        named = [row["missing"] for row in rows[:_MOST_NAMED]]
        more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
        raise WrongRole(role=role, service=service, missing=", ".join(named) + more)
