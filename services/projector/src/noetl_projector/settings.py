"""Settings of the projector service."""

import json
from typing import Final, Literal

from noetl_bus.settings import NatsSettings
from noetl_common.egress import EgressSettings
from noetl_pg.settings import ShardDatabaseSettings
from noetl_service.settings import ServiceSettings
from pydantic import AliasChoices, Field, SecretStr, model_validator

ACCOUNT_FIELDS: Final = frozenset({"client_email", "private_key"})
"""Fields that the key of a service account must have."""


class Settings(EgressSettings, NatsSettings, ShardDatabaseSettings, ServiceSettings):
    """Everything the projector reads from its environment."""

    detail_events_max: int = Field(default=2000, gt=0)
    """Events in one execution detail; the newest are kept."""
    detail_bytes_max: int = Field(default=16 << 20, gt=0)
    """Bytes of contexts and results in one answer; older ones are left out."""
    detail_kept_bytes: int = Field(default=32 << 20, ge=0)
    """Bytes of encoded details of ended executions that are kept in memory."""
    tail_events_max: int = Field(default=1000, gt=0)
    """Events in one answer of executions.tail."""
    completed_steps_max: int = Field(default=200, gt=0)
    """Step names in one status answer, the newest kept."""
    list_limit: int = Field(default=10_000, gt=0)
    """Executions in one answer of the list."""
    result_max_bytes: int = Field(default=64 << 20, gt=0)
    """Largest result that is stored."""
    result_store: Literal["db", "object", "s3", "gcs"] = "db"
    """Store of new results: the database, an object store of the broker, S3, or Google Cloud
    Storage."""
    result_transfers: int = Field(default=8, gt=0)
    """Concurrent transfers of results; each is held in memory."""
    result_transfer_seconds: float = Field(default=20.0, gt=0)
    """Timeout of the transfer of one body."""
    result_object_bucket: str = "noetl_results"
    """Bucket of the broker's object store."""
    result_object_replicas: int = Field(default=1, ge=1, le=5)
    """Its replicas, when it is made."""
    result_s3_bucket: str = ""
    """Bucket in S3."""
    result_s3_prefix: str = ""
    """Prefix of its keys."""
    result_s3_endpoint: str = ""
    """Address, unless it is Amazon's."""
    result_s3_credential: str = ""
    """Stored credential with `access_key_id` and `secret_access_key` for that bucket, read anew
    when they are refused; in place of those of the environment."""
    result_gcs_bucket: str = ""
    """Bucket in Google Cloud Storage."""
    result_gcs_prefix: str = ""
    """Prefix of its keys."""
    result_gcs_endpoint: str = ""
    """Address, unless it is Google's; one with http:// is asked without a login."""
    result_gcs_key: SecretStr = SecretStr("")
    """Key of a service account, as JSON; without it the machine's own identity, or what
    GOOGLE_APPLICATION_CREDENTIALS names, is used."""
    result_gcs_credential: str = ""
    """Stored credential that is the key of a service account (`client_email`, `private_key`), read
    anew when it is refused; in place of that key."""
    aws_region: str = Field(
        default="", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION")
    )
    """Region of the bucket."""
    aws_access_key_id: str = Field(default="", validation_alias="AWS_ACCESS_KEY_ID")
    """Key for S3; without it the machine's own identity is used."""
    aws_secret_access_key: SecretStr = Field(
        default=SecretStr(""), validation_alias="AWS_SECRET_ACCESS_KEY"
    )
    """Its secret."""
    aws_session_token: SecretStr = Field(
        default=SecretStr(""), validation_alias="AWS_SESSION_TOKEN"
    )
    """Its session."""
    result_removal_interval_seconds: float = Field(default=10.0, gt=0)
    """Interval of the removal of bodies of deleted results; up to twelve times as long while there
    are none."""
    result_removal_batch: int = Field(default=100, gt=0)
    """Bodies claimed for removal at once."""
    projector_follow: bool = True
    """Whether the read model follows the logs by itself; otherwise it moves on request
    (system/projector)."""
    projection_batch: int = Field(default=512, gt=0)
    """Event messages taken at once by the projection."""
    projection_rest_seconds: float = Field(default=0.15, ge=0)
    """Pause of the projection after a batch, so that the next one gathers more."""
    sweep_interval_seconds: float = Field(default=5.0, gt=0)
    """Interval of the comparison of the read model with the logs while events come."""
    sweep_idle_interval_seconds: float = Field(default=30.0, gt=0)
    """Longest such interval while none come."""
    sweep_first_reach_seconds: float = Field(default=86_400.0, gt=0)
    """Reach of the first comparison into the past."""
    sweep_batch: int = Field(default=1000, gt=0)
    """Executions brought up to date by one statement."""
    vars_list_limit: int = Field(default=10_000, gt=0)
    """Variables in one answer of the list."""
    sql_console_writes: bool = False
    """Let POST /api/postgres/execute write, as the service's own role; it only reads otherwise."""
    sql_console_elsewhere: bool = False
    """Let it use databases that the request names by connection or credential; their roles must not
    be able to reach the database's host."""
    sql_console_user: str = ""
    """Role that its statements run as; empty: one made for it, which reads what the schema
    noetl_shown shows."""
    sql_console_password: SecretStr | None = None
    """Password of that role."""
    sql_console_connections: int = Field(default=4, gt=0)
    """Its statements at once; the connections are its own."""
    sql_console_queue: int = Field(default=32, gt=0)
    """Statements that wait for a connection at most."""
    sql_console_wait_seconds: float = Field(default=5.0, gt=0)
    """Timeout of that wait."""
    sql_console_timeout_seconds: float = Field(default=20.0, gt=0)
    """Timeout of one statement."""
    sql_console_statement_bytes: int = Field(default=64 << 10, gt=0)
    """Bytes of the text of one statement."""
    sql_console_rows: int = Field(default=10_000, gt=0)
    """Rows in one answer; further rows are cut off, and the answer says so."""
    sql_console_bytes: int = Field(default=16 << 20, gt=0)
    """Bytes of rows in one answer."""
    rpc_concurrency: int = Field(default=64, gt=0)
    """Requests worked on at once."""

    @model_validator(mode="after")
    def _check_results(self) -> "Settings":
        if self.result_store == "s3" and not self.result_s3_bucket:
            raise ValueError("NOETL_RESULT_STORE=s3 needs NOETL_RESULT_S3_BUCKET")
        if self.result_store == "gcs" and not self.result_gcs_bucket:
            raise ValueError("NOETL_RESULT_STORE=gcs needs NOETL_RESULT_GCS_BUCKET")
        if not is_account_key(self.result_gcs_key.get_secret_value()):
            raise ValueError("NOETL_RESULT_GCS_KEY is no key of a service account in JSON")
        if bool(self.aws_access_key_id) != bool(self.aws_secret_access_key.get_secret_value()):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together")
        return self


def is_account_key(text: str) -> bool:
    """Return whether a text is empty or the JSON of a service account's key, by its fields."""
    if not text:
        return True
    try:
        key = json.loads(text)
    except ValueError:
        return False
    return isinstance(key, dict) and key.keys() >= ACCOUNT_FIELDS
