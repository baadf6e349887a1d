"""Fast paths that a setting leaves out by name; docs/fast-paths.md lists them and all others."""

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from noetl_common.environment.pieces import SettingsPiece

type FastPath = Literal[
    "busy-requests",
    "commit-news",
    "next-command",
    "owners",
    "published-rows",
    "shorter-commits",
    "turn-connections",
    "unread-answers",
]
_NAMES = ", ".join(f"`{name}`" for name in get_args(FastPath.__value__))


class FastPathSettings(SettingsPiece):
    """Fast paths that a process leaves out."""

    fast_paths_off: Annotated[tuple[FastPath, ...], NoDecode] = Field(
        default=(),
        description="Fast paths that are left out, by commas, to compare or to find a fault: "
        f"{_NAMES}.",
    )

    @field_validator("fast_paths_off", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    def takes(self, path: FastPath) -> bool:
        """Return whether a fast path is taken."""
        return path not in self.fast_paths_off
