"""Settings of the sources of libraries, for resolving and installing them."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from noetl_common.environment.pieces import SettingsPiece


class LibrarySettings(SettingsPiece):
    """Index and cache of libraries."""

    libraries_index_url: SecretStr = SecretStr("")
    """Index of packages, with user and password if it wants them; empty: PyPI; `none`: no index,
    only `NOETL_LIBRARIES_FIND_LINKS`."""
    libraries_extra_index_urls: SecretStr = SecretStr("")
    """More indexes, by spaces; a package comes from the first that has it, these before the other
    one."""
    libraries_find_links: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Folders with wheels, or addresses of pages that list them, by"
        " commas.",
    )  # fmt: skip
    libraries_cache_directory: str = ""
    """Folder in which uv keeps what it has fetched; nobody bounds it. Empty: nothing is kept but
    the environments."""
    libraries_offline: bool = False
    """Whether only the cache and `NOETL_LIBRARIES_FIND_LINKS` count."""
    libraries_source_builds: bool = False
    """Whether packages without a wheel are built, which runs their code outside of the isolation of
    scripts."""
    libraries_uv: str = ""
    """The program uv; empty: the one beside our interpreter, or in `PATH`."""

    @field_validator("libraries_find_links", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())
