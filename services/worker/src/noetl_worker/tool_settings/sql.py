"""Settings of the database tools."""

from typing import Annotated

from noetl_common.environment.pieces import SettingsPiece
from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from noetl_worker.tool_settings.scripts import absolute_paths

_MEBIBYTE = 1 << 20


class SqlSettings(SettingsPiece):
    """The worker's settings for `postgres`, `duckdb` and `transfer`; composed by inheritance."""

    worker_sql_connect_timeout_seconds: float = Field(default=10.0, gt=0)
    """Timeout of an attempt to connect to PostgreSQL."""
    worker_sql_pool_wait_seconds: float = Field(default=30.0, gt=0)
    """Longest wait for a pooled connection to be free."""
    worker_sql_pool_size: int = Field(default=8, ge=1)
    """Pooled connections per database and login."""
    worker_sql_pools: int = Field(default=64, ge=1)
    """Databases and logins with a pool at once."""
    worker_sql_pool_idle_seconds: float = Field(default=60.0, gt=0)
    """Idle connections and pools are closed after that."""
    worker_sql_timeout_seconds: float = Field(default=3600.0, gt=0)
    """Longest run of one call of a database tool; a playbook may ask for less."""
    worker_sql_result_bytes: int = Field(default=64 * _MEBIBYTE, ge=1024)
    """Largest result of a database tool."""
    worker_duckdb_memory_bytes: int = Field(default=1024 * _MEBIBYTE, ge=_MEBIBYTE)
    """Memory of one DuckDB database."""
    worker_duckdb_threads: int = Field(default=2, ge=1)
    """Threads of one DuckDB database."""
    worker_duckdb_kept: int = Field(default=4, ge=0)
    """Processes of DuckDB that may wait for their next call."""
    worker_duckdb_kept_seconds: float = Field(default=60.0, gt=0)
    """Seconds for which such a process waits."""
    worker_duckdb_extension_directory: str = ""
    """Where DuckDB looks for extensions; its own directory if empty."""
    worker_duckdb_paths: Annotated[tuple[str, ...], NoDecode] = ()
    """Directories, by commas, whose files DuckDB's queries of all executions may read and write,
    beside the database itself and the directory of their own execution."""
    worker_duckdb_files_seconds: float = Field(default=86_400.0, gt=0)
    """Seconds after its last use for which the directory of an execution's queries is kept."""
    worker_duckdb_external: bool = False
    """DuckDB's queries may use all files and hosts that the worker can reach, install and load
    extensions, and change its limits."""

    @field_validator("worker_duckdb_paths", mode="before")
    @classmethod
    def _split_duckdb_paths(cls, value: object) -> object:
        return absolute_paths(value)
