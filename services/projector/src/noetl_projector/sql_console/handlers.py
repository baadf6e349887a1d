"""The SQL route and the check of browser sessions, one function per request."""

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.rpc import RpcClient, RpcHandler
from noetl_common.errors import NoetlError
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.settings import Settings
from noetl_projector.sql_console.console import DatabaseNotReached, SqlConsole, SqlFailed
from noetl_projector.sql_console.targets import Target, target_of_credential, target_of_text
from noetl_projector.sql_console.text import Statement, read_statement

_CREDENTIAL_SECONDS = 5.0
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
    """The catalog refused the credential that a request names; its text and status go on."""

    def __init__(self, text: str, *, status: int) -> None:
        super().__init__(text)
        self.http_status = status


class ElsewhereRefused(NoetlError):
    """Databases other than the service's own are switched off."""

    template = "Other databases are switched off (NOETL_SQL_CONSOLE_ELSEWHERE)"
    http_status = 403


class SqlHandlers:
    """Statements of clients, and the statement that checks a session."""

    def __init__(self, console: SqlConsole, *, bus: Bus, settings: Settings) -> None:
        self._console = console
        self._rpc = RpcClient(bus)
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "sql.execute": self.on_execute,
            "sessions.validate": self.on_validate_session,
        }
        shard = self._settings.shard_index
        return {
            rpc_subject("projector", name, shard=shard): handler
            for name, handler in handlers.items()
        }

    async def on_execute(self, request: JsonObject) -> RpcReply:
        """Run a statement; ``text`` of the answer is the body, so that no number is rounded."""
        statement = read_statement(str(request["query"]), parameters=request.get("parameters"))
        target = await self._target(request)
        try:
            outcome = await self._console.run(
                statement, search_path=str(request.get("schema") or ""), target=target
            )
        except (SqlFailed, DatabaseNotReached) as error:
            # Mistakes of the client: their texts quote the statement, so they are not logged.
            return RpcReply(status=error.http_status, error=error.message)
        text = b'{"status":"ok","result":[' + b",".join(outcome.rows) + b"]"
        if outcome.is_cut:
            text += b',"truncated":true,"rows":%d' % len(outcome.rows)
        return RpcReply(body={"text": (text + b"}").decode()})

    async def on_validate_session(self, request: JsonObject) -> RpcReply:
        """Return the user of a session token; errors of the database are a 200 too."""
        target = await self._credential(str(request.get("credential") or "pg_auth"))
        statement = Statement(_SESSION.text.strip(), (request["session_token"],))
        try:
            outcome = await self._console.run(statement, target=target)
        except NoetlError as error:
            return RpcReply(body=_session_body(error=error.message))
        if not outcome.rows:
            return RpcReply(body=_session_body())
        row = orjson.loads(outcome.rows[0])
        expires_at = row.pop("expires_at")
        user = {name: row[name] for name in ("user_id", "email", "display_name", "roles")}
        return RpcReply(body=_session_body(user=user, expires_at=expires_at))

    async def _target(self, request: JsonObject) -> Target | None:
        """Return the database that a request names; the most exact name counts."""
        connection, credential = request.get("connection_string"), request.get("credential")
        if not (connection or credential or request.get("database")):
            return None
        if not self._settings.sql_console_elsewhere:
            raise ElsewhereRefused
        if connection:
            return target_of_text(str(connection))
        if credential:
            return await self._credential(str(credential))
        database = str(request["database"])
        return None if database == self._settings.postgres_db else Target(database=database)

    async def _credential(self, name: str) -> Target:
        reply = await self._rpc.call(
            rpc_subject("catalog", "credential.get"),
            {"identifier": name, "include_data": True},
            timeout=_CREDENTIAL_SECONDS,
        )
        if reply.status != 200:
            text = reply.error or "the credential can't be read"
            raise CredentialNotRead(text, status=reply.status)
        kind = str(reply.body.get("type"))
        if kind.lower() not in {"postgres", "postgresql"}:
            raise CredentialUnusable(name=name, kind=kind)
        return target_of_credential(reply.body.get("data") or {})


def _session_body(
    *, user: Json = None, expires_at: str | None = None, error: str | None = None
) -> JsonObject:
    return {
        "status": "ok" if error is None else "error",
        "valid": user is not None,
        "user": user,
        "expires_at": expires_at,
        "error": error,
    }
