"""Pieces of settings that services and commands compose by inheritance.

Those of the broker, the database and services are in their packages.

Only ``Settings()`` reads the environment. Variables of existing deployments keep their names; ours
have the prefix ``NOETL_``. A bad value is an error that names the variable.
"""

import warnings
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticUseDefault

from noetl_common.environment.pieces import SettingsPiece
from noetl_common.shards import BadShardMap, DatabaseAddress, parse_shards


def _no_service_link(value: Any) -> Any:
    """Take the default where Kubernetes put the address of a Service into a port variable."""
    if isinstance(value, str) and value.startswith("tcp://"):
        warnings.warn(f"ignored a port that is a service link: {value}", stacklevel=2)
        raise PydanticUseDefault
    return value


type Port = Annotated[int, BeforeValidator(_no_service_link), Field(ge=0, le=65535)]


class LogSettings(SettingsPiece):
    """Settings of the logs."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""
    log_format: Literal["json", "pretty", "auto"] = "auto"
    """`auto` is pretty on a terminal, JSON elsewhere."""


class ShortcutSettings(SettingsPiece):
    """Use of undocumented internals of libraries, for speed."""

    shortcuts: bool = True
    """Save time by internals of CPython and asyncpg, of releases of them that this was tried with;
    false: only by what they promise."""


class PlaybookSettings(SettingsPiece):
    """Additions to playbooks."""

    extra_tool_kinds: str = ""
    """Kinds, by commas, of tools that workers have from other packages."""

    def more_kinds(self) -> frozenset[str]:
        """Return kinds of tools that the parser accepts in addition to ours."""
        return frozenset(filter(None, (kind.strip() for kind in self.extra_tool_kinds.split(","))))


class ShardSettings(SettingsPiece):
    """The number of shards, and the shard that this process serves.

    ``NOETL_SHARDS`` gives the number too; the edge, which uses no database, may be given the
    number alone.
    """

    shard_index: int = Field(default=0, ge=0)
    """Index of the shard served."""
    shard_count: int = Field(default=1, ge=1)
    """How many shards there are."""
    shards: SecretStr = SecretStr("")
    """The shards' databases in order: `host=…;port=…;user=…;password=…;database=…`, the next
    after a comma; `password_file=…` names a file with the password, `credential=…` a stored
    credential."""
    cluster_dsn: SecretStr = SecretStr("")
    """The database of the cluster's own tables, written like a shard."""
    cluster_id: str = "noetl"
    """Name of the cluster; its databases remember it (S4)."""

    @model_validator(mode="before")
    @classmethod
    def _apply_map(cls, values: dict[str, Any]) -> dict[str, Any]:
        shards = _shards_of(values)
        count, index = values.get("shard_count", 1), values.get("shard_index", 0)
        if shards:
            if str(count) not in {"1", str(len(shards))}:
                problem = f"{count}, but NOETL_SHARDS names {len(shards)}"
                raise BadShardMap(variable="NOETL_SHARD_COUNT", problem=problem)
            values = {**values, "shard_count": len(shards)}
            count = len(shards)
        if str(index).isdigit() and str(count).isdigit() and int(index) >= int(count):
            problem = f"{index} is not below the number of shards, {count}"
            raise BadShardMap(variable="NOETL_SHARD_INDEX", problem=problem)
        return cls._choose_database(values, shards)

    @classmethod
    def _choose_database(
        cls, values: dict[str, Any], _shards: tuple[DatabaseAddress, ...]
    ) -> dict[str, Any]:
        return values


def _shards_of(values: dict[str, Any]) -> tuple[DatabaseAddress, ...]:
    return parse_shards(text_in(values, "shards"))


def text_in(values: dict[str, Any], name: str) -> str:
    """Return a value of settings as text: that of a secret, too."""
    value = values.get(name, "")
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
