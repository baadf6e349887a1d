"""Groups of settings, from which services and commands inherit.

Settings of the broker, the database and the services are in their packages.

Only ``Settings()`` reads the environment. Variables have the prefix ``NOETL_``, unless existing
deployments use another name. An invalid value is an error that names the variable.
"""

import warnings
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticUseDefault

from noetl_common.environment.pieces import SettingsPiece
from noetl_common.shards import BadShardMap, DatabaseAddress, parse_shards


def _no_service_link(value: Any) -> Any:
    """Use the default if Kubernetes has set a port variable to the address of a Service."""
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
    """Format of log lines; `auto` means pretty on a terminal and JSON elsewhere."""


class ShortcutSettings(SettingsPiece):
    """Use of undocumented internals of libraries, for speed."""

    shortcuts: bool = True
    """Use undocumented internals of CPython and asyncpg, in the releases for which this is tested,
    to save time; false: only their documented interfaces."""


class PlaybookSettings(SettingsPiece):
    """Additions to the language of playbooks."""

    extra_tool_kinds: str = ""
    """Tool kinds that workers load from other packages, separated by commas."""

    def more_kinds(self) -> frozenset[str]:
        """Return the tool kinds that the parser accepts in addition to the built-in ones."""
        return frozenset(filter(None, (kind.strip() for kind in self.extra_tool_kinds.split(","))))


class ShardSettings(SettingsPiece):
    """The number of shards, and the shard that this process serves.

    ``NOETL_SHARDS`` also determines the number. The gateway, which uses no database, needs only the
    number.
    """

    shard_index: int = Field(default=0, ge=0)
    """Index of the shard that this process serves."""
    shard_count: int = Field(default=1, ge=1)
    """Number of shards."""
    shards: SecretStr = SecretStr("")
    """Databases of the shards in order, separated by commas. Each has the form
    `host=…;port=…;user=…;password=…;database=…`. `password_file=…` names a file with the password,
    `credential=…` a stored credential."""
    cluster_dsn: SecretStr = SecretStr("")
    """Database of the cluster's own tables, in the form of an entry of `NOETL_SHARDS`."""
    cluster_id: str = "noetl"
    """Name of the cluster; each database stores it and refuses processes of another one (S4)."""

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
    """Return the text of a value in settings, including the text of a secret."""
    value = values.get(name, "")
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
