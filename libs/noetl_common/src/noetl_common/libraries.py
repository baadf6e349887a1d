"""The program uv, which resolves and installs Python packages, with the settings of its sources.

A call runs with an environment of its own, and with limits of time and output.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from noetl_common.environment.pieces import SettingsPiece

_ERROR_BYTES: Final = 64 << 10
_CHUNK: Final = 64 << 10
_LONGEST_TEXT: Final = 2000
_END_SECONDS: Final = 5.0
_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
# Variables of proxies and certificates; no other variable of this process is passed to uv.
_PASSED_ON: Final = (
    "PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
)  # fmt: skip
_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]+@")
# Output of uv if the failure is not due to the requirements.
_UNREACHABLE: Final = re.compile(
    r"error sending request|request failed|failed to fetch|could not connect|client error"
    r"|network connectivity is disabled|network was disabled|operation timed out|dns error"
    r"|no such file or directory|connection refused|failed to read `?--find-links",
    re.IGNORECASE,
)


class LibrarySettings(SettingsPiece):
    """Indexes and cache of packages."""

    libraries_index_url: SecretStr = SecretStr("")
    """Address of the package index, with user and password if required. Empty: PyPI. `none`: no
    index, only `NOETL_LIBRARIES_FIND_LINKS`."""
    libraries_extra_index_urls: SecretStr = SecretStr("")
    """Addresses of more indexes, separated by spaces. They take precedence over
    `NOETL_LIBRARIES_INDEX_URL`; a package is installed from the first index that has it."""
    libraries_find_links: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Folders with wheels, or addresses of pages that list wheels, "
        "separated by commas.",
    )  # fmt: skip
    libraries_cache_directory: str = ""
    """Folder of uv's cache, whose size is not limited. Empty: only the environments are kept."""
    libraries_offline: bool = False
    """Use only the cache and `NOETL_LIBRARIES_FIND_LINKS`."""
    libraries_source_builds: bool = False
    """Build packages that have no wheel. This runs their code outside of the isolation of
    scripts."""
    libraries_uv: str = ""
    """Path of the program uv. Empty: the program beside the Python interpreter, or in `PATH`."""

    @field_validator("libraries_find_links", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())


class UvFailed(Exception):
    """A call of uv failed; the text is the output of uv, without logins."""

    def __init__(self, text: str, *, is_unreachable: bool = False) -> None:
        super().__init__(text)
        self.is_unreachable = is_unreachable
        """Whether the index could not be reached, so that a retry may help."""


@dataclass(frozen=True, slots=True)
class UvLimits:
    """Limits of one call of uv."""

    seconds: float
    output_bytes: int


class Uv:
    """The program uv with the configured indexes and cache."""

    def __init__(self, settings: LibrarySettings) -> None:
        self._settings = settings

    async def run(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        limits: UvLimits,
    ) -> bytes:
        """Run a command of `uv pip`, and return its output.

        Args:
            command: the words after `uv pip`.
            directory: working directory, in which the command may write.
            limits: limits beyond which the command is killed.

        Raises:
            UvFailed: the program is missing, failed, or was killed.
        """
        program = _program(self._settings.libraries_uv)
        words = [program, "pip", *command, *self._options()]
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=directory,
                env=self._environment(directory),
                start_new_session=True,
            )
        except OSError as error:
            text = f"uv can't be started: {error.strerror} (NOETL_LIBRARIES_UV)"
            raise UvFailed(text, is_unreachable=True) from error
        try:
            async with asyncio.timeout(limits.seconds):
                output, errors = await asyncio.gather(
                    _bounded(process.stdout, limits.output_bytes),
                    _bounded(process.stderr, _ERROR_BYTES),
                )
                code = await process.wait()
        except TimeoutError as error:
            text = f"uv took longer than {limits.seconds:g} seconds"
            raise UvFailed(text, is_unreachable=True) from error
        finally:
            await _end(process)
        if len(output) > limits.output_bytes:
            raise UvFailed(f"the output of uv has more than {limits.output_bytes} bytes")
        if code != 0:
            text = _plain(errors.decode("utf-8", "replace"))
            raise UvFailed(text, is_unreachable=_UNREACHABLE.search(text) is not None)
        return output

    def _options(self) -> list[str]:
        chosen = self._settings
        words = ["--no-config", "--color", "never", "--no-python-downloads"]
        if chosen.libraries_index_url.get_secret_value() == "none":
            words.append("--no-index")
        for place in chosen.libraries_find_links:
            words += ["--find-links", place]
        if chosen.libraries_offline:
            words.append("--offline")
        if not chosen.libraries_cache_directory:
            words.append("--no-cache")
        if not chosen.libraries_source_builds:
            words += ["--only-binary", ":all:"]
        return words

    def _environment(self, directory: Path) -> dict[str, str]:
        """Return the variables of a call; logins are in variables, not on the command line."""
        chosen = self._settings
        found = {name: value for name in _PASSED_ON if (value := os.environ.get(name))}
        found |= {"HOME": str(directory), "TMPDIR": str(directory), "LC_ALL": "C.UTF-8"}
        found |= {"UV_NO_PROGRESS": "1", "UV_KEYRING_PROVIDER": "disabled", "UV_NO_WRAP": "1"}
        # A failure is reported soon; the caller decides about retries.
        found["UV_HTTP_RETRIES"] = "1"
        # The machine's certificates include those of a company's proxy; by default, uv has its own.
        if Path(_CERTIFICATES).exists():
            found.setdefault("UV_SYSTEM_CERTS", "true")
        index = chosen.libraries_index_url.get_secret_value()
        if index and index != "none":
            found["UV_DEFAULT_INDEX"] = index
        if more := chosen.libraries_extra_index_urls.get_secret_value().strip():
            found["UV_INDEX"] = more
        if chosen.libraries_cache_directory:
            found["UV_CACHE_DIR"] = chosen.libraries_cache_directory
        return found


def _plain(text: str) -> str:
    """Return the output of uv without logins in addresses, cut to a length."""
    plain = _LOGIN.sub("", text).strip()
    return plain if len(plain) <= _LONGEST_TEXT else f"{plain[:_LONGEST_TEXT]}…"


def _program(named: str) -> str:
    """Return the path of the program.

    Raises:
        UvFailed: the program is not installed.
    """
    if named:
        return named
    # A checkout has uv in a folder beside its virtual environment.
    for place in (Path(sys.prefix) / "bin", Path(sys.prefix).parent / ".uv" / "bin"):
        if os.access(place / "uv", os.X_OK):
            return str(place / "uv")
    if (found := shutil.which("uv")) is not None:
        return found
    text = "the program uv is not installed (NOETL_LIBRARIES_UV)"
    raise UvFailed(text, is_unreachable=True)


async def _bounded(stream: asyncio.StreamReader | None, most: int) -> bytes:
    """Return at most one byte more than the limit; read and discard the rest."""
    parts, size = [], 0
    while stream is not None and (part := await stream.read(_CHUNK)):
        if size <= most:
            parts.append(part[: most + 1 - size])
            size += len(parts[-1])
    return b"".join(parts)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a process that has not exited, with its child processes."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
