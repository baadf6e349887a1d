"""The SQL route and the check of browser sessions, one function per operation."""

import asyncio

import orjson
from noetl_bus.broker import Bus
from noetl_bus.rpc import Encoded, Handlers, RpcClient, RpcRefused, answers, encoded
from noetl_common.errors import NoetlError
from noetl_contract.http.secrets.credentials import CredentialRead
from noetl_contract.http.system.database import SessionAnswer, SessionRequest
from noetl_contract.json import JsonObject
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import CREDENTIAL_GET
from noetl_contract.rpc.projector import SESSIONS_VALIDATE, SQL_EXECUTE, SqlStatement, SqlText

from noetl_projector.settings import Settings
from noetl_projector.sql_console.console import (
    DatabaseNotReached,
    RoleRefused,
    SqlConsole,
    SqlFailed,
)
from noetl_projector.sql_console.targets import Target, target_of_credential, target_of_text
from noetl_projector.sql_console.text import Statement, read_statement

_CREDENTIAL_SECONDS = 5.0
_USUAL_CREDENTIAL = "pg_auth"
# The names of roles differ between installations' schemas.
_SESSION = Statement(
    """
    SELECT
        u.user_id,
        u.email,
        COALESCE(NULLIF(u.display_name, ''), u.email) AS display_name,
        s.expires_at::TEXT AS expires_at,
        ARRAY(
            SELECT COALESCE(to_jsonb(r) ->> 'role_name', to_jsonb(r) ->> 'name')
            FROM auth.user_roles AS ur
            INNER JOIN auth.roles AS r USING (role_id)
            WHERE ur.user_id = u.user_id AND (ur.expires_at IS NULL OR ur.expires_at > now())
            ORDER BY 1
        ) AS roles
    FROM auth.sessions AS s
    INNER JOIN auth.users AS u USING (user_id)
    WHERE s.session_token = $1 AND s.is_active AND u.is_active AND s.expires_at > now()
    LIMIT 1
    """,
    (),
)


class CredentialUnusable(NoetlError):
    """The credential that a request names is not one for a database."""

    template = "Credential '{name}' is of type '{kind}', expected postgres"
    http_status = 400


class CredentialNotRead(NoetlError):
    """The catalog refused the credential that a request names; its text and status are kept."""

    def __init__(self, text: str, *, status: int) -> None:
        super().__init__(text)
        self.http_status = status


class ElsewhereRefused(NoetlError):
    """Databases other than the service's own are switched off."""

    template = "Other databases are switched off (NOETL_SQL_CONSOLE_ELSEWHERE)"
    http_status = 403


class SqlHandlers(Handlers):
    """Statements of clients, and the statement that checks a session."""

    def __init__(self, console: SqlConsole, *, bus: Bus, settings: Settings) -> None:
        self._console = console
        self._rpc = RpcClient(bus)
        self._settings = settings

    @answers(SQL_EXECUTE)
    async def on_execute(self, request: SqlStatement) -> SqlText | Refusal:
        """Run a statement; ``text`` of the answer is the body, so that no number is rounded."""
        # A long text takes as long as some hundred other requests.
        statement = await asyncio.to_thread(
            read_statement,
            request.query,
            parameters=request.parameters,
            max_bytes=self._settings.sql_console_statement_bytes,
            may_write=self._settings.sql_console_writes,
        )
        target = await self._target(request)
        try:
            outcome = await self._console.run(
                statement, search_path=request.search_path or "", target=target
            )
        except (SqlFailed, DatabaseNotReached, RoleRefused) as error:
            # Mistakes of the client: their texts quote the statement, so they are not logged.
            return Refusal(error.http_status, error.message)
        text = b'{"status":"ok","result":[' + b",".join(outcome.rows) + b"]"
        if outcome.is_cut:
            text += b',"truncated":true,"rows":%d' % len(outcome.rows)
        return SqlText(text=(text + b"}").decode())

    @answers(SESSIONS_VALIDATE)
    async def on_validate_session(self, request: SessionRequest) -> Encoded[SessionAnswer]:
        """Return the user of a session token; errors of the database are a 200 too."""
        target = await self._credential(request.credential or _USUAL_CREDENTIAL)
        statement = Statement(_SESSION.text.strip(), (request.session_token,))
        try:
            outcome = await self._console.run(statement, target=target, is_ours=True)
        except NoetlError as error:
            return _session(error=error.message)
        if not outcome.rows:
            return _session()
        # The columns are other people's: they go on as they are, of whatever type.
        user: JsonObject = orjson.loads(outcome.rows[0])
        expires_at = user.pop("expires_at")
        return _session(
            user={name: user[name] for name in ("user_id", "email", "display_name", "roles")},
            expires_at=expires_at,
        )

    async def _target(self, request: SqlStatement) -> Target | None:
        """Return the database that a request names, by the most specific of its fields."""
        is_own = request.database in {None, "", self._settings.postgres_db}
        if is_own and not (request.connection_string or request.credential):
            return None
        if not self._settings.sql_console_elsewhere:
            raise ElsewhereRefused
        if request.connection_string:
            return target_of_text(request.connection_string)
        if request.credential:
            return await self._credential(request.credential)
        return Target(database=request.database)

    async def _credential(self, name: str) -> Target:
        try:
            credential = await self._rpc.ask(
                CREDENTIAL_GET,
                CredentialRead(identifier=name, include_data=True),
                seconds=_CREDENTIAL_SECONDS,
            )
        except RpcRefused as error:
            raise CredentialNotRead(error.message, status=error.status) from error
        if credential.type.lower() not in {"postgres", "postgresql"}:
            raise CredentialUnusable(name=name, kind=credential.type)
        return target_of_credential(credential.data or {})


def _session(
    *,
    user: JsonObject | None = None,
    expires_at: str | None = None,
    error: str | None = None,
) -> Encoded[SessionAnswer]:
    return encoded(
        SESSIONS_VALIDATE,
        {
            "status": "ok" if error is None else "error",
            "valid": user is not None,
            "user": user,
            "expires_at": expires_at,
            "error": error,
        },
    )
