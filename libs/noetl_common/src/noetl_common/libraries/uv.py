"""Run uv in an environment of its own, with limits of time and output."""

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
from typing import Final

from noetl_common.libraries.settings import LibrarySettings

_ERROR_BYTES: Final = 64 << 10
_CHUNK: Final = 64 << 10
_LONGEST_TEXT: Final = 2000
_END_SECONDS: Final = 5.0
_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
# Variables of the network and its trust; nothing else of our environment is passed on.
_PASSED_ON: Final = (
    "PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
)  # fmt: skip
_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]+@")
# Output of uv when the failure is not due to the requirements.
_UNREACHABLE: Final = re.compile(
    r"error sending request|request failed|failed to fetch|could not connect|client error"
    r"|network connectivity is disabled|network was disabled|operation timed out|dns error"
    r"|no such file or directory|connection refused|failed to read `?--find-links",
    re.IGNORECASE,
)


class UvFailed(Exception):
    """A run of uv failed; the text is its output, without logins."""

    def __init__(self, text: str, *, is_unreachable: bool = False) -> None:
        super().__init__(text)
        self.is_unreachable = is_unreachable
        """Whether the index could not be reached, so that a retry may help."""


@dataclass(frozen=True, slots=True)
class UvLimits:
    """Bounds of one run."""

    seconds: float
    output_bytes: int


class Uv:
    """The program uv with the configured sources of libraries."""

    def __init__(self, settings: LibrarySettings) -> None:
        self._settings = settings

    async def run(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        limits: UvLimits,
    ) -> bytes:
        """Run a command below `uv pip`, and return what it prints.

        Args:
            command: its words.
            directory: where it runs and may write.
            limits: it is killed beyond them.

        Raises:
            UvFailed: it is missing, failed, or was killed.
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
                printed, said = await asyncio.gather(
                    _bounded(process.stdout, limits.output_bytes),
                    _bounded(process.stderr, _ERROR_BYTES),
                )
                code = await process.wait()
        except TimeoutError as error:
            text = f"it took longer than {limits.seconds:g} seconds"
            raise UvFailed(text, is_unreachable=True) from error
        finally:
            await _end(process)
        if len(printed) > limits.output_bytes:
            raise UvFailed(f"the answer has more than {limits.output_bytes} bytes")
        if code != 0:
            text = _plain(said.decode("utf-8", "replace"))
            raise UvFailed(text, is_unreachable=_UNREACHABLE.search(text) is not None)
        return printed

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
        """Return its whole environment, which keeps logins out of the command line."""
        chosen = self._settings
        found = {name: value for name in _PASSED_ON if (value := os.environ.get(name))}
        found |= {"HOME": str(directory), "TMPDIR": str(directory), "LC_ALL": "C.UTF-8"}
        found |= {"UV_NO_PROGRESS": "1", "UV_KEYRING_PROVIDER": "disabled", "UV_NO_WRAP": "1"}
        # The caller gets the failure soon, and may retry itself.
        found["UV_HTTP_RETRIES"] = "1"
        # The machine's own certificates know a company's proxy; a machine without any has uv's.
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
    """Return the program.

    Raises:
        UvFailed: there is none.
    """
    if named:
        return named
    # A checkout keeps its own beside its environment.
    for place in (Path(sys.prefix) / "bin", Path(sys.prefix).parent / ".uv" / "bin"):
        if os.access(place / "uv", os.X_OK):
            return str(place / "uv")
    if (found := shutil.which("uv")) is not None:
        return found
    raise UvFailed("the program uv is not here (NOETL_LIBRARIES_UV)", is_unreachable=True)


async def _bounded(stream: asyncio.StreamReader | None, most: int) -> bytes:
    """Return the output, at most one byte more than the limit; the rest is read and dropped."""
    parts, size = [], 0
    while stream is not None and (part := await stream.read(_CHUNK)):
        if size <= most:
            parts.append(part[: most + 1 - size])
            size += len(parts[-1])
    return b"".join(parts)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a run that has not ended, with its child processes."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
