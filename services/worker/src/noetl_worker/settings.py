"""Settings of the worker: the original worker's names, and ours with the prefix ``NOETL_``."""

from dataclasses import replace
from typing import Any, Literal
from uuid import uuid4

from noetl_bus.settings import NatsSettings
from noetl_bus.writes.settings import WriteSettings
from noetl_common.egress import EgressSettings
from noetl_common.settings import Port, ShortcutSettings
from noetl_contract.streams import COMMANDS, DurableSpec, pool_durable
from noetl_contract.subjects import pool_of_workers
from noetl_service.settings import ServiceSettings
from pydantic import AliasChoices, Field, SecretStr, model_validator

from noetl_worker.tool_settings.containers import ContainerSettings
from noetl_worker.tool_settings.plugins import PluginSettings
from noetl_worker.tool_settings.scripts import EnvironmentSettings, ScriptSettings
from noetl_worker.tool_settings.sql import SqlSettings

_MEBIBYTE = 1 << 20


class Settings(
    ScriptSettings,
    EnvironmentSettings,
    SqlSettings,
    ContainerSettings,
    PluginSettings,
    EgressSettings,
    NatsSettings,
    WriteSettings,
    ServiceSettings,
    ShortcutSettings,
):
    """Settings of a worker process."""

    template_source_chars: int = Field(default=65_536, ge=1)
    """Longest code of one template; text outside of its tags doesn't count."""
    nats_url: SecretStr = Field(
        default=SecretStr("nats://localhost:4222"),
        validation_alias=AliasChoices("NOETL_NATS_URL", "NATS_URL"),
    )
    """Addresses of the brokers; user and password percent-encoded in the first."""
    nats_stream: str = Field(default=COMMANDS.name, validation_alias="NATS_STREAM")
    """Stream of commands."""
    nats_consumer: str = Field(default="", validation_alias="NATS_CONSUMER")
    """Durable to pull from; the pool's if empty."""
    nats_filter_subject: str = Field(default="", validation_alias="NATS_FILTER_SUBJECT")
    """Its filter; the pool's if empty."""
    http_host: str = Field(default="127.0.0.1", validation_alias=AliasChoices("NOETL_HTTP_HOST"))
    """Address of health and metrics."""
    http_port: Port = Field(default=9090, validation_alias=AliasChoices("NOETL_HTTP_PORT", "PORT"))
    """Port of health and metrics."""
    worker_id: str = Field(default_factory=lambda: str(uuid4()), validation_alias="WORKER_ID")
    """Our name in registrations, claims and events; in production the pod's."""
    worker_pool_name: str = Field(default="default", validation_alias="WORKER_POOL_NAME")
    """Pool whose commands the worker runs; `default` is the pool `shared`."""
    worker_transport: Literal["nats", "http"] = "nats"
    """How commands are claimed and reported."""
    worker_start_after_seconds: float = Field(default=0.01, le=1)
    """How long a tool is at work before its start is reported, above 0: a quicker one costs one
    message or call."""
    server_url: str = Field(default="http://localhost:8082", pattern=r"(?i)^https?://[^/]")
    """Edge for registration, and for commands that name none."""
    internal_api_token: SecretStr = SecretStr("")
    """Bearer token of calls to the control plane."""
    tls_ca: str = ""
    """Extra trust root of such calls, a PEM path."""
    tls_client_cert: str = ""
    """Client certificate, a PEM path."""
    tls_client_key: str = ""
    """Its key, a PEM path."""
    sealed_credentials: bool = False
    """Have credentials sealed for this process on their way."""
    worker_credential_cache_seconds: float = Field(default=30.0, ge=0)
    """Life of a credential within its execution; 0: asked for each time."""
    worker_credential_cache_max: int = Field(default=1000, ge=1)
    """Credentials kept at once."""
    keychain_env_vars: str = ""
    """Names, by commas, of variables that tools may use as secrets; `NAME@host|host` is sent to
    these hosts only, and what begins with NOETL_ to the control plane only."""
    worker_heartbeat_interval: float = Field(
        default=15.0, gt=0, validation_alias="WORKER_HEARTBEAT_INTERVAL"
    )
    """Seconds between heartbeats."""
    worker_mode: str = Field(default="", validation_alias="WORKER_MODE")
    """`subscription`: start executions for the messages of a source, and run no commands."""
    subscription_path: str = ""
    """Catalog path of the subscription, in that mode."""
    subscription_poll_seconds: float = Field(default=5.0, gt=0)
    """Seconds between looks at the subscription's state."""
    subscription_spool_dir: str = ""
    """Folder below which subscriptions may keep messages on disk; empty: nowhere."""
    worker_max_concurrent: int = Field(default=16, ge=1, validation_alias="WORKER_MAX_CONCURRENT")
    """Commands at once."""
    pool_share: float = Field(default=0.75, gt=0, le=1)
    """Part of its slots that slow commands of one execution may hold while others wait; 1: all
    (L7)."""
    worker_nats_lag_poll_interval: float = Field(
        default=5.0, ge=1, validation_alias="WORKER_NATS_LAG_POLL_INTERVAL"
    )
    """Seconds between looks at the durable's lag."""
    snowflake_node_id: int | None = Field(
        default=None, validation_alias=AliasChoices("NOETL_SNOWFLAKE_NODE_ID", "NOETL_SHARD_ID")
    )
    """Machine id in our event ids; from the worker id if absent."""
    fast_path_enabled: bool = True
    """Run commands that came whole in their notification unclaimed; false with the transport
    `http`: claim and report like other workers."""
    worker_workload_bytes: int = Field(default=16 * _MEBIBYTE, ge=0)
    """Bytes of large workloads kept for further commands of their executions, as JSON; in memory
    they are several times as large."""
    worker_unconfirmed_max: int = Field(default=256, ge=1)
    """Outcomes that may wait for their answer."""
    worker_unconfirmed_max_bytes: int = Field(default=32 * _MEBIBYTE, ge=1)
    """Their bytes."""
    python_path: str = Field(default="", validation_alias="PYTHON_PATH")
    """Interpreter of the python tool, with its packages; without it ours, with the standard library
    alone."""
    worker_python_warm: int = Field(default=2, ge=0)
    """Python interpreters started ahead of the first script."""
    worker_python_kept: int = Field(default=320, ge=0)
    """Script processes that may wait for the next script of their execution, each some 2 MB; fewer
    than executions run python steps at once cost each step a fork. 0: each script has a process of
    its own."""
    worker_python_kept_seconds: float = Field(default=5.0, gt=0)
    """Seconds for which such a process waits."""
    worker_script_start_seconds: float = Field(default=60.0, gt=0)
    """Seconds for which a script waits for an interpreter of the worker's own that can't be started
    now (no memory or descriptors, or it is killed). Then another worker gets the command, up to
    twice; after that the step fails. With other interpreters or libraries it is a minute, and the
    step fails then."""
    worker_python_memory_bytes: int = Field(default=1024 * _MEBIBYTE, ge=0)
    """Address space of each process of a script, and memory of all together; 0: no limit."""
    worker_python_file_bytes: int = Field(default=1024 * _MEBIBYTE, ge=0)
    """Largest file of one script; 0: no limit."""
    worker_python_output_bytes: int = Field(default=_MEBIBYTE, ge=1024)
    """Kept bytes of stdout and of stderr."""
    worker_output_bytes_per_second: int = Field(default=64 << 10, ge=1024)
    """Bytes a second of one run's lines for those who watch; the rest is left out."""
    worker_output_bytes: int = Field(default=32 * _MEBIBYTE, ge=0)
    """Their bytes in all; 0: no lines."""
    worker_python_result_bytes: int = Field(default=64 * _MEBIBYTE, ge=1024)
    """Largest result of a script."""
    worker_python_processes: int = Field(default=64, ge=1)
    """Processes of one script; above, it is killed."""
    worker_http_timeout_seconds: float = Field(default=30.0, gt=0)
    """Timeout of the http tool."""
    worker_http_body_bytes: int = Field(default=32 * _MEBIBYTE, ge=1024)
    """Largest answer the http tool takes."""
    worker_http_pages_max: int = Field(default=1000, ge=1)
    """Pages of one call of the http tool."""
    worker_resolve_body_bytes: int = Field(default=64 * _MEBIBYTE, ge=1024)
    """Largest stored result that tools fetch."""
    worker_nats_tool_seconds: float = Field(default=10.0, gt=0)
    """Timeout of an operation of the nats tool."""
    worker_nats_tool_bytes: int = Field(default=64 * _MEBIBYTE, ge=1024)
    """Largest object or batch of the nats tool."""
    mcp_request_timeout_seconds: float = Field(default=60.0, gt=0)
    """Timeout of a call to an MCP server, at most…"""
    worker_command_timeout_seconds: float = Field(default=180.0, gt=0)
    """…this."""
    google_credentials: str = Field(default="", validation_alias="GOOGLE_APPLICATION_CREDENTIALS")
    """File of Google's application-default credentials; else gcloud's own, else the metadata
    server."""
    google_metadata_host: str = Field(
        default="metadata.google.internal", validation_alias="GCE_METADATA_HOST"
    )
    """Google's metadata server."""
    google_storage_host: str = Field(
        default="https://storage.googleapis.com", validation_alias="STORAGE_EMULATOR_HOST"
    )
    """Google's storage, or an emulator, which needs no token."""
    task_sequence_max_iterations: int = Field(default=1_000_000, ge=1)
    """Task runs of one command."""
    worker_retry_max_attempts: int = Field(default=100, ge=1)
    """Tries of one task, whatever the playbook says."""
    worker_retry_max_wait_seconds: float = Field(default=60.0, ge=0)
    """Longest wait before a try."""

    @model_validator(mode="before")
    @classmethod
    def _split_metrics_bind(cls, values: Any) -> Any:
        """Take host and port of the original worker's variable where ours are not given."""
        import os  # noqa: PLC0415  the settings sources know only declared names

        bind = os.environ.get("WORKER_METRICS_BIND", "")
        host, colon, port = bind.rpartition(":")
        if not isinstance(values, dict) or not colon:
            return values
        merged = dict(values)
        if "NOETL_HTTP_PORT" not in os.environ and "http_port" not in merged:
            merged.pop("PORT", None)
            merged["NOETL_HTTP_PORT"] = port
        if "NOETL_HTTP_HOST" not in os.environ and "http_host" not in merged:
            merged["NOETL_HTTP_HOST"] = host.strip("[]")
        return merged

    @model_validator(mode="after")
    def _check_mode(self) -> "Settings":
        if self.worker_mode == "subscription" and not self.subscription_path:
            raise ValueError("WORKER_MODE=subscription needs NOETL_SUBSCRIPTION_PATH")
        return self

    @model_validator(mode="after")
    def _check_start(self) -> "Settings":
        # 0 had a start reported before its tool began, which no value asks for any more.
        if self.worker_start_after_seconds <= 0:
            raise ValueError(
                "NOETL_WORKER_START_AFTER_SECONDS has to be above 0: a start is told while the"
                " tool is at work. NOETL_FAST_PATH_ENABLED=false has each command claimed before"
                " its tool begins"
            )
        return self

    @model_validator(mode="after")
    def _check_tls(self) -> "Settings":
        if bool(self.tls_client_cert) != bool(self.tls_client_key):
            raise ValueError("NOETL_TLS_CLIENT_CERT and NOETL_TLS_CLIENT_KEY go together")
        return self

    def pool(self) -> str:
        """Return the token of the pool whose commands we run."""
        return pool_of_workers(self.worker_pool_name)

    def durable(self) -> DurableSpec:
        """Return the durable whose commands we run."""
        spec = pool_durable(self.pool())
        return replace(
            spec,
            stream=self.nats_stream,
            name=self.nats_consumer or spec.name,
            filter_subject=self.nats_filter_subject or spec.filter_subject,
        )
