"""Settings of the paths, ports and limits of scripts."""

from typing import Annotated

from noetl_common.environment.pieces import SettingsPiece
from noetl_common.libraries import LibrarySettings
from pydantic import Field, field_validator
from pydantic_settings import NoDecode

_HIGHEST_PORT = 65535


class EnvironmentSettings(LibrarySettings):
    """The worker's settings for environments of libraries; composed by inheritance."""

    worker_libraries_directory: str = Field(default="", pattern="^(/.*)?$")
    """Folder of environments of libraries, which workers of one machine may share; not below what
    scripts may change. Empty: `noetl/libraries` in the user's cache folder."""
    worker_libraries_bytes: int = Field(default=4 << 30, gt=0)
    """Bytes of all environments in it; those that were not used for the longest time and are not in
    use go first. None may be larger."""
    worker_libraries_build_seconds: float = Field(default=300.0, gt=0)
    """Longest time of making one environment."""
    worker_libraries_builds: int = Field(default=2, ge=1)
    """Environments that are made at once; more commands wait."""
    worker_libraries_warm: int = Field(default=4, ge=1)
    """Environments whose interpreters are kept ready; the one that was not used for the longest
    time gives way."""
    worker_libraries_warm_seconds: float = Field(default=300.0, gt=0)
    """How long the interpreters of an unused one are kept."""


class ScriptSettings(SettingsPiece):
    """The worker's settings for the isolation of scripts; composed by inheritance."""

    worker_script_isolated: bool = True
    """Scripts reach only the files and processes below, where the kernel has Landlock, and make no
    system calls that change other processes, where it has seccomp; false: all that the worker's
    user may reach."""
    worker_script_network: str = "all"
    """TCP ports that scripts may connect to and listen at: `all`, `none`, or numbers by commas.
    Needs Landlock of version 4."""
    worker_script_read_paths: Annotated[tuple[str, ...], NoDecode] = ()
    """Paths, by commas, that scripts may read, beside the system's, their interpreter's and those
    of `PATH`."""
    worker_script_write_paths: Annotated[tuple[str, ...], NoDecode] = ("/tmp", "/dev/shm")  # noqa: S108 -- scripts share it, the worker keeps nothing there
    """Paths, by commas, that all scripts may read and change, beside their own directory. What is
    there is seen by scripts of all executions."""
    worker_script_directory: str = Field(default="", pattern="^(/.*)?$")
    """Folder in which each script gets a directory of its own; there, and below no path that
    scripts or DuckDB's queries of all executions may reach, or the worker doesn't start. Empty: the
    first of the system's folder for temporary files, `/var/tmp` and `/dev/shm` that is not."""
    worker_python_directory_files: int = Field(default=100_000, ge=0)
    """Files in the directory of one script; 0: no limit."""
    worker_python_directory_bytes: int = Field(default=4 << 30, ge=0)
    """Bytes in the directory of one script; 0: no limit."""

    @field_validator("worker_script_read_paths", "worker_script_write_paths", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return absolute_paths(value)

    @field_validator("worker_script_network")
    @classmethod
    def _check_ports(cls, value: str) -> str:
        _ports(value)
        return value

    def script_ports(self) -> tuple[int, ...] | None:
        """Return the TCP ports for scripts; None: all."""
        return _ports(self.worker_script_network)


def _ports(text: str) -> tuple[int, ...] | None:
    word = text.strip().lower()
    if word == "all":
        return None
    if word in {"none", ""}:
        return ()
    ports = []
    for part in word.split(","):
        if not part.strip().isdecimal() or not 0 < int(part) <= _HIGHEST_PORT:
            raise ValueError(
                f"no port of scripts: {part.strip() or text!r}; `all`, `none` or 1-65535"
            )
        ports.append(int(part))
    return tuple(ports)


def absolute_paths(value: object) -> object:
    """Divide a text at its commas; another value is left to the field's own check.

    Raises:
        ValueError: a path does not begin with a slash.
    """
    if not isinstance(value, str):
        return value
    paths = tuple(part.strip() for part in value.split(",") if part.strip())
    for path in paths:
        if not path.startswith("/"):
            raise ValueError(f"a path here has to begin with /: {path}")
    return paths
