"""Settings of the edge."""

from importlib.metadata import entry_points
from typing import Final, Literal, Self

import orjson
from noetl_bus.settings import NatsSettings
from noetl_bus.writes.settings import WriteSettings
from noetl_common.settings import ShardSettings
from noetl_service.settings import CommandKeySettings, ServiceSettings
from pydantic import Field, model_validator

from noetl_api_gateway.access_settings import AccessSettings, is_auth_on
from noetl_api_gateway.intake_settings import IntakeSettings

_MEBIBYTE = 1 << 20

FRONTS: Final = "noetl.edge_fronts"
"""The entry point group of the edge's fronts."""

type ConsoleMode = Literal["off", "read", "full"]


class Settings(
    NatsSettings,
    CommandKeySettings,
    AccessSettings,
    ServiceSettings,
    ShardSettings,
    IntakeSettings,
    WriteSettings,
):
    """Everything that can be set from outside; no database is among it."""

    max_body_bytes: int = Field(default=2 * _MEBIBYTE, ge=1024)
    """Largest request body."""
    max_result_body_bytes: int = Field(default=64 * _MEBIBYTE, ge=1024)
    """Largest request body of a stored result."""
    event_patience_seconds: float = Field(default=25.0, gt=0, lt=30)
    """How long an event is held for its commit; below the workers' timeout of 30 s."""
    resolve_patience_seconds: float = Field(default=5.0, gt=0)
    """Timeout of a start for the look-up of its playbook."""
    start_patience_seconds: float = Field(default=12.0, gt=0)
    """Deadline of a start; later it is dropped, not begun."""
    clock_allowance_seconds: float = Field(default=5.0, ge=0)
    """How far clocks may be apart."""
    exists_patience_seconds: float = Field(default=5.0, gt=0)
    """Timeout of the question whether a start has happened."""
    request_try_seconds: float = Field(default=5.0, gt=0)
    """Timeout of one request to a service."""
    request_patience_seconds: float = Field(default=10.0, gt=0)
    """Timeout of a request and its repetitions."""
    result_patience_seconds: float = Field(default=25.0, gt=0)
    """Timeout of storing or reading a large result."""
    secret_try_seconds: float = Field(default=12.0, gt=0)
    """Timeout of one request that may ask a provider of secrets in turn."""
    secret_patience_seconds: float = Field(default=25.0, gt=0, lt=30)
    """Timeout of it and its repetitions; below the workers' timeout of 30 s."""
    claim_patience_seconds: float = Field(default=15.0, gt=0)
    """Timeout of a claim and its repetitions."""
    direct_routes: bool = True
    """Whether the routes that workers and clients use most are served past the framework."""
    ask_together: bool = True
    """Whether starts of one playbook that come at the same time ask the catalog for it once."""
    claim_hold_seconds: float = Field(default=1.5, ge=0)
    """How long a claim is held before it is answered 503."""
    ingress_check_seconds: float = Field(default=2.0, gt=0)
    """Silence after which the stream is asked for a message."""
    max_waiting_writes: int = Field(default=2048, ge=1)
    """Writes held for their commit at once."""
    max_ingress_backlog: int = Field(default=20_000, ge=1)
    """Waiting messages above which starts are refused."""
    backlog_watch_seconds: float = Field(default=1.0, gt=0)
    """How often the backlog is looked at."""
    stream_page_size: int = Field(default=200, ge=1, le=2000)
    """Events read from the log at once for a stream."""
    stream_poll_seconds: float = Field(default=5.0, gt=0)
    """How often a silent stream looks into the log by itself."""
    stream_heartbeat_seconds: float = Field(default=15.0, gt=0)
    """Silence after which a stream sends a comment."""
    health_patience_seconds: float = Field(default=1.0, gt=0)
    """How long a health answer waits for the services behind."""
    edge_heartbeat_seconds: float = Field(default=2.0, gt=0)
    """How often the edge announces itself to the catalog."""
    cleanup_max_executions: int = Field(default=1000, ge=1)
    """Stuck executions cancelled by one request."""
    drain_delay_seconds: float = Field(default=0.0, ge=0)
    """Time between failing readiness and closing the port at a stop."""
    sql_execute_enabled: bool = True
    """Serve POST /api/postgres/execute; not for edges that browsers reach."""
    sql_patience_seconds: float = Field(default=28.0, gt=0)
    """Timeout of one SQL statement, which is asked once."""
    max_batch_body_bytes: int = Field(default=32 * _MEBIBYTE, ge=1024)
    """Largest body of a request to register many."""
    max_batch_items: int = Field(default=1000, ge=1)
    """Documents in one request to register many."""
    batch_patience_seconds: float = Field(default=60.0, gt=0)
    """Timeout of registering many documents, asked once."""
    console: ConsoleMode = "full"
    """The console at /console: none, for reading only, or with all its actions."""
    mcp_enabled: bool = True
    """Serve playbooks that say so as tools of MCP, at /mcp."""
    mcp_wait_seconds: float = Field(default=20.0, ge=0, le=300)
    """How long a call of a tool waits for its execution before it gives a handle."""
    mcp_waits: int = Field(default=100, ge=0)
    """Calls of tools that wait at once; others get their handle immediately."""
    graphql_patience_seconds: float = Field(default=60.0, gt=0, le=300)
    """Timeout of one document of GraphQL."""
    ui_dir: str = ""
    """Folder of a built web UI, which is served at /ui; empty: none."""
    ui_env: str = ""
    """Settings of that UI, a JSON object of texts, laid over those that it gets."""
    ui_csp: str = ""
    """Content security policy of its page; empty: one that lets it work."""
    gateway_auth0_domain: str = Field(default="", validation_alias="GATEWAY_AUTH0_DOMAIN")
    """Login provider that the runtime contract names; empty: none."""
    gateway_auth0_client_id: str = Field(default="", validation_alias="GATEWAY_AUTH0_CLIENT_ID")
    """Its client id."""
    gateway_auth0_redirect_uri: str = Field(
        default="", validation_alias="GATEWAY_AUTH0_REDIRECT_URI"
    )
    """Where it sends browsers back to."""
    gateway_auth0_audience: str = Field(default="", validation_alias="GATEWAY_AUTH0_AUDIENCE")
    """Its audience."""
    disable_metrics: bool = False
    """Do not serve /metrics."""
    tls_cert: str = ""
    """Certificate (PEM file); empty: plain HTTP."""
    tls_key: str = ""
    """Its private key (PEM file)."""
    tls_client_ca: str = ""
    """Clients must show a certificate that this one (PEM file) signed."""

    legacy_url: str = ""
    """Address of an existing NoETL server, which is asked for executions that are not known here
    and for NOETL_LEGACY_ROUTES; empty: there is none. Needs the package `noetl-migrate`."""

    @model_validator(mode="after")
    def _has_its_package(self) -> Self:
        if self.legacy_url and not entry_points(group=FRONTS, name="legacy"):
            raise ValueError(
                "NOETL_LEGACY_URL needs the package noetl-migrate: install it beside the edge"
            )
        return self

    @model_validator(mode="after")
    def _has_whole_tls(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError(
                "TLS misconfigured: set both NOETL_TLS_CERT and NOETL_TLS_KEY (or neither)"
            )
        return self

    @model_validator(mode="after")
    def _has_decided_about_logins(self) -> Self:
        is_auth_on(self, self.http_host)
        return self

    @model_validator(mode="after")
    def _has_legible_ui_values(self) -> Self:
        self.ui_values()
        return self

    def ui_values(self) -> dict[str, str]:
        """Return the values that override the web UI's settings.

        Raises:
            ValueError: it is no JSON object of texts.
        """
        try:
            found = orjson.loads(self.ui_env or "{}")
        except orjson.JSONDecodeError as error:
            raise ValueError(f"NOETL_UI_ENV is no JSON: {error}") from error
        if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
            raise ValueError('NOETL_UI_ENV must be like {"VITE_APP_VERSION": "1"}, texts only')
        return found

    def largest_body(self) -> int:
        """Return the largest body of any request, in bytes."""
        return max(self.max_body_bytes, self.max_result_body_bytes, self.max_batch_body_bytes)

    def login_provider(self) -> dict[str, str]:
        """Return the login provider's public settings; empty without one."""
        if not self.gateway_auth0_domain.strip():
            return {}
        members = {
            "domain": self.gateway_auth0_domain.strip(),
            "client_id": self.gateway_auth0_client_id.strip(),
            "redirect_uri": self.gateway_auth0_redirect_uri.strip(),
            "audience": self.gateway_auth0_audience.strip(),
        }
        return {name: value for name, value in members.items() if value}
